"""Runs and grids that end when their time is up: with a checkpoint, and later as if they had never stopped."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedsiege.arena import work
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.grid import Cell, run_cells
from fedsiege.arena.runs import Stopped, execute
from tests.small import small

KEPT = ("result.json", "rounds.jsonl", "model.safetensors")


def test_a_stopped_run_ends_with_the_bytes_of_one_never_stopped(tmp_path: Path) -> None:
    whole, pieces = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "pieces")
    execute(small(), whole.path, threads=1)
    asked = iter([False] * 6 + [True] + [False] * 3 + [True])
    with pytest.raises(Stopped):
        execute(small(), pieces.path, threads=1, stop=lambda: next(asked))
    assert pieces.checkpoint.exists()
    assert len(list(pieces.read_rounds())) == 7
    with pytest.raises(Stopped):
        execute(small(), pieces.path, threads=1, stop=lambda: next(asked))
    assert len(list(pieces.read_rounds())) == 11
    # Told to stop in the last round, it is finished.
    execute(small(), pieces.path, threads=1, stop=lambda: len(list(pieces.read_rounds())) == 30)
    assert all((whole.path / n).read_bytes() == (pieces.path / n).read_bytes() for n in KEPT)


def test_a_worker_stops_when_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(work, "time", SimpleNamespace(time=lambda: next(clock), monotonic=time.monotonic))

    def run(until: float | None) -> work.Report:
        task = work.Task(0, small().to_dict(), str(tmp_path / "run"), until=until)
        return work.work(task, lambda event: None)

    assert run(3).kind == "stopped"
    folder = RunFolder(tmp_path / "run")
    assert folder.checkpoint.exists()
    assert len(list(folder.read_rounds())) == 3
    # Time is up before it begins.
    assert run(3).kind == "stopped"
    assert len(list(folder.read_rounds())) == 3
    done = run(None)
    assert done.kind == "finished"
    assert done.result is not None
    assert done.result["rounds"] == 30


def test_a_grid_without_time_begins_nothing_and_fails_nothing(tmp_path: Path) -> None:
    cells = [Cell(small(seed=s), tmp_path / str(s), str(s)) for s in (0, 1)]
    execute(cells[0].config, cells[0].path, threads=1)
    events = []
    done, left = run_cells(cells, 1, events.append, seconds=0)
    assert done.result is not None
    assert (left.result, left.error) == (None, None)
    assert [event.kind for event in events] == ["skipped"]
    assert not cells[1].path.exists()
