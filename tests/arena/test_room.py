"""Room and costs: cores, memory, threads, and what a run has cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fedsiege.arena import cost, room
from fedsiege.heap import keep_freed_memory


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 8 cores with 10 GiB free, without limits of a container."""
    monkeypatch.setattr(room, "CGROUP", tmp_path)
    monkeypatch.setattr(room, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("FEDSIEGE_THREADS", raising=False)
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {10 * 2**20} kB\n")
    return tmp_path


def test_jobs_are_bound_by_cores_and_by_memory(machine: Path) -> None:
    assert room.jobs(2**30) == 8
    assert room.jobs(3 * 2**30) == 3
    assert room.jobs(99 * 2**30) == 1


def test_a_containers_limits_count(machine: Path) -> None:
    (machine / "cpu.max").write_text("150000 100000\n")
    assert room.cores() == 2
    (machine / "cpu.max").write_text("max 100000\n")
    assert room.cores() == 8
    (machine / "memory.max").write_text(f"{4 * 2**30}\n")
    (machine / "memory.current").write_text(f"{2**30}\n")
    assert room.memory() == 3 * 2**30
    assert room.jobs(2**30) == 3
    # Three quarters of what is used is cached files.
    (machine / "memory.stat").write_text(f"anon 7\nfile {2**30}\ninactive_file {3 * 2**28}\nactive_file 9\n")
    assert room.memory() == 4 * 2**30 - 2**28
    (machine / "memory.stat").write_text(f"inactive_file {2**40}\n")
    assert room.memory() == 4 * 2**30
    (machine / "memory.stat").write_text("inactive_file many\n")
    assert room.memory() == 3 * 2**30
    (machine / "memory.max").write_text("max\n")
    assert room.memory() == 10 * 2**30


def test_memory_is_known_from_runs_of_the_kind(machine: Path) -> None:
    assert room.needed([machine / "none.json"]) == room.TYPICAL
    for name, peak in (("a", 2 * 2**30), ("b", 4 * 2**30)):
        (machine / name).write_text(json.dumps({"wall_seconds": 1.0, "peak_bytes": peak}))
    assert room.needed([machine / "a", machine / "b"]) == 1.25 * 4 * 2**30
    assert room.jobs(room.needed([machine / "a", machine / "b"])) == 2


def test_workers_share_the_cores(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [room.threads(n) for n in (1, 3, 8, 20)] == [8, 2, 1, 1]
    monkeypatch.setenv("FEDSIEGE_THREADS", "3")
    assert room.threads(8) == 3


def test_costs_add_up_over_the_sittings_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 15.0, 100.0, 101.5])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    peaks = iter([500, 700, 600])
    monkeypatch.setattr(cost, "peak_bytes", lambda: next(peaks))
    path = tmp_path / "cost.json"
    meter = cost.Meter(path)
    meter.write()
    assert json.loads(path.read_text()) == {"wall_seconds": 2.0, "peak_bytes": 500}
    meter.write()
    assert cost.read(path) == (5.0, 700)
    cost.Meter(path).write()
    assert cost.read(path) == (6.5, 700)
    path.write_text("{")
    assert cost.read(path) == (0.0, 0)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can forget a peak")
def test_the_peak_is_that_of_this_run_and_not_of_the_one_before() -> None:
    # As in a worker that has run a cell before.
    keep_freed_memory()
    cost.reset_peak()
    before = cost.peak_bytes()
    block = np.ones(16 * 2**20)  # 128 MiB
    assert cost.peak_bytes() - before > 100 * 2**20
    del block
    high = cost.peak_bytes()
    cost.reset_peak()
    assert high - cost.peak_bytes() > 100 * 2**20


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells of other processes")
def test_the_memory_of_worker_processes_counts_as_long_as_they_live() -> None:
    code = "import sys; block = bytearray(b'x' * 2**27); print('held', flush=True); sys.stdin.read()"
    before = cost.peak_bytes()
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"held\n"
        assert cost.peak_bytes() - before > 2**27
        worker.communicate()
    assert cost.peak_bytes() - before < 2**26


def test_the_peak_of_a_gpu_is_kept_over_sittings_and_left_out_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cost.gpu_peak_bytes() == 0
    path, peaks, reset = tmp_path / "cost.json", {0: 300, 1: 40}, []
    cuda = SimpleNamespace(
        is_initialized=lambda: True, device_count=lambda: 2, max_memory_allocated=peaks.get,
        reset_peak_memory_stats=reset.append,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    cost.Meter(path).write()
    assert reset == [0, 1]
    assert json.loads(path.read_text())["gpu_peak_bytes"] == 340
    peaks[0] = 10
    cost.Meter(path).write()
    assert json.loads(path.read_text())["gpu_peak_bytes"] == 340
