"""Cells on a Ray cluster: one cell a task; Ray runs a task again whose worker was lost.

All nodes must see the folder of the runs under the same path, and have FedSiege and the data. Ray is an extra,
``ray``. It is imported here and nowhere else.

Ray hides GPUs from tasks that ask for none. So where the cluster has any, a run whose model may compute on one asks for
a share of a GPU, such that as many tasks as there are cores may share the GPUs; it then runs on nodes with a GPU only.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedsiege.arena.work import Event, Report, Task
from fedsiege.arena.workers import THREADS, thread_variables
from fedsiege.errors import RunError, remedy

LOG = logging.getLogger(__name__)
AGAIN = 10
"""Seconds between looks at how large the cluster is; nodes may join and leave."""

RETRIES = 2
"""So many times Ray runs a task again whose worker died."""


def uses_gpu(values: Mapping[str, Any]) -> bool:
    """Return whether the model of a resolved configuration may compute on a GPU: its device is ``auto`` or CUDA's."""
    device = str(values.get("model", {}).get("device", "cpu"))
    return device == "auto" or device.startswith("cuda")


def share(gpus: float, tasks: int) -> float:
    """Return the share of a GPU that each of so many tasks may have, at most 1, in steps of 1e-4, which are Ray's."""
    return min(1.0, math.floor(1e4 * gpus / max(tasks, 1)) / 1e4)


def remote_work(task: Task, news: Any) -> Report:
    """Run one cell; the body of a Ray task."""
    from fedsiege.arena.work import work

    def tell(event: Event) -> None:
        # News is for show: a run goes on if nobody listens any more.
        with contextlib.suppress(Exception):
            news.put.remote(event)

    return work(task, tell)


class News:
    """Holds the events of all tasks until the driver asks for them; a Ray actor."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def put(self, event: Event) -> None:
        """Take an event."""
        self.events.put(event)

    def take(self) -> list[Event]:
        """Return the events since the last call."""
        found = []
        while not self.events.empty():
            found.append(self.events.get())
        return found


class RayCluster:
    """Runs cells as Ray tasks of one core each, and of a share of a GPU where there are some and the model may use one.

    Parameters
    ----------
    address : str or None
        Of a running cluster, such as ``"10.0.0.1:6379"`` or ``"auto"``; None starts one on this machine, whatever
        RAY_ADDRESS says.
    jobs : int, optional
        Most tasks at a time; default: as many as the cluster has room for.
    threads : int
        Threads of each task, at least 1, and so many cores are set aside for it.

    Raises
    ------
    RunError
        If Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, address: str | None = None, jobs: int | None = None, threads: int = 1) -> None:
        try:
            import ray
        except ImportError as error:
            raise RunError(f"Ray is not installed; {remedy('ray')}") from error
        self._ray = ray
        self.jobs, self.threads = jobs, threads
        self._mine = not ray.is_initialized()
        environment = {**dict.fromkeys(THREADS, str(self.threads)), "OMP_WAIT_POLICY": "PASSIVE"}
        environment |= {k: v for k, v in os.environ.items() if k.startswith("FEDSIEGE_")}
        if self._mine:
            self._connect(address)
        options: dict[str, Any] = {"num_cpus": self.threads, "max_retries": RETRIES}
        options["runtime_env"] = {"env_vars": environment}
        self._work = ray.remote(**options)(remote_work)
        self._news: Any = ray.remote(num_cpus=0, max_restarts=-1)(News).remote()
        self._tasks: dict[Any, Task] = {}
        self._cores, self._gpus, self._looked, self._waiting = 0, 0.0, -float(AGAIN), False

    def _connect(self, address: str | None) -> None:
        from fedsiege.arena import room

        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        try:
            if address is None:
                with thread_variables(self.threads):
                    count = self.jobs or max(1, room.jobs() // self.threads)
                    own: dict[str, Any] = {"num_cpus": count * self.threads, "include_dashboard": False}
                    # Without an address Ray would join the cluster that RAY_ADDRESS names, and refuse num_cpus there.
                    self._ray.init(address="local", **own, **quiet)
            else:
                self._ray.init(address=address, **quiet)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            where = f"Ray cluster {address}" if address else "a Ray cluster on this machine"
            why = " ".join(str(error).split())[:300]
            raise RunError(f"cannot use {where}: {why}; start one with `ray start --head`, or use --ray local") from (
                error
            )

    @property
    def free(self) -> int:
        """How many more tasks can be taken now; the cluster may grow and shrink."""
        self._look()
        return self._most - len(self._tasks)

    def _look(self) -> None:
        """Ask how large the cluster is, unless that was asked just now."""
        now = time.monotonic()
        if now - self._looked >= AGAIN:
            found = self._ray.cluster_resources()
            self._cores, self._gpus, self._looked = int(found.get("CPU", 0)), float(found.get("GPU", 0)), now
            if not self._most and not self._waiting:
                LOG.warning("no node of the Ray cluster has a CPU to run on; waiting for one (`ray start --address`)")
            self._waiting = not self._most

    @property
    def _most(self) -> int:
        """Tasks at a time."""
        most = self._cores // self.threads
        return min(most, self.jobs or most)

    def submit(self, task: Task) -> None:
        """Hand a task to the cluster."""
        task = replace(task, path=os.path.abspath(task.path))
        self._look()
        work = self._work
        if self._gpus and uses_gpu(task.values):
            work = work.options(num_gpus=share(self._gpus, self._most))
        self._tasks[work.remote(task, self._news)] = task

    def poll(self, seconds: float) -> list[Event | Report]:
        """Return what came in, after at most so many seconds; a task that Ray gave up is reported as lost."""
        ray = self._ray
        news: list[Event | Report] = []
        done: list[Any] = []
        if self._tasks:
            ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
            done, _ = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
        with contextlib.suppress(ray.exceptions.RayError):
            news += ray.get(self._news.take.remote(), timeout=30)
        for ref in done:
            task = self._tasks.pop(ref)
            try:
                news.append(ray.get(ref))
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError):
                news.append(Report(task.index, "lost"))
            except ray.exceptions.RayError as error:
                news.append(Report(task.index, "failed", error=" ".join(str(error).split())[:500]))
        return news

    def close(self, interrupt: bool = False) -> None:
        """End; tasks under way are cancelled, and go on from their last checkpoint next time."""
        for ref in self._tasks:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(ref, force=True)
        self._tasks.clear()
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._news)
        if self._mine:
            self._ray.shutdown()
