"""Many runs on one machine: as many processes as fit, finished cells never run twice, failures recorded."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedsiege.arena.config import RunConfig, parse
from fedsiege.arena.folder import RunFolder
from fedsiege.errors import FedSiegeError, RunError

EVERY = 0.5
"""Seconds between the progress events of a worker."""


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
    """

    config: RunConfig
    path: Path
    label: str


@dataclass(frozen=True)
class Event:
    """News of one cell: started, progress (with the round), finished, skipped (was finished), or failed."""

    cell_index: int
    kind: Literal["started", "progress", "finished", "skipped", "failed"]
    round: int = 0
    rounds: int = 0
    loss: float = float("nan")
    metric: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its result, or the error that ended it; neither if there was no time to finish it."""

    cell: Cell
    result: dict[str, Any] | None
    error: str | None = None


def _work(
    index: int, values: dict[str, Any], path: str, threads: int, news: Any, until: float | None
) -> dict[str, Any] | None:
    """Run one cell in a worker process, at most until that time (`time.time`); None if it is not finished then."""
    if until is not None and time.time() >= until:
        return None
    # The parent decides when to stop; a worker ends its round and writes a checkpoint on SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from fedsiege.arena.runs import Stopped, execute

    config = parse(values)
    last = 0.0

    def progress(record: Any, _: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > EVERY or record.round == config.federation.rounds:
            last = now
            metric = record.metrics.get("test", {}).get(config.metric)
            tell(Event(index, "progress", record.round, config.federation.rounds, record.loss, metric))

    def tell(event: Event) -> None:
        # News is for show: a run goes on if nobody listens any more.
        with contextlib.suppress(OSError, EOFError):
            news.put(event)

    tell(Event(index, "started", 0, config.federation.rounds))
    late = None if until is None else lambda: time.time() >= until
    try:
        return execute(config, Path(path), threads=threads, progress=progress, stop=late)
    except Stopped:
        return None


def default_jobs() -> int:
    """Return how many cells to run side by side: one a core, as far as 2 GiB of memory each allow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(cores, int(memory // 2)))


def _distinct(cells: Sequence[Cell]) -> None:
    """Refuse two cells in one folder."""
    seen: dict[Path, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.path, cell)
        if other is not cell and other.config.hash != cell.config.hash:
            raise RunError(f"cells {other.label!r} and {cell.label!r} share the folder {cell.path}")


def run_cells(
    cells: Sequence[Cell],
    jobs: int | None = None,
    on_event: Callable[[Event], None] | None = None,
    seconds: float | None = None,
) -> list[Outcome]:
    """Run all cells that are not finished yet, `jobs` at a time, one thread each.

    Parameters
    ----------
    cells : sequence of Cell
        What to run; cells with the same folder and configuration run once.
    jobs : int, optional
        Processes; default: one a core. They share the cores, or have ``FEDSIEGE_THREADS`` threads each.
    on_event : callable, optional
        Called in this process with every `Event`.
    seconds : float, optional
        Begin no cell after so many seconds, and let those under way end their round and write a checkpoint.

    Returns
    -------
    list of Outcome
        In the order of `cells`. A cell that fails keeps its error and the grid goes on.
    """
    _distinct(cells)
    tell = on_event or (lambda event: None)
    until = None if seconds is None else time.time() + seconds
    outcomes: dict[Path, Outcome] = {}
    todo: list[int] = []
    for index, cell in enumerate(cells):
        if cell.path in outcomes or any(cells[k].path == cell.path for k in todo):
            continue
        folder = RunFolder(cell.path)
        if folder.finished and parse(folder.read_config()).hash == cell.config.hash:
            outcomes[cell.path] = Outcome(cell, folder.read_result())
            tell(Event(index, "skipped"))
        else:
            todo.append(index)
    if todo:
        outcomes.update(_pool(cells, todo, jobs or default_jobs(), tell, until))
    return [Outcome(cell, outcomes[cell.path].result, outcomes[cell.path].error) for cell in cells]


def _pool(
    cells: Sequence[Cell], todo: list[int], jobs: int, tell: Callable[[Event], None], until: float | None
) -> dict[Path, Outcome]:
    context = multiprocessing.get_context("spawn")
    workers = min(jobs, len(todo))
    threads = int(os.environ.get("FEDSIEGE_THREADS", 0)) or max(1, (os.cpu_count() or 1) // workers)
    # Set before the workers import numba and torch, so that neither starts threads that it will not use.
    before = {name: os.environ.get(name) for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")}
    os.environ.update({name: str(threads) for name in before})
    done: dict[Path, Outcome] = {}
    with context.Manager() as manager:
        news = manager.Queue()
        stop = threading.Event()
        listener = threading.Thread(target=_listen, args=(news, tell, stop), daemon=True)
        listener.start()
        pool = ProcessPoolExecutor(workers, mp_context=context)
        try:
            futures: dict[Future[dict[str, Any] | None], int] = {
                pool.submit(_work, i, cells[i].config.to_dict(), str(cells[i].path), threads, news, until): i
                for i in todo
            }
            pending = set(futures)
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    index = futures[future]
                    outcome = _outcome(cells[index], future)
                    done[cells[index].path] = outcome
                    if outcome.result is not None or outcome.error is not None:
                        tell(Event(index, "finished" if outcome.error is None else "failed", error=outcome.error))
        except KeyboardInterrupt:
            for process in list(getattr(pool, "_processes", {}).values()):
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            stop.set()
            listener.join()
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
    return done


def _outcome(cell: Cell, future: Future[dict[str, Any] | None]) -> Outcome:
    try:
        return Outcome(cell, future.result())
    except FedSiegeError as error:
        return Outcome(cell, None, str(error))
    except Exception as error:
        cause = "".join(traceback.format_exception(error))
        if cell.path.is_dir():
            (cell.path / "error.txt").write_text(cause, encoding="utf-8")
        return Outcome(cell, None, f"{type(error).__name__}: {error}")


def _listen(news: Any, tell: Callable[[Event], None], stop: threading.Event) -> None:
    while True:
        try:
            tell(news.get(timeout=0.2))
        except queue.Empty:
            if stop.is_set():
                return
        except (EOFError, OSError):
            return
