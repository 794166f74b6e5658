"""How soon the command line answers: ``python benchmarks/startup.py``.

Prints the median and the least of ten starts of ``fedsiege --help`` and ``fedsiege list``, in seconds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

TIMES = 10


def seconds(word: str) -> float:
    """Return the wall time of one start."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fedsiege.cli", word], capture_output=True, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    for word in ("--help", "list"):
        seconds(word)  # Bytecode is written before the clock counts.
        taken = [seconds(word) for _ in range(TIMES)]
        print(f"fedsiege {word:<6}  median {statistics.median(taken):.2f} s  least {min(taken):.2f} s")
