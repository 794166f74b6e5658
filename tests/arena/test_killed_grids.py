"""Grids in real processes: killed with signal 9, driver or worker, and two of them on one store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedsiege.arena.grid import Cell, Event, run_cells
from fedsiege.arena.workers import LocalWorkers
from fedsiege.federation import checkpoint
from tests.arena.games import TINY, Here, contents, grid

SLOW = """
import time
from dataclasses import dataclass

from fedsiege.defenses.none import FedAvg


@dataclass(frozen=True)
class Slow(FedAvg):
    name = "slow"

    def step(self, *arguments):
        time.sleep(0.3)
        return super().step(*arguments)
"""
"""A defense under which every signal comes in the middle of a round."""

LONG = {**TINY["federation"], "rounds": 400, "evaluate_every": 100, "project_every": 0}
"""Long enough that a kill comes in the middle."""

PATIENCE = 240
"""Seconds until a test gives up waiting for another process."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of the grid, run without any incident."""
    root = tmp_path_factory.mktemp("whole")
    assert all(o.result for o in run_cells(cells(root), executor=Here()))
    return contents(root)


def cells(root: Path) -> list[Cell]:
    return grid(root, federation=LONG, seeds=[0], defenses=["none", "multikrum"])


def test_a_killed_worker_is_replaced_and_its_cell_is_run_again(tmp_path: Path, whole: dict[str, bytes]) -> None:
    workers = LocalWorkers(2, 1)
    events: list[Event] = []

    def kill(event: Event) -> None:
        events.append(event)
        if event.kind == "progress" and len([e for e in events if e.kind == "progress"]) in (1, 3):
            os.kill(workers.pids[0], signal.SIGKILL)

    outcomes = run_cells(cells(tmp_path), on_event=kill, executor=workers)
    assert [o.error for o in outcomes] == [None] * 4
    assert contents(tmp_path) == whole
    lost = [e.cell_index for e in events if e.kind == "lost"]
    assert lost
    for index in set(lost):
        # A worker may have died before it could say that it had started.
        starts = sum(e.kind == "started" and e.cell_index == index for e in events)
        assert 1 <= starts <= 1 + lost.count(index)
    assert not workers.pids


def start(root: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start the grid as a command, in a process group of its own, that heeds Ctrl-C wherever these tests run."""
    card = root.parent / "card.yaml"
    card.write_text(yaml.safe_dump({**TINY, "federation": LONG, "seeds": [0]}), "utf-8")
    words = ["arena", "--card", str(card), "--jobs", "2", "--out", str(root), "--json", *more]
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from fedsiege.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )


def wait_for(what: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_driver_leaves_a_grid_that_goes_on(tmp_path: Path, whole: dict[str, bytes]) -> None:
    root = tmp_path / "runs"
    driver = start(root)
    wait_for(lambda: any(p.stat().st_size for p in root.rglob("rounds.jsonl")))
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    before = {p: p.stat().st_mtime_ns for p in root.rglob("result.json")}
    # The workers of the killed driver may still hold a cell for a round; it is waited for.
    outcomes = run_cells(cells(root), 2)
    assert [o.error for o in outcomes] == [None] * 4
    assert contents(root) == whole
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def test_a_terminals_interrupt_reaches_every_process_and_saves_the_runs_under_way(tmp_path: Path) -> None:
    root, file = tmp_path / "runs", tmp_path / "slow.py"
    file.write_text(SLOW, "utf-8")
    driver = start(root, "--plugins", str(file), "--defenses", "slow")

    def rounds() -> list[Path]:
        return list(root.rglob("rounds.jsonl"))

    wait_for(lambda: len(rounds()) == 2)
    time.sleep(1)
    os.killpg(driver.pid, signal.SIGINT)
    driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 130
    for path in rounds():
        done = checkpoint.load(path.with_name("checkpoint"))["federation"]["done"]
        assert done == len(path.read_text().splitlines())
        assert 1 <= done < LONG["rounds"]
    assert not list(root.rglob("failed.json"))


def test_two_grids_share_a_store(tmp_path: Path, whole: dict[str, bytes]) -> None:
    root = tmp_path / "runs"
    other = start(root)
    outcomes = run_cells(cells(root), 1)
    said, _ = other.communicate(timeout=PATIENCE)
    assert other.returncode == 0
    assert [run["error"] for run in json.loads(said)["runs"]] == [None] * 4
    assert all(o.error is None and o.result is not None for o in outcomes)
    assert contents(root) == whole
    # Every round is timed but the first, the four that end with an evaluation and any that reads a kernel; none twice.
    for path in root.rglob("timing.jsonl"):
        assert 385 <= sum(json.loads(line)["rounds"] for line in path.read_text().splitlines()) <= 395
