"""How many cells fit this machine side by side, and how many threads each gets."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

from fedsiege.arena import cost
from fedsiege.threads import asked_threads

GIB = 2**30
TYPICAL = 1.5 * GIB
"""Bytes that a cell is taken to need as long as none like it has been measured."""

SPARE = 1.25
"""A cell may need so many times what another of its kind has needed."""

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def cores() -> int:
    """Return the number of cores that this process may use: those it is bound to, within a container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return count


def memory() -> float:
    """Return the bytes that are free for new processes, within a container's limit.

    A container's count includes files that the system keeps in memory and gives up where it is needed; those that have
    not been read for a while are taken for free.
    """
    free = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        for line in MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        limit = int((CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free
    return max(0.0, min(free, limit - max(0, used - _inactive_files())))


def _inactive_files() -> int:
    """Return the bytes of a container's page cache that can be given up first, 0 where that is not told."""
    try:
        for line in (CGROUP / "memory.stat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == "inactive_file":
                return int(value)
    except (OSError, ValueError):
        pass
    return 0


def needed(costs: Iterable[Path]) -> float:
    """Return the bytes that a cell needs, from the ``cost.json`` files of those like it that have been run."""
    peaks = [peak for _, peak in map(cost.read, costs) if peak]
    return SPARE * max(peaks) if peaks else TYPICAL


def jobs(each: float = TYPICAL) -> int:
    """Return how many cells to run side by side: one a core, as far as memory allows `each` of them so many bytes."""
    return max(1, min(cores(), int(memory() // each)))


def threads(workers: int) -> int:
    """Return the threads of each of so many workers: the cores shared among them, or ``FEDSIEGE_THREADS``."""
    return asked_threads() or max(1, cores() // workers)
