"""Help and lists answer at once, because they import nothing heavy."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "numpy", "numba", "scipy", "sklearn", "polars", "pydantic", "altair", "matplotlib", "safetensors")
LIMIT = 0.7
"""Seconds on a machine that does nothing else."""

LIGHT = [["--help"], ["list"], ["--version"], ["run", "--help"], ["data", "info", "--help"], ["reproduce", "--list"]]


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_nothing_heavy_is_imported(words: list[str]) -> None:
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('IMPORTED', [m for m in {HEAVY} if m in sys.modules]))\n"
        "from fedsiege.cli.main import main\n"
        f"sys.exit(main({words!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "IMPORTED []" in done.stdout


@pytest.mark.parametrize("word", ["--help", "list"])
def test_the_answer_comes_within_the_limit(word: str) -> None:
    seconds = []
    for _ in range(8):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "fedsiege.cli", word], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
        if min(seconds) < LIMIT:
            return
    # The best of several: other work on the machine can only make it slower.
    pytest.fail(f"`fedsiege {word}` took at least {min(seconds):.2f} s")
