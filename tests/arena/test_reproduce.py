"""Targets: the cells they need, the paper's values, and tables that are made of stored results alone."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fedsiege.arena import publish as arena_publish
from fedsiege.arena.config import parse
from fedsiege.arena.grid import Cell
from fedsiege.arena.paper import aaai23, settings
from fedsiege.arena.publish import publish, render
from fedsiege.arena.reproduce import plan, tabulate, target
from fedsiege.arena.targets import ATTACKS, FIGURE2, TARGETS
from fedsiege.errors import ConfigError, RunError

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.mark.parametrize("id_", TARGETS)
def test_every_cell_of_every_target_is_a_valid_configuration_in_a_folder_of_its_own(id_: str, tmp_path: Path) -> None:
    cells = plan(id_, seeds=[0, 3], root=tmp_path)
    assert len({c.path for c in cells}) == len({c.label for c in cells}) == len({c.config.hash for c in cells})
    assert all(parse(c.config.to_dict()).hash == c.config.hash for c in cells)
    assert {c.config.seed for c in cells} == {0, 3}
    if TARGETS[id_].paper == "aaai23":
        assert all(c.config.federation.rounds == 6000 and c.config.federation.cohort == 50 for c in cells)


def test_targets_hold_the_cells_that_the_paper_prints() -> None:
    def keys(id_: str) -> set[tuple[str, str, float]]:
        return {(p.attack, p.defense, p.malicious) for p in TARGETS[id_].points()}

    assert len(list(TARGETS["aaai23-table1"].points())) == 4 * len(ATTACKS)
    assert {("clusterattack+cl", d, 0.01) for d in ("union+multikrum", "union+normbound")} < keys("aaai23-table3")
    assert {("clusterattack", "none", m) for m in (0.005, 0.01)} < keys("aaai23-table4")
    assert {("fang", d, 0.05) for d in ("none", "union+multikrum", "union+normbound")} < keys("aaai23-table5")
    assert {(a, d, 0.01) for a in ATTACKS for d in FIGURE2} < keys("aaai23-fig2")
    assert len(list(TARGETS["aaai23-fig3"].points())) == 11


def test_the_papers_values_are_those_it_prints() -> None:
    data = aaai23()
    assert data["table1"]["sasrec/gowalla"]["clusterattack"] == [0.02223, 0.01544]
    assert data["table4"][0.005]["clusterattack"] == 0.03001
    assert data["table5"]["union+normbound"]["lie"] == 0.03464
    assert settings("mf", "gowalla") == {"lr": 0.002, "l2": 1e-6, "normbound": 0.1, "clusters": 8}
    # Where Tables 1, 3 and 4 print the same cell they agree.
    for attack, value in data["table4"][0.01].items():
        assert data["table1"]["mf/ml-1m"][attack][0] == value


def test_variants_carry_the_papers_values_where_they_are_our_default() -> None:
    printed = {
        (p.attack, p.defense): p.paper["HR@5"]
        for id_ in ("variants-union", "variants-clusterattack", "aaai23-fig3")
        for p in TARGETS[id_].points()
        if p.paper
    }
    assert printed == {  # Tables 1 and 3
        ("none", "none"): 0.03549, ("clusterattack", "none"): 0.02451,
        ("clusterattack", "union+multikrum"): 0.03378, ("clusterattack", "union+normbound"): 0.03449,
    }  # fmt: skip
    for id_ in ("variants-union", "variants-clusterattack", "aaai23-fig3"):
        assert not any(p.paper for p in TARGETS[id_].points() if p.variant)


def test_rows_of_our_own_readings_are_not_called_the_papers() -> None:
    def called(id_: str) -> str:
        return render(json.loads((RESULTS / f"{id_}.json").read_text(encoding="utf-8")))

    for id_ in ("variants-union", "variants-clusterattack"):
        assert "as in the paper |" not in called(id_)
        assert "| our default |" in called(id_)


def test_a_cell_takes_the_papers_settings() -> None:
    (cell,) = plan("aaai23-table1", seeds=[0], cells=["sasrec/gowalla/clusterattack/*"])
    config = cell.config
    assert config.model.max_len == 100
    assert config.attack.clusters == 8  # type: ignore[attr-defined]
    assert config.server.lr == 1e-3
    assert config.dataset.protocol == "paper"


def test_unknown_targets_and_cells_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'aaai23-table1'"):
        plan("aaai23-tabel1")
    with pytest.raises(ConfigError, match="no cell of aaai23-table3 matches"):
        plan("aaai23-table3", cells=["sasrec/*"])
    with pytest.raises(ConfigError, match=r"matches mf/\*/\{none,lie\}/\*;"):  # braces are no glob
        plan("aaai23-table1", cells=["mf/ml-1m/none/*", "mf/*/{none,lie}/*"])


def fake(cells: list, values: dict[tuple[str, int], float]) -> None:
    """Write finished run folders with the given HR@5 by (attack, seed)."""
    for cell in cells:
        hr = values[cell.config.attack.name, cell.config.seed]
        cell.path.mkdir(parents=True)
        scores = {"round": 6000, "metrics": {"valid": {"HR@5": hr}, "test": {"HR@5": hr, "NDCG@5": hr / 2}}}
        result = {
            "seed": cell.config.seed, "config_hash": cell.config.hash, "rounds": 6000, "last": scores, "best": scores,
            "rejects": False, "detection": dict.fromkeys(("DACC", "FPR", "FNR", "AAR", "FPR_pooled", "FNR_pooled")),
            "threat_model": {"knowledge": "own data", "told_byzantine": None},
        }  # fmt: skip
        (cell.path / "result.json").write_text(json.dumps(result))
        (cell.path / "environment.json").write_text(
            json.dumps({"commit": "abc", "hardware": {"cpu": "x", "threads": 1, "cores": 1, "device": "cpu"}})
        )


def test_a_table_is_worked_out_from_stored_results_paired_by_seed(tmp_path: Path) -> None:
    cells = plan("aaai23-table1", seeds=[0, 1], cells=["mf/ml-1m/none/*", "mf/ml-1m/lie/*"], root=tmp_path)
    fake(cells, {("none", 0): 0.04, ("none", 1): 0.02, ("lie", 0): 0.03, ("lie", 1): 0.018})
    none, lie = tabulate("aaai23-table1", cells).rows
    assert none["HR@5"] == 0.03
    assert none["HR@5 paper"] == 0.03549
    assert none["loss"] == 0
    assert lie["HR@5"] == 0.024
    assert lie["HR@5 difference"] == pytest.approx(0.024 - 0.03259)
    assert lie["loss"] == pytest.approx((0.25 + 0.1) / 2)
    assert lie["loss low"] <= lie["loss"] <= lie["loss high"]
    assert lie["loss paper"] == pytest.approx(1 - 0.03259 / 0.03549, abs=1e-4)
    assert lie["seeds"] == 2


def test_missing_cells_are_named(tmp_path: Path) -> None:
    cells = plan("aaai23-table1", seeds=[0], cells=["mf/ml-1m/none/*", "mf/ml-1m/lie/*"], root=tmp_path)
    fake(cells[:1], {("none", 0): 0.04})
    table = tabulate("aaai23-table1", cells)
    assert len(table.rows) == 1
    assert any("1 cells without a finished run: mf/ml-1m/lie/none/m0.01" in note for note in table.notes)


def test_a_published_page_holds_what_its_json_holds(tmp_path: Path) -> None:
    cells = plan("aaai23-table1", seeds=[0], cells=["mf/ml-1m/none/*"], root=tmp_path)
    fake(cells, {("none", 0): 0.0415})
    data, page = publish("aaai23-table1", cells, tmp_path / "docs", tmp_path)
    stored = json.loads(data.read_text())
    assert stored["runs"][0]["commit"] == "abc"
    assert "$ fedsiege reproduce aaai23-table1 --seeds 0 --threads 1\n" in page.read_text()
    assert page.read_text() == render(stored)
    assert "| 0.0415 | 0.0415 | 0.0355 |" in page.read_text()


def test_a_published_table_keeps_the_runs_that_it_held(tmp_path: Path) -> None:
    """A second machine, which has another cell's run alone, adds it; a table that shares a cell takes it over."""
    docs = tmp_path / "docs"
    first = plan("aaai23-table1", seeds=[0], cells=["mf/ml-1m/none/*"], root=tmp_path / "one")
    fake(first, {("none", 0): 0.04})
    publish("aaai23-table1", first, docs, tmp_path / "one")
    second = plan("aaai23-table1", seeds=[1], cells=["mf/ml-1m/lie/*"], root=tmp_path / "two")
    fake(second, {("lie", 1): 0.03})
    data, page = publish("aaai23-table1", second, docs, tmp_path / "two")
    stored = json.loads(data.read_text())
    assert [(run["cell"], run["last"]["metrics"]["test"]["HR@5"]) for run in stored["runs"]] == [
        ("mf/ml-1m/none/none/m0.01/seed0", 0.04),
        ("mf/ml-1m/lie/none/m0.01/seed1", 0.03),
    ]
    assert "--seeds 0 1 --threads 1\n" in page.read_text()
    other, _ = publish("aaai23-table4", plan("aaai23-table4", seeds=[0], root=tmp_path / "two"), docs, tmp_path / "two")
    assert {run["cell"] for run in json.loads(other.read_text())["runs"]} == {run["cell"] for run in stored["runs"]}


def test_of_two_publications_at_once_each_keeps_the_others_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids = {}
    for name, seed in (("one", 0), ("two", 1)):
        grids[name] = plan("aaai23-table1", seeds=[seed], cells=["mf/ml-1m/none/*"], root=tmp_path / name)
        fake(grids[name], {("none", seed): 0.04})
    known = arena_publish.known

    def read(*what: Any) -> Any:
        found = known(*what)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(arena_publish, "known", read)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: publish("aaai23-table1", grids[n], tmp_path / "docs", tmp_path / n), grids))
    runs = json.loads((tmp_path / "docs" / "aaai23-table1.json").read_text())["runs"]
    assert [run["seed"] for run in runs] == [0, 1]
    assert sorted(p.suffix for p in (tmp_path / "docs").iterdir()) == [".json", ".md"]


def test_a_table_keeps_its_own_runs_where_another_holds_older_ones(tmp_path: Path) -> None:
    cells = plan("aaai23-table1", seeds=[0], cells=["mf/ml-1m/none/*"], root=tmp_path)
    fake(cells, {("none", 0): 0.04})
    publish("aaai23-table1", cells, tmp_path / "docs", tmp_path)
    own = tmp_path / "docs" / "aaai23-table1.json"
    older = json.loads(own.read_text())
    for run in older["runs"]:
        run["commit"] = "older"
    # By name it is read after the own one.
    (tmp_path / "docs" / "zzz.json").write_text(json.dumps(older))
    for path in tmp_path.rglob("result.json"):
        path.unlink()
    publish("aaai23-table1", [], tmp_path / "docs", tmp_path)
    runs = json.loads(own.read_text())["runs"]
    assert runs
    assert "older" not in {run["commit"] for run in runs}


def test_a_damaged_table_is_named_with_its_remedy(tmp_path: Path) -> None:
    cells = plan("aaai23-table1", seeds=[0], cells=["mf/ml-1m/none/*"], root=tmp_path)
    fake(cells, {("none", 0): 0.04})
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "x.json").write_text("{")
    with pytest.raises(RunError, match=r"x\.json is not a published table.*restore"):
        publish("aaai23-table1", cells, tmp_path / "docs", tmp_path)


@pytest.mark.parametrize("data", sorted(RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_published_runs_are_still_cells_of_their_target(data: Path, tmp_path: Path) -> None:
    """Else a table would forget them, and their cells would be run again in other folders."""
    table = json.loads(data.read_text())
    cells: dict[int | None, dict[str, Cell]] = {}
    seeds = sorted({r["seed"] for r in table["runs"]})
    for run in table["runs"]:
        # A run has the rounds of its table, a share of them where its model costs more, or those it was asked for.
        for rounds in (None, run["rounds"]):
            if rounds not in cells:
                cells[rounds] = {c.label: c for c in plan(table["id"], seeds, rounds, root=tmp_path)}
        usual, asked = (cells[rounds][run["cell"]] for rounds in (None, run["rounds"]))
        cell = usual if usual.config.hash == run["config_hash"] else asked
        assert cell.config.hash == run["config_hash"]
        assert cell.config.federation.rounds == run["rounds"]
        key = run["cell"].rpartition("/")[0]
        assert cell.path == tmp_path / target(table["id"]).folder / key / f"seed{run['seed']}-{run['config_hash']}"


@pytest.mark.parametrize("data", sorted(RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_the_pages_in_the_documentation_are_rendered_from_their_json(data: Path) -> None:
    assert data.with_suffix(".md").read_text() == render(json.loads(data.read_text()))
