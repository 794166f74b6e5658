"""What goes wrong in a grid: a cell fails, is held by another process, or takes its worker down."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedsiege.arena import grid as arena_grid
from fedsiege.arena import runs
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.grid import Event, run_cells
from fedsiege.arena.runs import execute
from fedsiege.arena.work import Report, Task
from tests.arena.games import Here, grid
from tests.small import small


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena_grid, "AGAIN", 0.0)
    monkeypatch.setattr(arena_grid, "PATIENCE", 0.01)


def kinds(events: list[Event], index: int) -> list[str]:
    """What happened to one cell, progress left out."""
    return [e.kind for e in events if e.cell_index == index and e.kind != "progress"]


def test_a_failed_cell_is_recorded_and_tried_again_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = grid(tmp_path, seeds=[0], defenses=["none"])
    whole, broken = runs.assemble, cells[1].config.hash

    def assemble(config: object, keep_data: bool) -> object:
        if config.hash == broken:  # type: ignore[attr-defined]
            raise ZeroDivisionError("no\nway")
        return whole(config, keep_data)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "assemble", assemble)
    where = Here()
    fine, failed = run_cells(cells, executor=where)
    assert where.closed
    assert fine.result is not None
    assert (failed.result, failed.error) == (None, "ZeroDivisionError: no way")
    found = json.loads(RunFolder(cells[1].path).failed.read_text("utf-8"))
    assert (found["error"], found["kind"]) == ("ZeroDivisionError: no way", "ZeroDivisionError")
    assert "in assemble" in found["traceback"]
    assert time.strptime(found["time"], "%Y-%m-%dT%H:%M:%SZ")

    monkeypatch.setattr(runs, "assemble", whole)
    events: list[Event] = []
    outcomes = run_cells(cells, on_event=events.append, executor=Here())
    assert all(o.result is not None for o in outcomes)
    assert (kinds(events, 0), kinds(events, 1)) == (["skipped"], ["started", "finished"])
    assert not RunFolder(cells[1].path).failed.exists()


def test_a_stop_is_no_failure(tmp_path: Path) -> None:
    with pytest.raises(runs.Stopped):
        execute(small(), tmp_path / "a", threads=1, stop=lambda: True)
    assert not RunFolder(tmp_path / "a").failed.exists()
    assert json.loads((tmp_path / "a" / "cost.json").read_text())["wall_seconds"] > 0


def test_a_cell_that_another_process_holds_is_run_once_it_is_free(tmp_path: Path) -> None:
    cells = grid(tmp_path, seeds=[0], attacks=["none"])
    events: list[Event] = []
    with ExitStack() as other:
        other.enter_context(RunFolder(cells[0].path).lock())

        def listen(event: Event) -> None:
            events.append(event)
            if kinds(events, 0).count("busy") == 2 and kinds(events, 1)[-1:] == ["finished"]:
                other.close()

        outcomes = run_cells(cells, on_event=listen, executor=Here())
    assert all(o.result is not None for o in outcomes)
    first = kinds(events, 0)
    assert first[:4] == ["started", "busy"] * 2
    assert first[-2:] == ["started", "finished"]
    assert not RunFolder(cells[0].path).failed.exists()


def test_a_cell_that_another_process_finishes_is_not_run_again(tmp_path: Path) -> None:
    (cell,) = grid(tmp_path, seeds=[0], attacks=["none"], defenses=["none"])
    events: list[Event] = []
    with ExitStack() as other:
        other.enter_context(RunFolder(cell.path).lock())

        def listen(event: Event) -> None:
            events.append(event)
            if event.kind == "busy":
                other.close()
                execute(cell.config, cell.path, threads=1)

        (outcome,) = run_cells([cell], on_event=listen, executor=Here())
    assert kinds(events, 0) == ["started", "busy", "skipped"]
    assert not [e for e in events if e.kind == "progress"]
    assert outcome.result == RunFolder(cell.path).read_result()
    assert events[-1].scores == outcome.result["last"]["metrics"]["test"]


def test_a_held_cell_ends_without_an_error_when_time_is_up(tmp_path: Path) -> None:
    (cell,) = grid(tmp_path, seeds=[0], attacks=["none"], defenses=["none"])
    with RunFolder(cell.path).lock():
        (outcome,) = run_cells([cell], seconds=0.2, executor=Here())
    assert (outcome.result, outcome.error) == (None, None)


class Deadly(Here):
    """Loses the worker of its first tasks."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def submit(self, task: Task) -> None:
        self.left -= 1
        if self.left >= 0:
            self.news.append(Report(task.index, "lost"))
        else:
            super().submit(task)


def test_a_cell_whose_worker_dies_is_run_again_but_not_for_ever(tmp_path: Path) -> None:
    (cell,) = grid(tmp_path, seeds=[0], attacks=["none"], defenses=["none"])
    events: list[Event] = []
    (outcome,) = run_cells([cell], on_event=events.append, executor=Deadly(3))
    assert outcome.result is None
    assert "died 3 times" in str(outcome.error)
    assert kinds(events, 0) == ["lost", "lost", "lost", "failed"]
    assert "lack of memory" in json.loads(RunFolder(cell.path).failed.read_text())["error"]
    (outcome,) = run_cells([cell], executor=Deadly(2))
    assert outcome.result is not None
    assert not RunFolder(cell.path).failed.exists()


@pytest.mark.parametrize("file", ["config.yaml", "result.json"])
def test_a_damaged_folder_is_one_failed_cell_and_stays_as_it_is(tmp_path: Path, file: str) -> None:
    cells = grid(tmp_path, seeds=[0], attacks=["none"])
    run_cells(cells[:1], executor=Here())
    torn = cells[0].path / file
    torn.write_text("{torn: [", "utf-8")
    outcomes = run_cells(cells, executor=Here())
    assert outcomes[1].result is not None
    assert "is damaged" in str(outcomes[0].error)
    assert file in str(outcomes[0].error)
    assert torn.read_text("utf-8") == "{torn: ["


def test_a_kill_before_the_first_file_was_whole_leaves_a_usable_folder(tmp_path: Path) -> None:
    (cell,) = grid(tmp_path, seeds=[0], attacks=["none"], defenses=["none"])
    cell.path.mkdir(parents=True)
    (cell.path / ".lock").touch()
    (cell.path / "config.yaml.7-0123abcd.part").write_text("dataset: {na", "utf-8")
    (outcome,) = run_cells([cell], executor=Here())
    assert outcome.result is not None
    assert not list(cell.path.glob("*.part"))
