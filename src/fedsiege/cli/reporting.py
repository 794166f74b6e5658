"""``fedsiege report``: one self-contained HTML page from stored runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fedsiege.cli.arguments import option
from fedsiege.errors import RunError


@dataclass(frozen=True)
class Report:
    """Make one HTML page, which opens offline, from all finished runs under a folder.

    The page holds the grid of attacks and defenses, curves over rounds, detection, where the uploads lie and what
    each defense costs when nobody attacks.

    Parameters
    ----------
    folder
        A run folder, or a folder that holds run folders at any depth.
    out
        The HTML file; default: report.html in the folder.
    title
        Title of the page.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    out: Annotated[Path | None, option("FILE")] = None
    title: Annotated[str | None, option("TEXT")] = None

    def __call__(self) -> int:
        """Write the page, print its path and return 0."""
        if not self.folder.is_dir():
            raise RunError(f"{self.folder} is not a folder; give one that holds runs, such as runs/")
        from fedsiege.report import build

        print(build(self.folder, out=self.out, title=self.title))
        return 0
