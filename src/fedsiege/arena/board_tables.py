r"""A board as Markdown, and as LaTeX (needs the packages ``booktabs`` and ``graphicx``)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fedsiege.arena import board_words as words
from fedsiege.arena.board import Board
from fedsiege.arena.board_words import Cell, Grid, Marks

_MARKDOWN = {ord(c): f"\\{c}" for c in "\\`*_{}[]<>|#~"}
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "λ": "lambda", "μ": "mu", "σ": "sigma",
}  # fmt: skip
_LATEX = {
    **{ord(c): f"\\{c}" for c in "&%$#_{}"},
    ord("\\"): r"\textbackslash{}",
    ord("~"): r"\textasciitilde{}",
    ord("^"): r"\textasciicircum{}",
    ord("<"): r"\textless{}",
    ord(">"): r"\textgreater{}",
    ord("|"): r"\textbar{}",
    ord("–"): "--",
    ord("−"): "$-$",
    ord("±"): r"$\pm$",
    ord("×"): r"$\times$",
    ord("≥"): r"$\geq$",
    ord("≤"): r"$\leq$",
    ord("√"): r"$\surd$",
    ord("·"): r"$\cdot$",
    **{ord(c): rf"$\{name}$" for c, name in _GREEK.items()},
    ord("\n"): " ",
}


def _parts(board: Board) -> tuple[list[Grid], list[tuple[str, str]]]:
    marks = Marks()
    grids = [words.ranking(board, marks), words.corners(board), words.every(board, marks)]
    return [grid for grid in grids if grid.rows], marks.legend


def _plain(text: str) -> str:
    return " ".join(text.translate(_MARKDOWN).split())


def _markdown_cell(cell: Cell) -> str:
    text = _plain(cell.text)
    marks = f" <sup>{cell.marks}</sup>" if cell.marks else ""
    return f"**{text}**{marks}" if cell.bold else f"{text}{marks}"


def _markdown_grid(grid: Grid) -> str:
    def line(texts: Sequence[str]) -> str:
        return f"| {' | '.join(texts)} |"

    body = [line([_markdown_cell(cell) for cell in row]) for row in grid.rows]
    rule = line(["---", *["---:"] * (len(grid.head) - 1)])
    return "\n".join([f"**{_plain(grid.caption)}**", "", line([_plain(h) for h in grid.head]), rule, *body])


def markdown(board: Board) -> str:
    """Return a board as Markdown: ranking, four corners, every attack, then flags, threat model and what is missing.

    Bold marks what `fedsiege.arena.board.Row.wins` names, letters refer to the flags below the tables.
    """
    grids, legend = _parts(board)
    blocks = [f"## {_plain(words.title(board))}", _plain(" ".join(words.intro(board)))]
    blocks += [_markdown_grid(grid) for grid in grids]
    if legend:
        blocks.append("Flags:\n\n" + "\n".join(f"- <sup>{letter}</sup> {_plain(said)}" for letter, said in legend))
    sections = {"Threat model": words.badges(board), "To know": words.doubts(board), "Missing": board.missing}
    for name, lines in sections.items():
        if lines:
            blocks.append(f"{name}:\n\n" + "\n".join(f"- {_plain(text)}" for text in lines))
    return "\n\n".join(blocks) + "\n"


def _tex(text: str) -> str:
    # pdflatex stops at a character that it has no glyph for.
    return re.sub("[^\x00-\u017f‘-„…]", lambda c: f"U+{ord(c[0]):04X}", text.translate(_LATEX))


def _latex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{_tex(cell.text)}}}" if cell.bold else _tex(cell.text)
    return rf"{text}\textsuperscript{{{cell.marks}}}" if cell.marks else text


def _latex_row(cells: Sequence[Cell]) -> str:
    text = " & ".join(_latex_cell(cell) for cell in cells)
    # The end of the row above would take a bracket or a star for an argument of its own.
    return ("{}" if text[:1] in ("[", "*") else "") + text + r" \\"


def _latex_grid(grid: Grid, about: str, label: str, notes: Sequence[str]) -> str:
    columns = "l" + "r" * (len(grid.head) - 1)
    lines = [
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_tex(grid.caption)}. {_tex(about)}}}",
        rf"\label{{{label}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(_tex(h) for h in grid.head) + r" \\",
        r"\midrule",
        *map(_latex_row, grid.rows),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    if notes:
        lines.append(r"\par\smallskip\footnotesize " + " ".join(notes))
    return "\n".join([*lines, r"\end{table*}"])


def latex(board: Board) -> str:
    r"""Return a board as LaTeX tables: ranking, four corners, every attack; flags, threat model and gaps as notes.

    Bold and letters are those of `markdown`. The tables are ``table*`` floats with ``booktabs`` rules, shrunk to the
    width of the page (``graphicx``) if they are wider.
    """
    grids, legend = _parts(board)
    letters = [rf"\textsuperscript{{{letter}}} {_tex(said)}." for letter, said in legend]
    rest = [f"{_tex(text)}." for text in (*words.badges(board), *words.doubts(board))]
    # A float does not break across pages; Markdown and the page list all.
    missing = [f"Missing: {_tex('; '.join(words.gaps(board)))}."] if board.missing else []
    slug = re.sub(r"[^0-9A-Za-z]+", "-", f"{board.card}-{board.degree}").strip("-")
    about = [" ".join([words.title(board) + ".", *words.intro(board)]), words.title(board) + "."]
    tables = []
    for i, grid in enumerate(grids):
        notes = [*letters, *rest, *missing] if i == 0 else letters if grid is grids[-1] else []
        tables.append(_latex_grid(grid, about[min(i, 1)], f"tab:{slug}-{i + 1}", notes))
    return "\n\n".join(tables) + "\n"
