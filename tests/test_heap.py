"""Freed memory is kept where the allocator is glibc's, measured by page faults in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from fedsiege import heap

SCRIPT = """
import resource, sys, torch
from fedsiege.heap import keep_freed_memory
assert sys.argv[1] == "no" or keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(64 << 18)  # 64 MiB, above any threshold that glibc would come to by itself
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


def faults(keep: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, keep], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
def test_blocks_that_were_freed_are_not_mapped_anew() -> None:
    # Up to two of eight blocks may still come anew, where the heap grows once more.
    assert 4 * faults("yes") < faults("no")


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_left_alone(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap.sys, "platform", system)
    assert heap.keep_freed_memory() is False
