"""Bands and verdicts: derived by rule from published runs, compared by hand, never typed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fedsiege.arena import bands, verdict
from fedsiege.arena.bands import Band, band, stored
from fedsiege.arena.derive_bands import FOLDER, derive, figures, text, write
from fedsiege.arena.reproduce import target
from fedsiege.arena.standing import standing, standings
from fedsiege.arena.targets import LITE, TARGETS
from fedsiege.arena.verdict import judge
from fedsiege.errors import RunError
from tests.arena.test_reproduce import RESULTS

CLEAN, LIE = "mf/ml-1m/none/none/m0.01", "mf/ml-1m/lie/none/m0.01"


def run(key: str, seed: int, test: Mapping[str, float], rounds: int = 6000, **more: Any) -> dict[str, Any]:
    """A run as published tables hold it, as far as bands read it."""
    last = {"round": rounds, "metrics": {"test": dict(test)}}
    hashed = f"{key}-{seed}-{rounds}"
    return {
        "cell": f"{key}/seed{seed}", "key": key, "seed": seed, "rounds": rounds, "last": last, "detection": {},
        "config_hash": hashed, **more,
    }  # fmt: skip


def published(folder: Path, id_: str, runs: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{id_}.json").write_text(json.dumps({"id": id_, "runs": runs}), "utf-8")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda p: p.stem)
def test_stored_bands_are_what_the_rule_makes_of_the_published_runs(path: Path) -> None:
    """Repair by running the command in the file's head; tables that have grown since do no harm."""
    data = yaml.safe_load(path.read_text("utf-8"))
    assert path.read_text("utf-8") == text(derive(RESULTS, set(data["runs"]))[path.stem])
    assert data["bands"]


def test_every_stored_band_belongs_to_a_cell() -> None:
    for paper in ("aaai23", "icml24"):
        every = [t for t in (*TARGETS.values(), *LITE.values()) if t.paper == paper]
        cells = {f"{t.folder}/{p.key}": t.metrics for t in every for p in t.points()}
        measures: dict[str, set[str]] = {}
        for t in every:
            for p in t.points():
                measures.setdefault(f"{t.folder}/{p.key}", set()).update(t.metrics)
        for cell, by_rounds in stored(paper).items():
            assert cell in cells
            for named in by_rounds.values():
                assert set(named) <= measures[cell]
    assert stored("no-such-paper") == {}


def test_a_band_follows_the_rule(tmp_path: Path) -> None:
    clean, lie = [0.030, 0.034, 0.035], [0.020, 0.021]
    runs = [run(CLEAN, i, {"HR@5": v}) for i, v in enumerate(clean)]
    runs += [run(LIE, i, {"HR@5": v}) for i, v in enumerate(lie)]
    runs += [run("mf/ml-1m/fang/none/m0.01", 0, {"HR@5": 0.02})]
    published(tmp_path, "aaai23-table1", runs)
    # The same runs in another table count once.
    published(tmp_path, "aaai23-table4", runs[:4])
    found = derive(tmp_path)["aaai23"]["bands"]
    relative = [np.std(v, ddof=1) / np.mean(v) for v in (clean, lie)]
    pooled = math.sqrt((2 * relative[0] ** 2 + 1 * relative[1] ** 2) / 3)
    expected = {
        CLEAN: (np.mean(clean), max(np.std(clean, ddof=1), pooled * np.mean(clean)), 3),
        LIE: (np.mean(lie), max(np.std(lie, ddof=1), pooled * np.mean(lie)), 2),
        "mf/ml-1m/fang/none/m0.01": (0.02, pooled * 0.02, 1),
    }
    assert set(found) == {f"aaai23/{key}" for key in expected}
    for key, (mean, sd, seeds) in expected.items():
        made = found[f"aaai23/{key}"][6000]["HR@5"]
        assert made == {
            "mean": pytest.approx(mean, rel=1e-5), "sd": pytest.approx(sd, rel=1e-5),
            "least": pytest.approx(0.01 * mean, rel=1e-5), "seeds": seeds,
        }  # fmt: skip


def test_rates_have_absolute_bands(tmp_path: Path) -> None:
    cells = ["cnn/fashion-mnist/fang/redefense/m0.3", "cnn/fashion-mnist/lie/redefense/m0.3"]
    rates = {cells[0]: [1.0, 0.9, 0.95], cells[1]: [1.0]}
    runs = [
        run(cell, i, {}, 30, detection={"DACC_final": v, "FPR_final": 0.0, "FNR_final": None, "AAR": 2.0})
        for cell, values in rates.items()
        for i, v in enumerate(values)
    ]
    published(tmp_path, "icml24-table1-lite", runs)
    found = derive(tmp_path)["icml24"]["bands"]
    sd = np.std(rates[cells[0]], ddof=1)
    assert found[f"icml24-lite/{cells[1]}"][30]["DACC_final"]["sd"] == pytest.approx(sd, rel=1e-5)
    # Nothing varies, so the least width decides: a point of percent, a hundredth of a count.
    assert found[f"icml24-lite/{cells[0]}"][30]["FPR_final"] == {"mean": 0.0, "sd": 0.0, "least": 0.01, "seeds": 3}
    assert found[f"icml24-lite/{cells[0]}"][30]["AAR"]["least"] == 0.02
    assert "FNR_final" not in found[f"icml24-lite/{cells[0]}"][30]


def test_one_seed_without_a_family_has_no_band_and_rounds_are_kept_apart(tmp_path: Path) -> None:
    runs = [run(CLEAN, i, {"HR@5": 0.03 + i / 1000}) for i in range(3)]
    runs += [run(CLEAN, 0, {"HR@5": 0.01}, rounds=50), run("sasrec/ml-1m/none/none/m0.01", 0, {"HR@5": 0.1})]
    runs += [run(LIE, 0, {"HR@5": float("nan")})]
    published(tmp_path, "aaai23-table1", runs)
    found = derive(tmp_path)["aaai23"]
    assert {cell: list(by_rounds) for cell, by_rounds in found["bands"].items()} == {f"aaai23/{CLEAN}": [6000]}
    assert f"{CLEAN}-0-50" in found["runs"]
    assert derive(tmp_path, {f"{CLEAN}-0-6000"})["aaai23"]["bands"] == {}


def test_files_are_written_per_paper_and_read_back(tmp_path: Path) -> None:
    published(tmp_path / "docs", "aaai23-table1", [run(CLEAN, i, {"HR@5": 0.03 + i / 1000}) for i in range(3)])
    (path,) = write(tmp_path / "docs", tmp_path / "bands")
    assert path.name == "aaai23.yaml"
    assert yaml.safe_load(path.read_text("utf-8")) == derive(tmp_path / "docs")["aaai23"]
    (tmp_path / "docs" / "aaai23-table3.json").write_text("{")
    with pytest.raises(RunError, match=r"aaai23-table3\.json is not a published table"):
        write(tmp_path / "docs", tmp_path / "bands")


def test_ends_and_distances() -> None:
    made = Band(mean=0.5, sd=0.02, least=0.01, seeds=3)
    half = 3 * 0.02 * math.sqrt(1 / 2 + 1 / 3)
    assert made.ends(2) == pytest.approx((0.5 - half, 0.5 + half))
    assert made.ends(1)[0] < made.ends(2)[0]
    assert made.outside(0.5 + half, 2) == pytest.approx(0, abs=1e-12)
    assert made.outside(0.7, 2) == pytest.approx(0.2 - half)
    assert made.outside(0.3, 2) == pytest.approx(half - 0.2)
    assert made.outside(0.52, 2) == 0.0
    assert math.isnan(made.outside(float("nan"), 2))
    assert math.isnan(made.outside(float("inf"), 2))
    assert Band(0.5, 0.0, 0.01, 3).ends(5) == pytest.approx((0.49, 0.51))


@pytest.fixture
def _limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands of two cells in place of those of the package."""
    made = {
        f"aaai23/{CLEAN}": {6000: {"HR@5": Band(0.040, 0.001, 0.0004, 3)}},
        f"aaai23/{LIE}": {6000: {"HR@5": Band(0.030, 0.001, 0.0003, 3), "NDCG@5": Band(0.02, 0.001, 0.0002, 3)}},
    }
    monkeypatch.setattr(bands, "stored", lambda paper: made if paper == "aaai23" else {})
    assert verdict.band is band


@pytest.mark.usefixtures("_limits")
def test_a_verdict_tells_inside_from_outside_and_by_how_much() -> None:
    runs = [run(CLEAN, 0, {"HR@5": 0.041, "NDCG@5": 0.02}), run(CLEAN, 1, {"HR@5": 0.039, "NDCG@5": 0.02})]
    runs += [run(LIE, 0, {"HR@5": 0.036, "NDCG@5": 0.02})]
    runs += [run("mf/ml-1m/fang/none/m0.01", 0, {"HR@5": 0.03, "NDCG@5": 0.02})]
    runs += [run("mf/no/such/cell/m0.01", 0, {"HR@5": 0.9})]
    found = judge(target("aaai23-table1"), map(figures, runs))
    by = {(c.cell, c.measure): c for c in found.checks}
    assert len(by) == 6
    clean = by[CLEAN, "HR@5"]
    assert (clean.ours, clean.seeds, clean.inside, clean.outside) == (0.04, 2, True, 0.0)
    assert clean.paper == 0.03549
    assert clean.difference == pytest.approx(0.04 - 0.03549)
    assert clean.paper_outside == pytest.approx(0.03549 - (0.04 - 0.003 * math.sqrt(1 / 2 + 1 / 3)))
    lie = by[LIE, "HR@5"]
    assert lie.inside is False
    assert lie.outside == pytest.approx(0.036 - (0.03 + 0.003 * math.sqrt(1 + 1 / 3)))
    assert by[LIE, "NDCG@5"].inside
    assert by[CLEAN, "NDCG@5"].inside is by[CLEAN, "NDCG@5"].paper_outside is None
    assert by[CLEAN, "NDCG@5"].to_json()["difference"] == pytest.approx(0.02 - 0.02226)
    # One measure outside puts the cell outside; a cell of no table does not count.
    assert (found.cells, found.inside, found.outside, found.holds) == (3, 1, 1, False)
    assert found.words == "1 outside, 1 inside, 1 without a band"
    stored_ = json.loads(json.dumps(found.to_json()))
    assert [c["inside"] for c in stored_["checks"] if c["cell"] == LIE] == [False, True]


@pytest.mark.usefixtures("_limits")
def test_a_run_that_went_astray_is_outside_and_nothing_is_no_success() -> None:
    astray = judge(
        target("aaai23-table1"), [figures(run(CLEAN, s, {"HR@5": v})) for s, v in ((0, 0.04), (1, math.nan))]
    )
    assert (astray.outside, astray.holds) == (1, False)
    nothing = judge(target("aaai23-table1"), [])
    assert (nothing.holds, nothing.words) == (False, "nothing finished")
    other = judge(target("aaai23-table1"), [figures(run(CLEAN, 0, {"HR@5": 0.9}, rounds=50))])
    assert (other.holds, other.words) == (False, "nothing to compare with: 1 without a band")


@pytest.mark.usefixtures("_limits")
def test_the_state_of_a_table_counts_what_is_finished_and_what_is_published(tmp_path: Path) -> None:
    before = [run(CLEAN, s, {"HR@5": 0.04, "NDCG@5": 0.02}) for s in (0, 1)]
    published(tmp_path / "docs", "aaai23-table1", before)
    root = tmp_path / "runs"
    for key, seed, hr in ((CLEAN, 1, 0.02), (LIE, 0, 0.03)):
        folder = root / "aaai23" / key / f"seed{seed}-abc"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(run(key, seed, {"HR@5": hr, "NDCG@5": 0.02})), "utf-8")
    (root / "aaai23" / LIE / "seed1-abc").mkdir()
    damaged = root / "aaai23" / LIE / "seed2-abc"
    damaged.mkdir()
    (damaged / "result.json").write_text("{", "utf-8")
    found = standing(target("aaai23-table1"), root, tmp_path / "docs")
    assert (found.runs, found.finished, found.published) == (28 * 5, 2, 2)
    # Seed 1 of the clean cell counts as it is here: its mean is 0.03, and not 0.04.
    assert (found.verdict.inside, found.verdict.outside) == (1, 1)
    assert {c.ours for c in found.verdict.checks if c.cell == CLEAN and c.measure == "HR@5"} == {0.03}


def test_all_tables_and_figures_are_listed_small_forms_behind_their_own(tmp_path: Path) -> None:
    found = [s.target.id for s in standings(tmp_path, tmp_path)]
    assert set(found) == set(TARGETS) | {t.id for t in LITE.values()}
    assert found.index("icml24-table2-lite") == found.index("icml24-table2") + 1
    assert not any(s.finished or s.published or s.verdict.holds for s in standings(tmp_path, tmp_path))
