"""Many runs: as many side by side as fit, finished cells never run twice, failures recorded, lost workers replaced."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fedsiege.arena import failure, room, same_plugins
from fedsiege.arena.config import RunConfig, parse
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.same_data import GridData
from fedsiege.arena.work import Event, Report, Task
from fedsiege.arena.workers import LocalWorkers
from fedsiege.errors import FedSiegeError, RunError
from fedsiege.threads import asked_threads

__all__ = ["Cell", "Event", "Executor", "Outcome", "default_jobs", "run_cells"]

AGAIN = 1.0
"""Seconds until a cell that another process holds is looked at again."""

ATTEMPTS = 3
"""So many workers may die over a cell before it counts as failed."""

PATIENCE = 0.5
"""Seconds to wait for news at a time."""


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Parameters
    ----------
    config : RunConfig
        What to run.
    path : Path
        Its run folder.
    label : str
        How to call it, such as ``"mf/ml-1m/lie/none/seed0"``.
    command : str, optional
        The command that repeats it, but for the threads; default: one that runs its configuration.
    """

    config: RunConfig
    path: Path
    label: str
    command: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its result, or the error that ended it; neither if there was no time to finish it."""

    cell: Cell
    result: dict[str, Any] | None
    error: str | None = None


class Executor(Protocol):
    """Where cells are run."""

    threads: int

    @property
    def free(self) -> int:
        """How many more tasks can be taken now."""
        ...

    def submit(self, task: Task) -> None:
        """Take a task."""
        ...

    def poll(self, seconds: float) -> list[Event | Report]:
        """Return news and reports, after at most so many seconds."""
        ...

    def close(self, interrupt: bool = False) -> None:
        """End; with `interrupt` cells under way are saved and stopped."""
        ...


def default_jobs() -> int:
    """Return how many cells to run side by side: one a core, as far as memory allows."""
    return room.jobs()


def _distinct(cells: Sequence[Cell]) -> None:
    """Refuse two cells in one folder."""
    seen: dict[Path, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.path, cell)
        if other is not cell and other.config.hash != cell.config.hash:
            raise RunError(f"cells {other.label!r} and {cell.label!r} share the folder {cell.path}")


def finished(cell: Cell) -> dict[str, Any] | None:
    """Return the result of a cell that is finished, None for one that is not, or whose folder is damaged."""
    folder = RunFolder(cell.path)
    with contextlib.suppress(FedSiegeError):
        if folder.finished and parse(folder.read_config()).hash == cell.config.hash:
            return folder.read_result()
    return None


def scores(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the test scores of a result after its last round."""
    return dict(result["last"]["metrics"]["test"])


def run_cells(
    cells: Sequence[Cell],
    jobs: int | None = None,
    on_event: Callable[[Event], None] | None = None,
    seconds: float | None = None,
    executor: Executor | None = None,
    threads: int | None = None,
    whole: Sequence[Cell] | None = None,
) -> list[Outcome]:
    """Run all cells that are not finished yet, `jobs` at a time.

    A cell that another process works on is waited for: it is taken over if that process ends without finishing it. A
    cell whose worker dies is run again, from its last checkpoint.

    Parameters
    ----------
    cells : sequence of Cell
        What to run; cells with the same folder and configuration run once.
    jobs : int, optional
        Processes; default: one a core, as far as memory allows.
    on_event : callable, optional
        Called with every `Event`.
    seconds : float, optional
        Begin no cell after so many seconds, and let those under way end their round and write a checkpoint.
    executor : Executor, optional
        Where to run; default: processes on this machine. It is closed at the end.
    threads : int, optional
        Threads of each process on this machine; default: ``FEDSIEGE_THREADS``, else those that the stored runs of the
        grid had, where all had as many, else the cores shared among all its cells, or among `jobs`.
    whole : sequence of Cell, optional
        The grid of which `cells` are a part, and which decides the threads; default: `cells`.

    Returns
    -------
    list of Outcome
        In the order of `cells`. A cell that fails keeps its error and the grid goes on. A finished cell that rests on
        other data than its file holds now, or than other cells of the same data set, or on other versions of its
        plug-in files, counts as failed.
    """
    _distinct(cells)
    until = None if seconds is None else time.time() + seconds
    grid = _Grid(cells, on_event or (lambda event: None), until)
    where, interrupted = executor, True
    try:
        grid.skip_finished()
        if grid.queue:
            where = where or _here(cells, grid.queue, jobs, threads, whole or cells)
            grid.run(where)
        interrupted = False
    finally:
        if where is not None:
            where.close(interrupted)
    return [grid.outcomes[cell.path] for cell in cells]


def _here(
    cells: Sequence[Cell], todo: Sequence[int], jobs: int | None, threads: int | None, whole: Sequence[Cell]
) -> LocalWorkers:
    """Return workers on this machine, as many as fit if `jobs` does not say.

    The bits of some models depend on the threads, so these are those of the runs that the grid has, or follow from its
    size: never from what is left of it, nor from the memory that happens to be free.
    """
    asked = threads or asked_threads()
    count = asked or _settled(whole) or room.threads(min(jobs or room.cores(), len(whole)))
    if jobs is None:
        kinds = {(cells[k].config.dataset, cells[k].config.model) for k in todo}
        like = [c for c in cells if (c.config.dataset, c.config.model) in kinds]
        jobs = room.jobs(room.needed(RunFolder(c.path).cost for c in like))
        if not asked:
            jobs = min(jobs, max(1, room.cores() // count))
    return LocalWorkers(min(jobs, len(todo)), count)


def _settled(cells: Sequence[Cell]) -> int | None:
    """Return the threads that the stored runs of a grid had; None if there are none, or they differ."""
    found = {RunFolder(cell.path).threads for cell in cells} - {None}
    return found.pop() if len(found) == 1 else None


@dataclass
class _Grid:
    """The state of a grid under way."""

    cells: Sequence[Cell]
    tell: Callable[[Event], None]
    until: float | None
    outcomes: dict[Path, Outcome] = field(default_factory=dict)
    queue: deque[int] = field(default_factory=deque)
    held: dict[int, float] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    data: GridData = field(default_factory=GridData)

    def skip_finished(self) -> None:
        """Queue the cells that are to be run, and tell of the others."""
        first: dict[Path, int] = {}
        for index, cell in enumerate(self.cells):
            if first.setdefault(cell.path, index) == index and not self._skip(index):
                self.queue.append(index)

    def _skip(self, index: int) -> bool:
        result = finished(self.cells[index])
        if result is not None:
            self._finished(index, "skipped", result)
        return result is not None

    def _finished(self, index: int, kind: Any, result: dict[str, Any]) -> None:
        """End a cell with its result, unless it rests on other data or plug-in files than there are now."""
        cell = self.cells[index]
        error = self.data.objection(cell.config.dataset, cell.path, cell.label)
        error = error or same_plugins.objection(RunFolder(cell.path), cell.config, "finished")
        if error is None:
            self._end(index, kind, result)
        else:
            self._end(index, "failed", error=error)

    def _end(self, index: int, kind: Any, result: dict[str, Any] | None = None, error: str | None = None) -> None:
        cell = self.cells[index]
        self.outcomes[cell.path] = Outcome(cell, result, error)
        if result is not None or error is not None:
            self.tell(Event(index, kind, error=error, scores=scores(result) if result else None))

    @property
    def late(self) -> bool:
        """Whether time is up."""
        return self.until is not None and time.time() >= self.until

    def run(self, where: Executor) -> None:
        """Hand out the cells and take their reports, until all have an outcome."""
        while self.queue or self.held or self.running:
            self._wake()
            while self.queue and where.free > 0:
                self._hand_out(self.queue.popleft(), where)
            if not self.running:
                # Nothing to hear of: the rest is in other hands.
                time.sleep(PATIENCE if self.held or self.queue else 0)
                continue
            for news in where.poll(PATIENCE):
                if isinstance(news, Report):
                    self._report(news)
                elif news.cell_index in self.running:
                    self.tell(news)

    def _wake(self) -> None:
        """Look again at cells that others held."""
        now = time.monotonic()
        for index in [k for k, due in self.held.items() if self.late or now >= due]:
            del self.held[index]
            if not self._skip(index):
                self.queue.append(index)

    def _hand_out(self, index: int, where: Executor) -> None:
        cell = self.cells[index]
        if self.late:
            self._end(index, "failed")
            return
        self.running.add(index)
        where.submit(Task(index, cell.config.to_dict(), str(cell.path), where.threads, cell.command, self.until))

    def _report(self, report: Report) -> None:
        index = report.index
        self.running.discard(index)
        if report.kind == "busy":
            self.held[index] = time.monotonic() + AGAIN
            self.tell(Event(index, "busy"))
        elif report.kind == "lost":
            self._lost(index)
        elif report.result is not None:
            self._finished(index, report.kind, report.result)
        else:
            self._end(index, report.kind, error=report.error)

    def _lost(self, index: int) -> None:
        """Run a cell again whose worker died, unless that happens every time."""
        self.lost[index] = self.lost.get(index, 0) + 1
        self.tell(Event(index, "lost"))
        if self.lost[index] < ATTEMPTS:
            self.queue.append(index)
            return
        error = RunError(
            f"its worker process died {ATTEMPTS} times, which is often a lack of memory; run fewer side by side"
        )
        from fedsiege.arena.runs import claim

        cell = self.cells[index]
        folder = RunFolder(cell.path)
        with contextlib.suppress(FedSiegeError), folder.lock():
            claim(cell.config, folder)
            failure.record(folder, error)
        self._end(index, "failed", error=str(error))
