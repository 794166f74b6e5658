"""Worker processes on this machine: they live from cell to cell, and one that dies is replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from fedsiege.arena.work import Event, Report, Task, work
from fedsiege.errors import RunError

THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def serve(pipe: Connection, parent: int) -> None:
    """Run the tasks that come through `pipe` until it closes; the body of a worker process.

    A worker whose parent was killed notices after a round, saves the run and ends.
    """
    # The parent decides when to stop; a worker ends its round and writes a checkpoint on SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def tell(event: Event) -> None:
        # News is for show: a run goes on if nobody listens any more.
        with contextlib.suppress(OSError):
            pipe.send(event)

    while True:
        try:
            task: Task = pipe.recv()
            pipe.send(work(task, tell, lambda: os.getppid() != parent))
        except (EOFError, OSError, KeyboardInterrupt):
            return


@contextmanager
def thread_variables(threads: int) -> Iterator[None]:
    """Set what numba and BLAS read when a worker imports them, so that neither starts threads it will not use."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class LocalWorkers:
    """So many worker processes, each with one task at a time.

    Parameters
    ----------
    count : int
        Processes; they start when there is work for them.
    threads : int
        Threads of each.
    """

    def __init__(self, count: int, threads: int) -> None:
        self.count, self.threads = count, threads
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[Connection, Any] = {}
        self._tasks: dict[Connection, Task] = {}

    @property
    def free(self) -> int:
        """How many more tasks can be taken now."""
        return self.count - len(self._tasks)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [process.pid for process in self._processes.values()]

    def submit(self, task: Task) -> None:
        """Hand a task to a worker that has none, started for it if need be."""
        for _ in range(self.count + 1):
            idle = [pipe for pipe in self._processes if pipe not in self._tasks]
            pipe = idle[0] if idle else self._start()
            try:
                pipe.send(task)
            except OSError:
                # An idle worker has died; another takes its place.
                self._forget(pipe)
                continue
            self._tasks[pipe] = task
            return
        raise RunError("workers die as soon as they start; see what they said above, or try fewer with --jobs")

    def _start(self) -> Connection:
        ours, theirs = self._context.Pipe()
        with thread_variables(self.threads):
            # Not a daemon: some defenses have worker processes of their own.
            process = self._context.Process(target=serve, args=(theirs, os.getpid()), daemon=False)
            process.start()
        theirs.close()
        self._processes[ours] = process
        return ours

    def _forget(self, pipe: Connection) -> Task | None:
        pipe.close()
        self._processes.pop(pipe).join()
        return self._tasks.pop(pipe, None)

    def poll(self, seconds: float) -> list[Event | Report]:
        """Return what came in, after at most so many seconds; a task whose worker died is reported as lost."""
        news: list[Event | Report] = []
        for pipe in wait(list(self._processes), seconds) if self._processes else []:
            assert isinstance(pipe, Connection)
            try:
                while pipe.poll():
                    found = pipe.recv()
                    news.append(found)
                    if isinstance(found, Report):
                        self._tasks.pop(pipe, None)
            except (EOFError, OSError):
                news += self._bury(pipe)
        # A process that a worker has started may keep its end of the pipe open, so that nothing is heard of its death.
        for pipe in [p for p, process in self._processes.items() if not process.is_alive() and not p.poll()]:
            news += self._bury(pipe)
        return news

    def _bury(self, pipe: Connection) -> list[Report]:
        task = self._forget(pipe)
        return [] if task is None else [Report(task.index, "lost")]

    def close(self, interrupt: bool = False) -> None:
        """End all workers; those at work save their run first, with `interrupt`, or are waited for."""
        for pipe, process in self._processes.items():
            if interrupt or pipe not in self._tasks:
                process.terminate()
        for pipe, process in self._processes.items():
            # Drained, so that no worker hangs on a full pipe.
            with contextlib.suppress(EOFError, OSError):
                while pipe in self._tasks:
                    if isinstance(pipe.recv(), Report):
                        break
            pipe.close()
            process.join()
        self._processes.clear()
        self._tasks.clear()
