"""The grid: every cell once, failures recorded, killed grids continued."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedsiege.arena import grid
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.grid import Cell, Event, run_cells
from fedsiege.arena.runs import execute
from fedsiege.arena.work import Report, Task
from fedsiege.errors import RunError
from tests.arena.games import Here
from tests.arena.games import grid as game
from tests.small import small


def cell(root: Path, name: str, **sections: object) -> Cell:
    return Cell(small(**sections), root / name, name)


def test_cells_run_once_side_by_side_and_failures_do_not_stop_the_grid(tmp_path: Path) -> None:
    cells = [
        cell(tmp_path, "a"),
        cell(tmp_path, "b", attack="lie"),
        # More negatives than untouched items: fails in its first round.
        cell(tmp_path, "broken", defense={"name": "union", "negatives": 79}),
        cell(tmp_path, "a"),
    ]
    events: list[Event] = []
    outcomes = run_cells(cells, 2, events.append)
    assert [o.error is None for o in outcomes] == [True, True, False, True]
    assert "negatives" in str(outcomes[2].error)
    assert outcomes[0].result == outcomes[3].result == RunFolder(tmp_path / "a").read_result()
    assert sorted(e.cell_index for e in events if e.kind == "started") == [0, 1, 2]
    assert [e.cell_index for e in events if e.kind == "failed"] == [2]
    assert any(e.kind == "progress" and e.rounds == 30 for e in events)
    alone = execute(small(), tmp_path / "alone", threads=2)
    assert alone == outcomes[0].result

    events.clear()
    again = run_cells(cells[:2], 2, events.append)
    assert [e.kind for e in events] == ["skipped", "skipped"]
    assert [o.result for o in again] == [outcomes[0].result, outcomes[1].result]


def test_two_configurations_cannot_share_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="share the folder"):
        run_cells([cell(tmp_path, "a"), cell(tmp_path, "a", seed=1)])


def test_jobs_fit_the_machine() -> None:
    assert 1 <= grid.default_jobs() <= 1024


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Stand for a machine of twelve cores that runs nothing; returns the workers and threads of each grid."""
    made: list[tuple[int, int]] = []

    class Workers(Here):
        def __init__(self, count: int, threads: int) -> None:
            super().__init__()
            made.append((count, threads))

        def submit(self, task: Task) -> None:
            self.news.append(Report(task.index, "stopped"))

    monkeypatch.setattr(grid, "LocalWorkers", Workers)
    monkeypatch.setattr(grid.room, "cores", lambda: 12)
    monkeypatch.setattr(grid.room, "memory", lambda: 64 * 2**30)
    monkeypatch.delenv("FEDSIEGE_THREADS", raising=False)
    return made


def test_threads_follow_the_whole_grid_and_neither_what_is_left_nor_memory(
    tmp_path: Path, workers: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = game(tmp_path, seeds=[0])
    assert len(cells) == 4
    run_cells(cells)
    run_cells(cells[:1], whole=cells)
    monkeypatch.setattr(grid.room, "memory", lambda: 3 * 2**30)
    run_cells(cells)
    run_cells(cells, jobs=2)
    run_cells(cells, threads=5)
    assert workers == [(4, 3), (1, 3), (2, 3), (2, 6), (2, 5)]


def test_a_grid_goes_on_with_the_threads_of_its_runs(
    tmp_path: Path, workers: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = game(tmp_path, seeds=[0])
    for cell in cells[:2]:
        cell.path.mkdir(parents=True)
        RunFolder(cell.path).environment.write_text('{"hardware": {"threads": 5}}', "utf-8")
    run_cells(cells)
    run_cells(cells[2:], whole=cells, jobs=2)
    assert workers == [(2, 5), (2, 5)]
    # Who asks has it so; where they differ, or cannot be read, the size of the grid decides.
    run_cells(cells, threads=1)
    monkeypatch.setenv("FEDSIEGE_THREADS", "4")
    run_cells(cells)
    monkeypatch.delenv("FEDSIEGE_THREADS")
    RunFolder(cells[0].path).environment.write_text('{"hardware": {"threads": 2}}', "utf-8")
    run_cells(cells)
    for damaged in ("{", '{"hardware": null}'):
        for cell in cells[:2]:
            RunFolder(cell.path).environment.write_text(damaged, "utf-8")
        run_cells(cells)
    assert workers[2:] == [(4, 1), (4, 4), (4, 3), (4, 3), (4, 3)]
