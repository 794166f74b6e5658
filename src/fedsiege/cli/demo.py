"""``fedsiege demo``: a small grid on data that needs no download, from nothing to a table and a report."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fedsiege.cli.arguments import option
from fedsiege.cli.console import err, out
from fedsiege.errors import ConfigError


@dataclass(frozen=True)
class Demo:
    """Poison and defend a small model: a grid of attacks and defenses, and a report.

    Takes a few minutes on two cores, with --images less than two, and needs no network. What runs is written in
    the cards demo-v1 and demo-images-v1 of the arena. Stopped, it goes on where it was.

    Parameters
    ----------
    images
        A classifier of handwritten digits, instead of a recommender on generated data.
    out
        Folder for the runs and the report; default: demo, or demo-images.
    jobs
        Runs side by side; default: one a core.
    """

    images: Annotated[bool, option()] = False
    out: Annotated[Path | None, option("DIR")] = None
    jobs: Annotated[int | None, option("N")] = None

    @property
    def folder(self) -> Path:
        """Where the runs and the report go."""
        return self.out or Path("demo-images" if self.images else "demo")

    def resume(self) -> str:
        """Return the command that goes on with the demo."""
        words = ["--images"] if self.images else []
        words += ["--jobs", str(self.jobs)] if self.jobs else []
        return shlex.join(["fedsiege", "demo", "--out", str(self.folder), *words])

    def __call__(self) -> int:
        """Run the grid, print the table, write the report; 1 if some runs failed."""
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"--jobs {self.jobs} must be at least 1")
        started = time.monotonic()
        console = err()
        console.print("loading …")
        from fedsiege.arena.card_file import load
        from fedsiege.arena.grid import run_cells
        from fedsiege.arena.plan import Plan
        from fedsiege.cli.progress import GridProgress

        card = load("demo-images-v1" if self.images else "demo-v1")
        cells = Plan(card).cells(self.folder / "runs")
        console.print(
            f"{len(cells)} runs: {len(card.attacks)} attacks against {len(card.defenses)} defenses, "
            f"{len(card.seeds)} seeds, {cells[0].config.federation.rounds} rounds each"
        )
        with GridProgress(cells, cells[0].config.metric) as progress:
            outcomes = run_cells(cells, self.jobs, progress)
        failed = [o for o in outcomes if o.error is not None]
        if len(failed) < len(cells):
            self._show(cells[0].config.metric)
        console.print(f"{time.monotonic() - started:.0f} s")
        for outcome in failed:
            console.print(f"failed: {outcome.cell.label}: {outcome.error}", markup=False, soft_wrap=True)
        return 1 if failed else 0

    def _show(self, metric: str) -> None:
        """Print the table of the card's metric (of pictures the ASR too) and write the report."""
        from fedsiege.report import build
        from fedsiege.report.collect import collect
        from fedsiege.report.terminal import grid_table

        console = out()
        board = collect(self.folder)
        for name in (metric, "ASR") if self.images else (metric,):
            console.print(grid_table(board, metric=name))
        path = build(self.folder, title="FedSiege demo")
        console.print(f"report: {path}", markup=False, soft_wrap=True)
