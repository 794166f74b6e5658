"""Help and lists import nothing heavy, and so answer at once (benchmarks/startup.py measures how soon)."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "numba", "scipy", "sklearn", "polars", "pydantic", "altair", "matplotlib", "safetensors")
LIGHT = [
    ["--help"],
    ["list"],
    ["--version"],
    ["run", "--help"],
    ["data", "info", "--help"],
    ["reproduce", "--list"],
    ["arena"],
    ["export", "--help"],
]


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


@pytest.mark.parametrize("words", [["list"], ["arena", "--help"], ["--help"]], ids=" ".join)
def test_a_reader_that_leaves_gets_no_traceback(words: list[str]) -> None:
    command = [sys.executable, "-m", "fedsiege.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()
    assert told == ""
