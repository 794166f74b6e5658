"""A report in other forms than the page: tables as Markdown and LaTeX, figures as PDF, PNG and SVG."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fedsiege.errors import RunError
from fedsiege.files import make_folder
from fedsiege.report.boards import cards, places, stored
from fedsiege.report.collect import Board

if TYPE_CHECKING:
    from fedsiege.arena.board import Board as Leaderboard

SUFFIX: Mapping[str, str] = {"md": ".md", "latex": ".tex", "pdf": ".pdf"}
"""Of the forms that are one file; the others are folders of files."""


def boards(board: Board) -> tuple[Leaderboard, ...]:
    """Return the leaderboards of a report; runs without a card are compared inside their setting.

    A setting stands for a card that was never written: it has no reference band, and every run is a closed one.
    """
    from fedsiege.arena.board_build import NO_CARD
    from fedsiege.arena.boards import boards as rank

    runs = stored(board.root)
    where = places(board)
    carded = [run for run in runs if run.card]
    loose = [
        replace(run, card=where[run.path].group, card_hash="", degree="", division="closed", changes=())
        for run in runs
        if not run.card and run.path in where
    ]
    settings = [
        replace(found, notes=tuple(note for note in found.notes if note != NO_CARD)) for found in rank(loose, {})
    ]
    return (*rank(carded, cards(board.root, carded)), *settings)


def _tables(board: Board, title: str, kind: Literal["md", "latex"]) -> str:
    from fedsiege.arena import board_tables

    found = boards(board)
    if kind == "md":
        return "\n".join([f"# {_line(title)}\n", *(board_tables.markdown(one) for one in found)])
    return "\n".join([f"% {_line(title)}", "% needs \\usepackage{booktabs,graphicx}", *map(board_tables.latex, found)])


def _line(text: str) -> str:
    return " ".join(text.split())


def file_name(text: str) -> str:
    """Return a name for a file that tells what is in it and is harmless everywhere."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().replace("%", "pc")).strip("-.")[:100] or "figure"


def _figures(board: Board, write: Callable[[str, Any], None]) -> None:
    import matplotlib as mpl

    from fedsiege.report.cells import cells
    from fedsiege.report.contest import contest
    from fedsiege.report.figures import STYLE
    from fedsiege.report.print_figures import pictures

    seen = contest(board)
    with mpl.rc_context(STYLE):
        for picture in pictures(seen, boards(board), cells(seen)):
            write(picture.name, picture.draw())


def _pdf(board: Board, target: Path, title: str) -> None:
    from matplotlib.backends.backend_pdf import PdfPages

    # Without dates the same numbers give the same file.
    about = {"Title": title, "Creator": "FedSiege", "Producer": None, "CreationDate": None}
    with PdfPages(target, metadata=about) as pages:
        _figures(board, lambda _, figure: pages.savefig(figure))


def _folder(board: Board, target: Path, kind: str) -> None:
    make_folder(target)
    stamp = {"Date": None} if kind == "svg" else {}
    known: set[str] = set()

    def write(name: str, figure: Any) -> None:
        short = file_name(name)
        number = sum(other == short or other.startswith(f"{short}_") for other in known)
        unique = short if not number else f"{short}_{number + 1}"
        known.add(unique)
        figure.savefig(target / f"{unique}.{kind}", dpi=200, metadata=stamp)

    _figures(board, write)


def write(board: Board, kind: Literal["md", "latex", "pdf", "png", "svg"], target: Path, title: str) -> Path:
    """Write a report in one of the forms but HTML and return its path.

    Parameters
    ----------
    board : Board
        What to write.
    kind : {"md", "latex", "pdf", "png", "svg"}
        Tables, or figures: a page for each in a PDF, a file for each otherwise.
    target : Path
        The file; for ``png`` and ``svg`` a folder.
    title : str
        Heading.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind in ("md", "latex"):
            target.write_text(_tables(board, title, "md" if kind == "md" else "latex"), encoding="utf-8")
        elif kind == "pdf":
            _pdf(board, target, title)
        else:
            _folder(board, target, kind)
    except OSError as error:
        raise RunError(f"cannot write report {target}: {error.strerror or error}; choose another with --out") from error
    return target
