"""Results for the documentation: a JSON with every seed's value, and the page that is rendered from it alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedsiege.arena.environment import each_commit
from fedsiege.arena.evidence import Run, known, published
from fedsiege.arena.grid import Cell
from fedsiege.arena.pages import render
from fedsiege.arena.reproduce import plan, points, tabulate, target
from fedsiege.arena.turns import turn
from fedsiege.files import make_folder, write_atomic

__all__ = ["evidence", "publish", "render"]


def evidence(id_: str, cells: Sequence[Cell], runs: Sequence[Run], command: str) -> dict[str, Any]:
    """Return the table of a target with each of its `runs`: seed, values, commit, hardware, configuration hash.

    `command` is the command line that repeats it.
    """
    return {
        **tabulate(id_, cells, runs).to_json(),
        "about": target(id_).about,
        "command": command,
        "commits": each_commit(run.commit for run in runs),
        "hardware": sorted({f"{r.hardware['cpu']}, {r.hardware['threads']} thread a run" for r in runs}),
        "runs": [run.to_json() for run in runs],
    }


def publish(
    id_: str, cells: Sequence[Cell], folder: Path, root: Path = Path("runs"), rounds: int | None = None
) -> list[Path]:
    """Write ``<id>.json`` and ``<id>.md`` of a target into `folder`; return their paths.

    The table holds every run of the target that is known: finished under `root`, or published in `folder` before, in
    this table or another. So a table grows cell by cell, on one machine after another. Of several processes that
    publish in `folder` at once, each waits for its turn.

    Parameters
    ----------
    id_ : str
        The target.
    cells : sequence of Cell
        The cells that were just run.
    folder : Path
        Where tables are published.
    root : Path
        Where run folders lie.
    rounds : int, optional
        For how many rounds the table is run; default: those of the target.
    """
    make_folder(folder)
    with turn(folder):
        return _publish(id_, cells, folder, root, rounds)


def _publish(id_: str, cells: Sequence[Cell], folder: Path, root: Path, rounds: int | None) -> list[Path]:
    wanted = target(id_)
    keys = {point.key for point in points(id_)}
    seeds = {run.seed for run in published(folder).values() if run.key in keys}
    every = plan(id_, sorted(seeds | {cell.config.seed for cell in cells}), rounds, None, root)
    runs = known(every, folder, id_)
    words = ["fedsiege", "reproduce", *wanted.words, "--seeds", *map(str, sorted({run.seed for run in runs}))]
    if rounds is not None and rounds != wanted.rounds:
        words += ["--rounds", str(rounds)]
    # The last bits of classifiers depend on them.
    threads = {run.hardware.get("threads") for run in runs}
    if len(threads) == 1 and (only := threads.pop()):
        words += ["--threads", str(only)]
    data = evidence(id_, every, runs, " ".join(words))
    written = [folder / f"{id_}.json", folder / f"{id_}.md"]
    write_atomic(written[0], (json.dumps(data, indent=1) + "\n").encode())
    write_atomic(written[1], render(data).encode())
    return written
