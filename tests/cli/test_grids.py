"""``fedsiege demo``, ``reproduce`` and ``report``: grids of runs, their tables and their page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedsiege.arena import grid, reproduce
from fedsiege.arena.grid import Cell, Event, Outcome
from fedsiege.cli import demo, progress
from fedsiege.cli.progress import GridProgress
from tests.data.conftest import need
from tests.small import small


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The demo's plan with four runs of a few rounds."""
    plan = demo.demo_plan()
    plan["base"]["dataset"] = {"name": "synthetic", "users": 60, "items": 80, "interactions": 1200}
    plan["base"]["federation"] |= {"rounds": 4, "cohort": 10, "evaluate_every": 2, "project_every": 2}
    plan |= {"attacks": ["none", "clusterattack"], "defenses": ["none", "normbound"], "seeds": [0]}
    monkeypatch.setattr(demo, "demo_plan", lambda file: plan)
    return plan


def test_the_demo_is_as_large_as_it_promises() -> None:
    plan = demo.demo_plan()
    cells = demo.demo_cells(plan, Path("x"))
    assert len(plan["attacks"]) >= 4
    assert len(plan["defenses"]) >= 4
    assert len(plan["seeds"]) >= 2
    assert len({cell.path for cell in cells}) == len(cells) == 50
    assert {cell.config.dataset.name for cell in cells} == {"synthetic"}
    assert not any(cell.config.federation.tell_defense for cell in cells)


def test_demo_ends_with_a_table_and_a_report(fedsiege: Callable, tiny: dict[str, Any]) -> None:
    said = fedsiege("demo", "--out", "d", "--jobs", 1)
    assert said.status == 0, said.err
    assert "clusterattack" in said.out
    assert "normbound" in said.out
    assert f"report: {Path('d') / 'report.html'}" in said.out
    assert Path("d/report.html").stat().st_size > 10_000
    assert "4 runs: 2 attacks against 2 defenses, 1 seeds, 4 rounds each" in said.err
    assert fedsiege("report", "d", "--out", "mine.html", "--title", "Mine").out.strip() == "mine.html"
    assert "<title>Mine" in Path("mine.html").read_text("utf-8")


def test_the_demo_of_images_is_as_large_as_it_promises_and_is_no_harder_than_it_says() -> None:
    plan = demo.demo_plan("demo_images.yaml")
    cells = demo.demo_cells(plan, Path("x"))
    assert len({cell.path for cell in cells}) == len(cells) == 72
    assert {cell.config.dataset.name for cell in cells} == {"digits"}
    assert "redefense" in {cell.config.defense.name for cell in cells}
    assert not any(cell.config.federation.tell_defense for cell in cells)
    assert {round(cell.config.federation.malicious * 20) for cell in cells} == {6}


def test_the_demo_of_images_ends_with_accuracy_and_attack_success(
    fedsiege: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = demo.demo_plan("demo_images.yaml")
    plan["base"]["federation"] |= {"rounds": 2, "evaluate_every": 1, "project_every": 1}
    plan["base"]["dataset"]["clients"] = 6
    plan |= {"attacks": ["none", "scaling"], "defenses": ["none", "fltrust"], "seeds": [0]}
    asked: list[str] = []
    monkeypatch.setattr(demo, "demo_plan", lambda file: asked.append(file) or plan)
    said = fedsiege("demo", "--images", "--jobs", 1)
    assert said.status == 0, said.err
    assert asked == ["demo_images.yaml"]
    assert "TACC (test, last round)" in said.out
    assert "ASR (test, last round)" in said.out
    assert Path("demo-images/report.html").stat().st_size > 10_000


def test_failures_are_told_and_counted(
    fedsiege: Callable, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "run_cells", lambda cells, *_: [Outcome(c, None, "no room [left]") for c in cells])
    said = fedsiege("demo", "--out", "d")
    assert said.status == 1
    assert "failed: none/none/seed0: no room [left]" in said.err
    assert said.out == ""


@pytest.mark.parametrize("words", [["demo"], ["reproduce", "aaai23-table1"]], ids=" ".join)
def test_an_interrupted_grid_says_how_to_go_on(
    fedsiege: Callable, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(grid, "run_cells", stop)
    said = fedsiege(*words, "--out", "d", "--jobs", "2")
    assert said.status == 130
    resumed = said.err.partition("resume with: fedsiege ")[2].split()
    assert resumed[: len(words)] == words
    assert sorted(resumed[len(words) :]) == ["--jobs", "--out", "2", "d"]


@pytest.mark.parametrize("words", [["demo", "--jobs", "0"], ["reproduce", "aaai23-table1", "--rounds", "0"]])
def test_counts_start_at_one(fedsiege: Callable, words: list[str]) -> None:
    said = fedsiege(*words)
    assert (said.status, "at least 1" in said.err) == (2, True)


def test_targets_are_listed(fedsiege: Callable) -> None:
    found = {t["id"] for t in json.loads(fedsiege("reproduce", "--list", "--json").out)}
    assert {f"aaai23-{x}" for x in ("table1", "table3", "table4", "table5", "fig2", "fig3", "fig4")} <= found
    assert "aaai23-table1" in fedsiege("reproduce").out


def test_unknown_targets_and_cells(fedsiege: Callable) -> None:
    assert "did you mean 'aaai23-table1'" in fedsiege("reproduce", "aaai23-tabel1").err
    said = fedsiege("reproduce", "aaai23-table1", "--cells", "mf/nothing/*")
    assert (said.status, "no cell of aaai23-table1" in said.err) == (2, True)


def test_a_dry_run_lists_the_cells(fedsiege: Callable) -> None:
    words = ["reproduce", "aaai23-table4", "--seeds", "3", "5", "--cells", "mf/ml-1m/lie/*", "--dry-run"]
    found = json.loads(fedsiege(*words, "--json").out)
    assert {row["cell"].rpartition("/")[2] for row in found} == {"seed3", "seed5"}
    assert not any(row["finished"] for row in found)
    assert fedsiege(*words).out.count("to run") == len(found)
    assert not Path("runs").exists()


def test_reproduce_prints_ours_beside_the_papers(fedsiege: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(cells: list[Cell], jobs: int | None, tell: Callable[[Event], None]) -> list[Outcome]:
        for index in range(len(cells)):
            tell(Event(index, "started", 0, 6000))
            tell(Event(index, "failed" if index else "finished", error="why" if index else None))
        return [Outcome(c, None, "why" if i else None) for i, c in enumerate(cells)]

    row = {"attack": "lie", "HR@5": 0.03, "HR@5 paper": None, "told": False, "variant": "", "seeds": 3}
    table = reproduce.Table("aaai23-table4", "Table 4", list(row), [row], ["A note."])
    monkeypatch.setattr(grid, "run_cells", run)
    monkeypatch.setattr(reproduce, "tabulate", lambda id_, cells: table)
    monkeypatch.setattr("fedsiege.arena.publish.publish", lambda id_, cells, folder, command: [folder / f"{id_}.md"])
    monkeypatch.setattr("fedsiege.report.reproduction.draw", lambda id_, rows, found, folder: [folder / "a.svg"])
    words = ["reproduce", "aaai23-table4", "--seeds", "0", "--cells", "*/lie/*"]
    said = fedsiege(*words)
    assert said.status == 1
    assert "0.0300" in said.out
    assert "paper" not in said.out
    assert "- A note." in said.out
    assert str(Path("runs/reproduced/aaai23-table4.md")) in said.out
    assert str(Path("runs/reproduced/a.svg")) in said.out
    assert "failed: mf/ml-1m/lie/none" in said.err
    found = json.loads(fedsiege(*words, "--json", "--publish", "elsewhere").out)
    assert found["rows"] == [row]
    assert found["files"] == [str(Path("elsewhere/aaai23-table4.md")), str(Path("elsewhere/a.svg"))]
    assert found["failed"][0]["error"] == "why"


@pytest.mark.data
def test_reproduce_on_real_data(fedsiege: Callable) -> None:
    need("ml-100k")
    said = fedsiege(
        "reproduce", "aaai23-table1-small", "--cells", "mf/ml-100k/none/*", "--seeds", 0, "--rounds", 3, "--json"
    )
    assert said.status == 0, said.err
    (row,) = json.loads(said.out)["rows"]
    assert 0 <= row["HR@5"] <= 1


def test_a_grid_is_shown_as_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(force_terminal=True, width=120, record=True)
    monkeypatch.setattr(progress, "err", lambda: console)
    config = small()
    cells = [Cell(config, Path(str(i)), f"cell{i}") for i in (0, 1, 2, 2)]
    with GridProgress(cells) as tell:
        tell(Event(0, "skipped"))
        tell(Event(1, "started", 0, 30))
        tell(Event(1, "progress", 12, 30, 0.5, 0.25))
        assert tell.bar is not None
        assert [task.completed for task in tell.bar.tasks] == [42, 12]
        assert tell.bar.tasks[1].fields["note"] == "loss 0.5000  HR@5 0.2500"
        tell(Event(1, "failed", error="no [room]"))
        tell(Event(1, "progress", 13, 30, 0.5))
        tell(Event(2, "finished"))
        assert [task.completed for task in tell.bar.tasks] == [90]
        assert tell.bar.tasks[0].total == 90
        assert tell.bar.tasks[0].fields["note"] == "3/3 cells"
    assert "[2/3] failed cell1  no [room]" in console.export_text()
