"""``fedsiege reproduce``: its small forms, and stopping after so many minutes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsiege.arena import grid
from fedsiege.arena.grid import Cell, Outcome
from tests.arena.test_icml24 import FOUND, fake


def test_a_small_form_has_folders_of_its_own(fedsiege: Callable) -> None:
    words = ["reproduce", "icml24-table1", "--cells", "cnn/fashion-mnist/fang/*", "--dry-run", "--json"]
    full, small = (json.loads(fedsiege(*words, *more).out) for more in ([], ["--lite"]))
    assert {Path(row["folder"]).parts[1] for row in full} == {"icml24"}
    assert {Path(row["folder"]).parts[1] for row in small} == {"icml24-lite"}
    said = fedsiege("reproduce", "aaai23-table1", "--lite")
    assert (said.status, "aaai23-table1 has no lite form" in said.err) == (2, True)
    listed = {t["id"]: t["lite"] for t in json.loads(fedsiege("reproduce", "--list", "--json").out)}
    assert (listed["icml24-fig5"], listed["aaai23-fig2"]) == (True, False)


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_minutes_are_above_zero(fedsiege: Callable, minutes: str) -> None:
    said = fedsiege("reproduce", "icml24-table1", f"--minutes={minutes}")
    assert (said.status, "must be above 0" in said.err) == (2, True)


def test_work_that_remains_is_counted(fedsiege: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}

    def run(
        cells: list[Cell], jobs: int | None, tell: Callable, seconds: float | None = None, threads: int | None = None
    ) -> list[Outcome]:
        given.update(seconds=seconds, threads=threads)
        fake(cells[:1], {"TACC": 0.8}, FOUND)
        return [Outcome(cells[0], {}), *(Outcome(c, None) for c in cells[1:])]

    monkeypatch.setattr(grid, "run_cells", run)
    words = ["reproduce", "icml24-table1", "--lite", "--cells", "cnn/fashion-mnist/fang/*", "--minutes", "1.5"]
    words += ["--threads", "2"]
    said = fedsiege(*words)
    assert (said.status, given) == (75, {"seconds": 90, "threads": 2})
    assert "93.00" in Path("runs/reproduced/icml24-table1-lite.md").read_text("utf-8")
    resumed = said.err.partition("1 of 2 cells remain; go on with: fedsiege ")[2].replace("'", "").split()
    assert sorted(resumed) == sorted(words)
    found = json.loads(fedsiege(*words, "--out", "other", "--json").out)
    assert found["left"] == ["cnn/fashion-mnist/fang/redefense/m0.3/seed0"]


def test_a_figure_of_curves_is_drawn_beside_its_table(fedsiege: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(cells: list[Cell], *_: object, **__: object) -> list[Outcome]:
        fake(cells, {"TACC": 0.8, "ASR": 0.1}, FOUND)
        return [Outcome(c, {}) for c in cells]

    monkeypatch.setattr(grid, "run_cells", run)
    # For so many rounds nothing was published, so there is no band to compare with.
    said = fedsiege("reproduce", "icml24-fig2", "--lite", "--rounds", "7", "--cells", "*/scaling/*")
    assert (said.status, "verdict: nothing to compare with" in said.out) == (1, True), said.err
    assert Path("runs/reproduced/icml24-fig2-lite.svg").stat().st_size > 1000
    assert "reproduced/icml24-fig2-lite.png" in said.out
