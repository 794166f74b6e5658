"""``fedsiege reproduce``: a published table or figure, ours beside the paper's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fedsiege.cli.arguments import option
from fedsiege.cli.console import err, number, out, print_json, show_table, table
from fedsiege.errors import ConfigError

UNFINISHED = 75
"""Exit status when time ran out before all cells were finished (EX_TEMPFAIL: try again later)."""

if TYPE_CHECKING:
    from fedsiege.arena.grid import Cell
    from fedsiege.arena.reproduce import Table


@dataclass(frozen=True)
class Reproduce:
    """Run the cells that a published table or figure needs, and print ours beside the paper's.

    Finished cells are never run twice, and cells that two tables share are run once. Every cell resumes where it
    was stopped, by hand or by --minutes.

    The verdict says of every finished cell whether it lies in the band that our own published runs make likely, and by
    how much ours and the paper's value lie outside. The exit status is 0 if at least one cell has a band and none lies
    outside of its own, 75 if time ran out, and otherwise 1: also where nothing is finished, or where there is nothing
    to compare with, because no band is stored for these cells and so many rounds.

    Parameters
    ----------
    id
        What to reproduce; --list shows all.
    seeds
        Seeds to run, such as --seeds 0 1 2; default: as many as the target says.
    rounds
        Rounds of each run; default: the paper's, or those of the lite form.
    cells
        Globs that narrow the cells, such as mf/ml-1m/*; --dry-run shows their names.
    jobs
        Cells that run side by side; default: one a core.
    threads
        Threads of each run, on which the last bits of classifiers depend; default: FEDSIEGE_THREADS, else those that
        these cells had in --out, else they, or --jobs of them, share the cores.
    lite
        Run the small form of the table, for machines without an accelerator, if there is one.
    minutes
        Stop after so many minutes: cells under way end their round and write a checkpoint, and the exit status is
        75 as long as work remains. The same command goes on.
    out
        Folder of the runs.
    publish
        Folder for the table, its page and its figures, such as docs/results; default: "reproduced" in --out. With
        --list, the folder whose tables are counted as published; default: docs/results if there is one.
    show
        List what can be reproduced and how far each table and figure is: runs finished in --out, runs published, and
        the verdict over both. Runs nothing.
    dry_run
        List the cells with their folders, and run nothing.
    json
        Print JSON instead of tables.
    """

    id: Annotated[str | None, tyro.conf.Positional, option("ID")] = None
    seeds: Annotated[tuple[int, ...], option("SEED ...")] = ()
    rounds: Annotated[int | None, option("N")] = None
    cells: Annotated[tuple[str, ...], option("GLOB ...")] = ()
    jobs: Annotated[int | None, option("N")] = None
    threads: Annotated[int | None, option("N")] = None
    lite: Annotated[bool, option()] = False
    minutes: Annotated[float | None, option("N")] = None
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs")
    publish: Annotated[Path | None, option("DIR")] = None
    show: Annotated[bool, option(name="list")] = False
    dry_run: Annotated[bool, option()] = False
    json: Annotated[bool, option()] = False

    def resume(self) -> str:
        """Return the command that goes on with these cells."""
        words = ["fedsiege", "reproduce", *([self.id] if self.id else [])]
        words += ["--seeds", *map(str, self.seeds)] if self.seeds else []
        words += ["--rounds", str(self.rounds)] if self.rounds else []
        words += ["--cells", *self.cells] if self.cells else []
        words += ["--jobs", str(self.jobs)] if self.jobs else []
        words += ["--threads", str(self.threads)] if self.threads else []
        words += ["--lite"] if self.lite else []
        words += ["--minutes", f"{self.minutes:g}"] if self.minutes else []
        words += ["--out", str(self.out)] if self.out != Path("runs") else []
        words += ["--publish", str(self.publish)] if self.publish else []
        return shlex.join(words)

    def __call__(self) -> int:
        """Run the cells, print table and verdict, draw.

        1 if some cells failed, 75 if time ran out, 1 if the verdict does not hold or compares nothing.
        """
        if self.show or self.id is None:
            return self._targets()
        for name, value in (("rounds", self.rounds), ("jobs", self.jobs), ("threads", self.threads)):
            if value is not None and value < 1:
                raise ConfigError(f"--{name} {value} must be at least 1")
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigError(f"--minutes {self.minutes:g} must be above 0")
        from fedsiege.arena import reproduce
        from fedsiege.arena.evidence import finished
        from fedsiege.arena.verdict import judge
        from fedsiege.cli import verdicts

        id_ = reproduce.lite(self.id).id if self.lite else self.id
        cells = reproduce.plan(id_, self.seeds or None, self.rounds, self.cells or None, self.out)
        if self.dry_run:
            return self._plan(cells)
        from fedsiege.arena.grid import run_cells
        from fedsiege.cli.progress import GridProgress

        limit: dict[str, Any] = {"seconds": 60 * self.minutes} if self.minutes else {}
        with GridProgress(cells, cells[0].config.metric) as progress:
            outcomes = run_cells(cells, self.jobs, progress, threads=self.threads, **limit)
        failed = [o for o in outcomes if o.error is not None]
        left = [o for o in outcomes if o.error is None and o.result is None] if self.minutes else []
        result = reproduce.tabulate(id_, cells)
        paths = self._write(id_, result, cells)
        verdict = judge(reproduce.target(id_), finished(cells))
        if self.json:
            failures = [{"cell": o.cell.label, "error": o.error} for o in failed]
            remaining = {"left": [o.cell.label for o in left]} if self.minutes else {}
            written = {"verdict": verdict.to_json(), "files": [str(p) for p in paths]}
            print_json({**result.to_json(), "failed": failures, **remaining, **written})
        else:
            _show(result)
            verdicts.show(verdict)
            out().print("\n".join(str(p) for p in paths), markup=False, soft_wrap=True)
        for outcome in failed:
            err().print(f"failed: {outcome.cell.label}: {outcome.error}", markup=False, soft_wrap=True)
        if left:
            again = f"{len(left)} of {len(cells)} cells remain; go on with: {self.resume()}"
            err().print(again, markup=False, soft_wrap=True)
        return 1 if failed else UNFINISHED if left else 0 if verdict.holds else 1

    def _targets(self) -> int:
        from fedsiege.arena.standing import standings
        from fedsiege.arena.targets import LITE
        from fedsiege.cli import verdicts

        results = Path("docs/results")
        found = standings(self.out, self.publish or (results if results.is_dir() else self.out / "reproduced"))
        if self.json:
            print_json([verdicts.as_json(state, state.target.id in LITE) for state in found])
        else:
            verdicts.list_targets(found)
        return 0

    def _plan(self, cells: list[Cell]) -> int:
        from fedsiege.arena.grid import finished

        found = [{"cell": c.label, "folder": str(c.path), "finished": finished(c) is not None} for c in cells]
        if self.json:
            print_json(found)
        else:
            for row in found:
                print(f"{'finished' if row['finished'] else 'to run  '}  {row['cell']}  {row['folder']}")
        return 0

    def _write(self, id_: str, result: Table, cells: list[Cell]) -> list[Path]:
        """Write the table with its evidence and page, draw what is to be drawn, and return the paths."""
        from fedsiege.arena.grid import finished
        from fedsiege.arena.publish import publish
        from fedsiege.report.reproduction import draw

        folder = self.publish or self.out / "reproduced"
        rounds = {"rounds": self.rounds} if self.rounds else {}
        written = publish(id_, cells, folder, self.out, **rounds)
        places = {c.label: c.path for c in cells if finished(c) is not None}
        return [*written, *draw(id_, result.rows, places, folder)]


ENDS = ("low", "high")


def _with_interval(row: Mapping[str, Any], column: str) -> str:
    """The value, with its interval behind it if the row has one."""
    low, high = (row.get(f"{column} {end}") for end in ENDS)
    return number(row.get(column)) + (f" [{number(low)}, {number(high)}]" if low is not None else "")


def _show(result: Table) -> None:
    """Print a table without the columns in which nothing is known, intervals beside what they are of."""
    console = out()
    ends = {f"{c} {end}" for c in result.columns for end in ENDS}
    known = [c for c in result.columns if any(row.get(c) not in (None, "") for row in result.rows) and c not in ends]
    numeric = [c for c in known if any(isinstance(row.get(c), int | float) for row in result.rows)]
    rows = [[_with_interval(row, c) for c in known] for row in result.rows]
    if rows:
        show_table(table(result.title, known, rows, right=numeric))
    else:
        console.print("no finished cell", markup=False)
    for note in result.notes:
        console.print(f"- {note}", markup=False)
