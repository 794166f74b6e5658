"""``fedsiege demo``, ``reproduce`` and ``report``: grids of runs, their tables and their page."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedsiege.arena import card_file, grid, reproduce
from fedsiege.arena.grid import Cell, Event, Outcome
from fedsiege.arena.plan import Plan
from fedsiege.cli import progress
from fedsiege.cli.progress import GridProgress
from tests.data.conftest import need
from tests.small import small


def shrunk(monkeypatch: pytest.MonkeyPatch, id_: str, **changes: Any) -> list[str]:
    """Replace a card by a smaller one; returns a list of the cards that are asked for."""
    small_card = replace(card_file.load(id_), **changes)
    asked: list[str] = []
    monkeypatch.setattr(card_file, "load", lambda ref: asked.append(ref) or small_card)
    return asked


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo with four runs of a few rounds."""
    shrunk(
        monkeypatch,
        "demo-v1",
        dataset={"name": "synthetic", "users": 60, "items": 80, "interactions": 1200},
        federation={"rounds": 4, "malicious": 0.05, "cohort": 10, "evaluate_every": 2, "project_every": 2},
        attacks=("none", "clusterattack"),
        defenses=("none", "normbound"),
        seeds=(0,),
    )


def test_the_demo_is_as_large_as_it_promises() -> None:
    plan = card_file.load("demo-v1")
    cells = Plan(plan).cells(Path("x"))
    assert len(plan.attacks) >= 4
    assert len(plan.defenses) >= 4
    assert len(plan.seeds) >= 2
    assert len({cell.path for cell in cells}) == len(cells) == 50
    assert {cell.config.dataset.name for cell in cells} == {"synthetic"}
    assert not any(cell.config.federation.tell_defense for cell in cells)


def test_demo_ends_with_a_table_and_a_report(fedsiege: Callable, tiny: None) -> None:
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
    cells = Plan(card_file.load("demo-images-v1")).cells(Path("x"))
    assert len({cell.path for cell in cells}) == len(cells) == 72
    assert {cell.config.dataset.name for cell in cells} == {"digits"}
    assert "redefense" in {cell.config.defense.name for cell in cells}
    assert not any(cell.config.federation.tell_defense for cell in cells)
    assert {round(cell.config.federation.malicious * 20) for cell in cells} == {6}


def test_the_demo_of_images_ends_with_accuracy_and_attack_success(
    fedsiege: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = shrunk(
        monkeypatch,
        "demo-images-v1",
        dataset={"name": "digits", "clients": 6, "partition": "dirichlet", "beta": 0.5},
        federation={"rounds": 2, "malicious": 0.3, "evaluate_every": 1, "project_every": 1},
        attacks=("none", "scaling"),
        defenses=("none", "fltrust"),
        seeds=(0,),
    )
    said = fedsiege("demo", "--images", "--jobs", 1)
    assert said.status == 0, said.err
    assert asked[0] == "demo-images-v1"
    assert "TACC (test, last round)" in said.out
    assert "ASR (test, last round)" in said.out
    assert Path("demo-images/report.html").stat().st_size > 10_000


def test_failures_are_told_and_counted(fedsiege: Callable, tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "run_cells", lambda cells, *_, **__: [Outcome(c, None, "no room [left]") for c in cells])
    said = fedsiege("demo", "--out", "d")
    assert said.status == 1
    assert "failed: none/none/seed0: no room [left]" in said.err
    assert said.out == ""


@pytest.mark.parametrize("words", [["demo"], ["reproduce", "aaai23-table1"]], ids=" ".join)
def test_an_interrupted_grid_says_how_to_go_on(
    fedsiege: Callable, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
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
    def run(cells: list[Cell], jobs: int | None, tell: Callable[[Event], None], **_: object) -> list[Outcome]:
        for index in range(len(cells)):
            tell(Event(index, "started", 0, 6000))
            tell(Event(index, "failed" if index else "finished", error="why" if index else None))
        return [Outcome(c, None, "why" if i else None) for i, c in enumerate(cells)]

    row = {"attack": "lie", "HR@5": 0.03, "HR@5 paper": None, "told": False, "variant": "", "seeds": 3}
    table = reproduce.Table("aaai23-table4", "Table 4", list(row), [row], ["A note."])
    monkeypatch.setattr(grid, "run_cells", run)
    # Imported before, or it would keep the stand-in for good.
    importlib.import_module("fedsiege.arena.publish")
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
    # Nobody has published three rounds, so there is no band to compare with.
    assert said.status == 1, said.err
    found = json.loads(said.out)
    (row,) = found["rows"]
    assert 0 <= row["HR@5"] <= 1
    assert (found["failed"], found["verdict"]["cells"], found["verdict"]["compared"]) == ([], 1, 0)


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
