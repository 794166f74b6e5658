"""``fedsiege report``: one self-contained HTML page from stored runs, or their tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fedsiege.cli.arguments import option
from fedsiege.errors import RunError


@dataclass(frozen=True)
class Report:
    """Make one HTML page, which opens offline, from all finished runs under a folder; or tables, or figures.

    The page holds a leaderboard for each threat-model card, the grid of attacks and defenses, curves over rounds,
    detection, where the uploads lie and what each defense costs when nobody attacks.

    Parameters
    ----------
    folder
        A run folder, or a folder that holds run folders at any depth.
    format
        html: the page. md, latex: tables. pdf: figures for print, one a page. png, svg: a folder with a file for each.
    out
        What to write; default: report.html (report.md, report.tex, report.pdf, report-png, report-svg) in the folder.
    title
        Title of the page.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    out: Annotated[Path | None, option("FILE")] = None
    title: Annotated[str | None, option("TEXT")] = None
    format: Literal["html", "md", "latex", "pdf", "png", "svg"] = "html"

    def __call__(self) -> int:
        """Write the page, print its path and return 0."""
        if not self.folder.is_dir():
            raise RunError(f"{self.folder} is not a folder; give one that holds runs, such as runs/")
        from fedsiege.report import build

        print(build(self.folder, out=self.out, title=self.title, format=self.format))
        return 0
