"""What a run costs: wall seconds and peak memory, added up over all sittings of a run that was stopped."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from fedsiege.files import write_atomic
from fedsiege.heap import give_back_freed_memory

PROC = Path("/proc")


def peak_bytes() -> int:
    """Return the most memory that this process has held since `reset_peak` (elsewhere than on Linux: ever).

    The most that each of its worker processes has held is added, so this is never too little; what they share is
    counted more than once.
    """
    own = _high("self")
    if own is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return own + sum(_high(child) or 0 for child in _children())


def _high(process: str) -> int | None:
    """Return the high-water mark of a process's memory in bytes, None where the system does not tell."""
    try:
        for line in (PROC / process / "status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _children() -> set[str]:
    """Return the living processes that this one has started, and those that they have."""
    found: set[str] = set()
    waiting = ["self"]
    while waiting:
        for file in (PROC / waiting.pop()).glob("task/*/children"):
            try:
                new = set(file.read_text(encoding="ascii").split()) - found
            except OSError:
                continue
            found |= new
            waiting += new
    return found


def gpu_peak_bytes() -> int:
    """Return the most memory that tensors of this process have held on a GPU since `reset_peak`, 0 without one."""
    cuda = _cuda()
    return sum(cuda.max_memory_allocated(i) for i in range(cuda.device_count())) if cuda else 0


def _cuda() -> Any:
    """Return ``torch.cuda`` if this process computes there, else None; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def reset_peak() -> None:
    """Forget the peak of what the process did before, where the system can do that."""
    give_back_freed_memory()
    if cuda := _cuda():
        for i in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(i)
    for process in ("self", *_children()):
        try:
            (PROC / process / "clear_refs").write_text("5", encoding="ascii")
        except OSError:
            continue


def read(path: Path) -> tuple[float, int]:
    """Return wall seconds and peak bytes of a ``cost.json``; zeros where there is none, or a damaged one."""
    seconds, peak, _ = _read(path)
    return seconds, peak


def _read(path: Path) -> tuple[float, int, int]:
    """Return wall seconds, peak bytes, and those of a GPU."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return float(found["wall_seconds"]), int(found["peak_bytes"]), int(found.get("gpu_peak_bytes", 0))
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0, 0, 0


class Meter:
    """Measures one sitting of a run and adds it to those before.

    Parameters
    ----------
    path : Path
        The ``cost.json`` of the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = _read(path)
        self.started = time.perf_counter()
        reset_peak()

    def write(self) -> None:
        """Write down what the run has cost up to now."""
        seconds, peak, gpu = self.before
        seconds += time.perf_counter() - self.started
        found: dict[str, float] = {"wall_seconds": round(seconds, 3), "peak_bytes": max(peak, peak_bytes())}
        if gpu := max(gpu, gpu_peak_bytes()):
            found["gpu_peak_bytes"] = gpu
        write_atomic(self.path, (json.dumps(found) + "\n").encode())
