"""Tables, figures and the HTML page, from stored runs alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fedsiege.errors import ConfigError, RunError, nearest
from fedsiege.report.collect import Board, collect

Format = Literal["html", "md", "latex", "pdf", "png", "svg"]
"""What a report can be written as."""

__all__ = ["Board", "Format", "build", "collect"]


def build(root: Path, out: Path | None = None, title: str | None = None, format: Format = "html") -> Path:
    """Write the report of the runs under `root` and return its path.

    Parameters
    ----------
    root : Path
        A run folder, or a folder with run folders at any depth.
    out : Path, optional
        File to write; ``report.html`` in `root` by default (or ``report.md``, ``report.tex``, ``report.pdf``,
        ``report-png``, ``report-svg``). A folder gets a file of that name.
    title : str, optional
        Heading of the page; the name of `root` by default.
    format : {"html", "md", "latex", "pdf", "png", "svg"}
        The page, tables, or print-ready figures; the last two are folders with a file for each figure.

    Raises
    ------
    RunError
        If `root` is no folder or holds no readable finished run, or the page cannot be written.
    """
    if not root.is_dir():
        raise RunError(f"{root} is not a folder; give the folder in which the runs are stored")
    board = collect(root)
    if board.runs.is_empty():
        started = f" ({board.unfinished} unfinished)" if board.unfinished else ""
        damaged = f"; {board.warnings[0]}" if board.warnings else ""
        raise RunError(f"no finished run under {root}{started}{damaged}; make one with `fedsiege run`, then report")
    heading = title or f"Attacks against defenses: {root.resolve().name}"
    # Altair and matplotlib take more than a second to import; tables for the terminal do without.
    if format == "html":
        from fedsiege.report.page import write_page

        return write_page(board, _target(root, out, "report.html"), heading)
    from fedsiege.report.formats import SUFFIX, write

    if format in SUFFIX:
        return write(board, format, _target(root, out, f"report{SUFFIX[format]}"), heading)
    if format in ("png", "svg"):
        return write(board, format, out or root / f"report-{format}", heading)
    raise ConfigError(f"no report format {format!r}: {nearest(format, ('html', *SUFFIX, 'png', 'svg'))}")


def _target(root: Path, out: Path | None, name: str) -> Path:
    target = out or root / name
    return target / name if target.is_dir() else target
