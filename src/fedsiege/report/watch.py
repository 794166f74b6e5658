"""The state of a store at a glance, by file stamps alone: how many runs ended, and whether anything changed."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

QUIET = 300.0
"""Seconds without a change after which an unfinished run counts as stopped, where locks cannot be read."""

_LOCKS = Path("/proc/locks")


@dataclass(frozen=True)
class State:
    """How far the runs under a folder are.

    Parameters
    ----------
    token : str
        Changes whenever a run ends, fails, is run again or goes away.
    finished, running, failed, stopped : int
        Runs by what became of them; a stopped run is neither finished nor failed, and nobody works on it.
    """

    token: str
    finished: int
    running: int
    failed: int
    stopped: int


def _held() -> set[int] | None:
    """Return the inodes of the files that some process holds locked; None where the system does not tell."""
    try:
        lines = _LOCKS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = set()
    for line in lines:
        for word in line.split():
            device, _, inode = word.rpartition(":")
            if device.count(":") == 1 and inode.isdigit():
                found.add(int(inode))
    return found


def _working(folder: Path, files: list[str], held: set[int] | None, now: float) -> bool:
    """Return whether some process works in an unfinished run folder."""
    try:
        # A lock is only looked up, never tried: trying would turn away the worker that is about to take it.
        if held is not None:
            return ".lock" in files and (folder / ".lock").stat().st_ino in held
        return now - max((folder / name).stat().st_mtime for name in files) < QUIET
    except OSError:
        return False


def look(root: Path) -> State:
    """Return the state of the runs under `root`; what cannot be read is not counted.

    The cost is one listing of the folders and one stamp for each run that has ended, so that it can be taken every
    second.
    """
    held, now = _held(), time.time()
    finished = running = failed = stopped = 0
    mark = hashlib.sha256()
    for name, children, files in os.walk(root):
        children.sort()
        folder = Path(name)
        # An outcome without a configuration is of no run, and hides none.
        begun = "config.yaml" in files
        ended = next((f for f in ("result.json", "failed.json") if begun and f in files), None)
        if ended is None:
            if begun:
                if _working(folder, files, held, now):
                    running += 1
                else:
                    stopped += 1
            continue
        children.clear()
        try:
            stamp = (folder / ended).stat()
        except OSError:
            continue
        finished += ended == "result.json"
        failed += ended == "failed.json"
        mark.update(f"{folder.relative_to(root).as_posix()}\0{ended}\0{stamp.st_mtime_ns}\0{stamp.st_size}\n".encode())
    return State(mark.hexdigest()[:16], finished, running, failed, stopped)
