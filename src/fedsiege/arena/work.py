"""What a worker does with a cell, wherever it runs: news on the way, and one report at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedsiege.arena.config import parse

EVERY = 0.5
"""Seconds between the progress events of a worker."""


@dataclass(frozen=True)
class Event:
    """News of one cell.

    Parameters
    ----------
    cell_index : int
        Which cell of the grid.
    kind : str
        Started; progress, with the round; finished; skipped, because it was finished; failed; busy, while another
        process works on it; or lost, when its worker died and it will be run again.
    round, rounds : int
        Rounds done, and in all.
    loss, metric : float
        Of the last round and the last evaluation.
    error : str or None
        Why it failed.
    scores : dict or None
        Test scores of a cell that is finished.
    """

    cell_index: int
    kind: Literal["started", "progress", "finished", "skipped", "failed", "busy", "lost"]
    round: int = 0
    rounds: int = 0
    loss: float = float("nan")
    metric: float | None = None
    error: str | None = None
    scores: dict[str, float] | None = None


@dataclass(frozen=True)
class Task:
    """A cell on its way to a worker, as plain values.

    Parameters
    ----------
    index : int
        Which cell of the grid.
    values : dict
        Its resolved configuration.
    path : str
        Its run folder.
    threads : int
        Threads that it may use.
    command : str or None
        The command that repeats it, but for the threads.
    until : float or None
        When to stop (`time.time`).
    """

    index: int
    values: dict[str, Any]
    path: str
    threads: int = 1
    command: str | None = None
    until: float | None = None


@dataclass(frozen=True)
class Report:
    """What became of a task.

    Parameters
    ----------
    index : int
        Which cell of the grid.
    kind : {"finished", "failed", "busy", "stopped", "lost"}
        Busy: another process holds the folder. Stopped: it was told to, or time was up. Lost: the worker died.
    result : dict or None
        The result of a finished one.
    error : str or None
        Why it failed.
    """

    index: int
    kind: Literal["finished", "failed", "busy", "stopped", "lost"]
    result: dict[str, Any] | None = None
    error: str | None = None


Tell = Callable[[Event], None]


def work(task: Task, tell: Tell, orphaned: Callable[[], bool] = lambda: False) -> Report:
    """Run one cell and return what became of it; no error of the cell passes on.

    Parameters
    ----------
    task : Task
        What to run.
    tell : callable
        Takes the events of the cell.
    orphaned : callable
        Asked after each round: whether nobody waits for this worker any more. Then the run is saved and stopped.
    """
    from fedsiege.arena.failure import describe
    from fedsiege.arena.folder import Busy
    from fedsiege.arena.runs import Stopped, execute

    def late() -> bool:
        return (task.until is not None and time.time() >= task.until) or orphaned()

    if late():
        return Report(task.index, "stopped")
    last = 0.0
    try:
        config = parse(task.values)
        rounds = config.federation.rounds

        def progress(record: Any, _: float) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > EVERY or record.round == rounds:
                last = now
                metric = record.metrics.get("test", {}).get(config.metric)
                tell(Event(task.index, "progress", record.round, rounds, record.loss, metric))

        tell(Event(task.index, "started", 0, rounds))
        result = execute(
            config,
            Path(task.path),
            threads=task.threads,
            progress=progress,
            command=task.command,
            stop=late,
            keep_data=True,
        )
    except Stopped:
        return Report(task.index, "stopped")
    except Busy:
        return Report(task.index, "busy")
    except Exception as error:
        return Report(task.index, "failed", error=describe(error)["error"])
    return Report(task.index, "finished", result)
