"""Tables, figures and the HTML page, from stored runs alone."""

from __future__ import annotations

from pathlib import Path

from fedsiege.errors import RunError
from fedsiege.report.collect import Board, collect

__all__ = ["Board", "build", "collect"]


def build(root: Path, out: Path | None = None, title: str | None = None) -> Path:
    """Write the HTML report of the runs under `root` and return its path.

    Parameters
    ----------
    root : Path
        A run folder, or a folder with run folders at any depth.
    out : Path, optional
        File to write; ``report.html`` in `root` by default. A folder gets a ``report.html``.
    title : str, optional
        Heading of the page; the name of `root` by default.

    Raises
    ------
    RunError
        If `root` is no folder or holds no readable finished run, or the page cannot be written.
    """
    # Altair takes more than a second to import; tables for the terminal do without.
    from fedsiege.report.page import write_page

    if not root.is_dir():
        raise RunError(f"{root} is not a folder; give the folder in which the runs are stored")
    board = collect(root)
    if board.runs.is_empty():
        started = f" ({board.unfinished} unfinished)" if board.unfinished else ""
        damaged = f"; {board.warnings[0]}" if board.warnings else ""
        raise RunError(f"no finished run under {root}{started}{damaged}; make one with `fedsiege run`, then report")
    target = out or root / "report.html"
    if target.is_dir():
        target = target / "report.html"
    return write_page(board, target, title or f"Attacks against defenses: {root.resolve().name}")
