"""What memory held before must not reach a result: every plug-in, with two fillings of all that is allocated."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def played(filling: int) -> dict[str, str]:
    """What `tests.conformance.rounds` prints where the allocator fills what it gives with a byte."""
    env = {**os.environ, "MALLOC_PERTURB_": str(filling)}
    command = [sys.executable, "-m", "tests.conformance.rounds"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator fills memory if asked")
def test_no_plugin_reads_what_memory_held_before() -> None:
    # The allocator writes the complement: zeros, and bytes that make large integers and large floats.
    first, second = played(255), played(170)
    assert len(first) > 60
    assert [name for name in first if first[name] != second[name]] == []
