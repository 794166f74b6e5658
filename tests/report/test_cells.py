from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import gaussian_kde
from sklearn.metrics import roc_auc_score

from fedsiege.arena.stats import estimate, relative_loss
from fedsiege.report import cells, tables, words
from fedsiege.report.collect import Board, collect
from fedsiege.report.densities import areas, centred, densities, density, higher, separation
from fedsiege.report.terminal import detection_table
from tests.report.fakes import score, write_run
from tests.report.test_terminal import show


def test_intervals_are_those_of_the_arena() -> None:
    rng = np.random.default_rng(1)
    samples = [rng.random(n) for n in (5, 0, 1, 3, 5, 2, 5)]
    samples[4][2] = np.nan
    for sample, found in zip(samples, cells.intervals(samples)):
        known = estimate(sample)
        assert found == pytest.approx((known.mean, known.low, known.high, known.n), nan_ok=True)


def test_cells_hold_means_and_losses_paired_by_seed(board: Board) -> None:
    frame = cells.cells(board)
    assert frame.height == 9 * 4 * 2
    cell = frame.filter(attack="fang", defense="union+multikrum", metric="HR@5", moment="last").row(0, named=True)
    values = {s: score("fang", "union+multikrum", s) for s in range(3)}
    clean = {s: score("none", "none", s) for s in range(3)}
    loss = relative_loss(clean, values)
    assert cell["mean"] == pytest.approx(np.mean(list(values.values())))
    assert (cell["loss"], cell["loss_low"], cell["loss_high"]) == pytest.approx((loss.mean, loss.low, loss.high))
    assert (cell["n"], cell["loss_n"], cell["seeds"]) == (3, 3, "0–2")
    assert cell["command"] == "fedsiege run config.yaml"


def test_without_a_clean_run_there_is_no_loss(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "fang", "krum")
    cell = cells.cells(collect(tmp_path)).row(0, named=True)
    assert cell["loss_n"] == 0
    assert np.isnan(cell["loss"])
    assert words.findings(cells.cells(collect(tmp_path)), "synthetic · mf · 5% malicious", "HR@5") == []


def test_none_comes_first_and_harm_grows(tmp_path: Path) -> None:
    for attack, value in (("strong", 0.01), ("weak", 0.04), ("none", 0.05)):
        write_run(tmp_path / attack, attack, value=value)
    write_run(tmp_path / "composed", "none", "a+b")
    write_run(tmp_path / "single", "none", "z")
    assert cells.orders(collect(tmp_path)) == (["none", "weak", "strong"], ["none", "z", "a+b"])


def test_detection_is_shown_where_uploads_are_rejected(board: Board) -> None:
    frame = cells.detection(board)
    assert set(frame["defense"]) == {"union+multikrum"}
    assert frame.filter(attack="fang", metric="DACC")["mean"][0] == pytest.approx(0.95)
    assert frame.filter(attack="none", metric="AAR").is_empty()  # nobody attacks, so nobody gets in
    assert frame.filter(attack="none", metric="FNR").is_empty()


def test_who_expels_honest_clients_is_shown_beside_what_it_rejects(board: Board, tmp_path: Path) -> None:
    assert cells.detection(board).filter(metric="expelled").is_empty()
    for seed, share in enumerate((0.1, 0.3)):
        write_run(tmp_path / f"afa{seed}", "fang", "afa", seed, expelled=share)
        write_run(tmp_path / f"krum{seed}", "fang", "krum", seed)
    mixed = collect(tmp_path)
    frame = cells.detection(mixed)
    assert frame.filter(metric="expelled").select("defense", "mean", "n").rows() == [("afa", pytest.approx(0.2), 2)]
    (group,) = mixed.groups
    assert cells.judgements(frame, group) == ["DACC", "FPR", "FNR", "AAR", "expelled"]
    assert cells.judgements(frame, "another") == ["DACC", "FPR", "FNR", "AAR"]
    page = tables.detection(frame, group)
    assert page.count("expelled") == 1
    assert page.count("0.2000 <small>") == 1
    text = show(detection_table(mixed))
    assert text.count("expelled") == 1
    assert text.count("0.2000") == 1


def test_cost_is_that_of_clean_runs(board: Board) -> None:
    frame = cells.cost(board)
    assert set(frame["attack"]) == {"none"}
    assert frame.filter(defense="median", metric="ms per round")["mean"][0] == pytest.approx(100)


def test_prices_are_paired_by_seed_and_times_by_commit_and_machine_too(tmp_path: Path) -> None:
    for seed, value in enumerate((0.04, 0.05, 0.9)):
        write_run(tmp_path / f"open{seed}", "none", "none", seed, value=value, seconds=0.1 * (seed + 1))
    for seed, value in enumerate((0.03, 0.04)):
        write_run(tmp_path / f"krum{seed}", "none", "krum", seed, value=value, seconds=0.3)
    other = tmp_path / "krum1" / "environment.json"
    other.write_text(other.read_text().replace('"cpu": "test"', '"cpu": "another"'))
    frame = cells.prices(collect(tmp_path)).filter(defense="krum")
    (score,) = frame.filter(metric="HR@5").iter_rows(named=True)
    assert (score["mean"], score["n"]) == (pytest.approx((-0.25 - 0.2) / 2), 2)
    (time,) = frame.filter(metric="ms per round").iter_rows(named=True)
    assert (time["mean"], time["n"]) == (pytest.approx(3.0), 1)
    board = collect(tmp_path)
    cost = tables.cost(cells.cost(board), cells.prices(board), board.groups[0], "HR@5")
    assert "3.00 ×" in cost
    assert "22.5" in cost
    (pace,) = cells.paces(board).filter(defense="krum").iter_rows(named=True)
    assert (pace["metric"], pace["mean"]) == (cells.PACE, pytest.approx(3.0))
    # Milliseconds are of the runs that the ratio compares, and not of the slower machine too.
    slow = tmp_path / "krum1" / "result.json"
    slow.write_text(slow.read_text().replace("0.3", "30.0"))
    times = cells.cost(collect(tmp_path)).filter(defense="krum", metric="ms per round")
    assert (times["mean"][0], times["n"][0]) == (pytest.approx(300.0), 1)


def test_without_an_undefended_run_there_is_no_price(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "none", "krum")
    assert cells.prices(collect(tmp_path)).is_empty()
    assert set(cells.paces(collect(tmp_path))["metric"]) == {"ms per round"}
    group = collect(tmp_path).groups[0]
    assert tables.cost(cells.cost(collect(tmp_path)), cells.prices(collect(tmp_path)), group, "HR@5").count("–") >= 2


def test_curves_average_the_seeds(board: Board) -> None:
    row = cells.curves(board).filter(attack="fang", defense="none", metric="HR@5", round=8).row(0, named=True)
    values = [score("fang", "none", s) * 8 / 12 for s in range(3)]
    assert (row["mean"], row["low"], row["high"], row["n"]) == pytest.approx(
        (np.mean(values), min(values), max(values), 3)
    )


def test_density_is_that_of_scipy_where_the_grid_can_show_it() -> None:
    values = np.random.default_rng(0).normal(size=300)
    grid = np.linspace(-4, 4, 200)
    np.testing.assert_allclose(density(values, grid), gaussian_kde(values)(grid), rtol=1e-10)
    assert density(np.ones(9), np.linspace(0, 2, 81)).argmax() == 40  # equal scores make a peak
    assert not density(np.ones(2), grid).any()


def test_separation_mirrors_the_stretch_and_not_each_round() -> None:
    malicious = np.array([True, False, False, False])
    low, high = np.array([0.0, 1, 2, 3]), np.array([9.0, 1, 2, 3])
    assert (higher(malicious, low), higher(malicious, high)) == (0, 1)
    assert higher(malicious, np.ones(4)) == 0.5
    assert np.isnan(higher(np.zeros(4, bool), low))
    assert separation(np.array([0.0, 0.0])) == 1
    assert separation(np.array([0.0, 1.0])) == 0.5
    assert separation(np.array([])) is None


def test_areas_of_rounds_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "round": np.repeat(np.arange(12), 20),
            "malicious": rng.random(240) < 0.2,
            "score": np.where(rng.random(240) < 0.1, np.inf, rng.integers(0, 6, 240).astype(float)),  # with ties
        }
    )
    found = dict(areas(frame, ["round"]).rows())
    for (number,), part in frame.filter(pl.col("score").is_finite()).partition_by("round", as_dict=True).items():
        bad = part["malicious"].to_numpy()
        if bad.any() and not bad.all():
            wanted = roc_auc_score(bad, part["score"].to_numpy())
            assert found.pop(number) == pytest.approx(wanted)
            assert higher(bad, part["score"].to_numpy()) == pytest.approx(wanted)
    assert not found


def test_scores_are_centred_on_their_round(board: Board) -> None:
    left = centred(board.scores).group_by("run", "round").agg(pl.col("score").median())
    assert left["score"].abs().max() < 1e-12
    curves, apart = densities(board)
    assert curves["density"].max() == pytest.approx(1)
    assert set(curves["who"]) == {"benign", "malicious"}
    assert apart.filter(attack="fang")["separation"].to_list() == [1, 1, 1]
    assert apart.filter(attack="none")["separation"].to_list() == [None, None, None]


@pytest.mark.parametrize(
    ("loss", "text"), [(0.312, "−31.2%"), (-0.047, "+4.7%"), (0.0001, "0.0%"), (float("nan"), ""), (None, "")]
)
def test_a_loss_is_a_change_with_the_other_sign(loss: float | None, text: str) -> None:
    assert words.change(loss) == text


def test_findings_name_the_worst_attack_and_the_mildest_defense(board: Board) -> None:
    said = words.findings(cells.cells(board), board.groups[0], "HR@5")
    assert said[0] == "With no defense, the strongest attack is clusterattack: HR@5 falls by 50.0%."
    assert "falls by 10.0%" in said[1]
    assert "stays as it is" in said[2]


def test_findings_tell_of_cells_that_nothing_can_be_compared_with(tmp_path: Path) -> None:
    for attack, seed in (("none", 0), ("fang", 0), ("lie", 1)):
        write_run(tmp_path / attack, attack, "none", seed, value=0.01 if attack == "lie" else 0.05)
    said = words.findings(cells.cells(collect(tmp_path)), collect(tmp_path).groups[0], "HR@5")
    assert said[0].startswith("With no defense, the strongest attack is fang")
    assert said[-1] == "1 cell left out, for want of a run without attack and defense under the same seed."
    write_run(tmp_path / "clean", "none", "none", 1, value=0.05)
    said = words.findings(cells.cells(collect(tmp_path)), collect(tmp_path).groups[0], "HR@5")
    assert said[0].startswith("With no defense, the strongest attack is lie")
    assert not any("left out" in text for text in said)


@pytest.mark.parametrize(
    ("seeds", "text"), [([0, 1, 2, 3], "0–3"), ([0, 1], "0, 1"), ([1, 3, 7], "1, 3, 7"), ([4], "4")]
)
def test_seeds_in_words(seeds: list[int], text: str) -> None:
    assert cells.describe_seeds(seeds) == text
