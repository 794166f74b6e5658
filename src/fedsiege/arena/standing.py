"""How far each table and figure is: runs finished here, runs published before, and the verdict over both.

Nothing heavy is imported, so a list answers at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedsiege.arena.bands import Figures
from fedsiege.arena.derive_bands import figures, runs_of
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.targets import LITE, TARGETS, Target
from fedsiege.arena.verdict import Verdict, judge
from fedsiege.errors import RunError


@dataclass(frozen=True)
class Standing:
    """The state of one table or figure.

    Parameters
    ----------
    target : Target
        Which.
    runs : int
        Runs that it needs: its cells times its seeds.
    finished, published : int
        Runs that are finished under a folder of runs, or published; other seeds and rounds count too.
    verdict : Verdict
        Over both; a run that is in both counts as finished here.
    """

    target: Target
    runs: int
    finished: int
    published: int
    verdict: Verdict


def _finished(target: Target, root: Path) -> Iterator[Figures]:
    """Yield finished runs, from their results alone; folders of damaged ones count as unfinished."""
    if not (root / target.folder).is_dir():
        return
    for key in sorted({point.key for point in target.points()}):
        for path in sorted((root / target.folder / key).glob("seed*-*")):
            folder = RunFolder(path)
            try:
                if not folder.finished:
                    continue
                result = folder.read_result()
            except RunError:
                continue
            yield figures({**result, "key": key})


def standing(target: Target, root: Path, folder: Path) -> Standing:
    """Return the state of a target: runs under `root`, tables in `folder`; RunError if its table cannot be read."""
    points = list(target.points())
    keys = {point.key for point in points}
    here = list(_finished(target, root))
    table = folder / f"{target.id}.json"
    before = [figures(run) for run in (runs_of(table) if table.is_file() else ()) if run["key"] in keys]
    # The later of two entries stands, so what was run here replaces what was published.
    both = {(run.key, run.rounds, run.seed): run for run in (*before, *here)}
    return Standing(target, len(points) * target.seeds, len(here), len(before), judge(target, both.values()))


def standings(root: Path, folder: Path) -> list[Standing]:
    """Return the state of all tables and figures; a small form follows its full one."""
    wanted = [t for full in TARGETS.values() for t in (full, LITE.get(full.id)) if t is not None]
    return [standing(target, root, folder) for target in wanted]
