"""What a run costs: wall seconds and peak memory, added up over all sittings of a run that was stopped."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from fedsiege.federation.checkpoint import write_atomic
from fedsiege.heap import give_back_freed_memory

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes() -> int:
    """Return the most memory that this process has held since `reset_peak` (elsewhere than on Linux: ever)."""
    try:
        for line in STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak() -> None:
    """Forget the peak of what the process did before, where the system can do that."""
    give_back_freed_memory()
    try:
        CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return


def read(path: Path) -> tuple[float, int]:
    """Return wall seconds and peak bytes of a ``cost.json``; zeros where there is none, or a damaged one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return float(found["wall_seconds"]), int(found["peak_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0, 0


class Meter:
    """Measures one sitting of a run and adds it to those before.

    Parameters
    ----------
    path : Path
        The ``cost.json`` of the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = read(path)
        self.started = time.perf_counter()
        reset_peak()

    def write(self) -> None:
        """Write down what the run has cost up to now."""
        seconds, peak = self.before
        seconds += time.perf_counter() - self.started
        found = {"wall_seconds": round(seconds, 3), "peak_bytes": max(peak, peak_bytes())}
        write_atomic(self.path, (json.dumps(found) + "\n").encode())
