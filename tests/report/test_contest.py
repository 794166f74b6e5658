"""What the runs of a group are judged by, in every form of a report; and controls, which are no attacks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from fedsiege.arena.card_file import load
from fedsiege.arena.card_store import values
from fedsiege.report import build, words
from fedsiege.report.cells import BEST, LOSS, VALUE, cells, orders
from fedsiege.report.charts import charts as make_charts
from fedsiege.report.collect import collect
from fedsiege.report.contest import Yardstick, contest
from fedsiege.report.page import render
from fedsiege.report.print_figures import costs, heat, learning
from fedsiege.report.tables import notes
from fedsiege.report.terminal import grid_table
from tests.report.carded import write_card
from tests.report.fakes import write_run, write_store
from tests.report.test_page import charts, column, parse
from tests.report.test_terminal import show

BACKDOOR = "img-backdoor-v1-lite"
# Scaling costs less accuracy than DBA and succeeds more often; Krum costs most and is the one that holds.
ACCURACY = {"none": 0.9, "scaling": 0.89, "dba": 0.7}
SUCCESS = {
    ("scaling", "none"): 0.95, ("dba", "none"): 0.55, ("scaling", "median"): 0.85, ("dba", "median"): 0.5,
    ("scaling", "krum"): 0.12, ("dba", "krum"): 0.2,
}  # fmt: skip
PRICE = {"none": 1.0, "median": 0.98, "krum": 0.8}
SEEDS = 2


def write_backdoor(root: Path, id_: str = BACKDOOR, hash_: str | None = None) -> Path:
    """Write the runs of a card whose metric is the attacker's success."""
    card = {"id": id_, "hash": hash_ or load(BACKDOOR).hash, "degree": "beta1", "division": "closed", "changes": []}
    for attack, accuracy in ACCURACY.items():
        for defense, left in PRICE.items():
            for seed in range(SEEDS):
                scores = {"TACC": (accuracy + 0.01 * seed) * left}
                if attack != "none":
                    scores["ASR"] = SUCCESS[attack, defense]
                write_run(
                    root / id_ / attack / defense / f"seed{seed}", attack, defense, seed, dataset="digits",
                    model="mlp", card=card, scores=scores, command=f"fedsiege run {attack}-{defense}",
                )  # fmt: skip
    return root


@pytest.fixture(scope="module")
def backdoor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_backdoor(tmp_path_factory.mktemp("backdoor"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card of pictures, a card of recommendations, and recommendations without a card in one folder."""
    root = write_card(tmp_path_factory.mktemp("mixed"))
    write_store(root / "loose", ("none", "fang"), ("none", "median"), 2, dataset="loose")
    return write_backdoor(root)


GAME, LOOSE = "game-v1", "loose · mf · 5% malicious"
IMAGES = f"{BACKDOOR} · beta1"


def texts(figure: Any) -> list[str]:
    """Return every text in a figure."""
    from matplotlib.text import Text

    return [found.get_text() for found in figure.findobj(Text)]


def test_each_group_is_judged_by_its_own_metric(mixed: Path) -> None:
    seen = contest(collect(mixed))
    assert {group: (s.metric, s.clean, s.higher) for group, s in seen.sticks.items()} == {
        IMAGES: ("ASR", "TACC", False), GAME: ("HR@5", "HR@5", True), LOOSE: ("HR@5", "HR@5", True),
    }  # fmt: skip
    assert seen.sticks[IMAGES].metrics == ("ASR", "TACC")
    assert contest(seen) is seen
    frame = cells(seen)
    assert set(frame.filter(group=GAME)["metric"]) == {"HR@5", "HR@10", "NDCG@5", "NDCG@10"}
    assert frame.filter(group=GAME)["metric"][0] == "HR@5"
    assert set(frame.filter(group=IMAGES)["metric"]) == {"TACC", "ASR"}


def test_a_mixed_store_makes_a_page(mixed: Path) -> None:
    page = render(collect(mixed), "Mixed")
    text = " ".join(" ".join(parse(page).text).split())
    glance = text[text.index("In one look") :]
    for group in (IMAGES, GAME, LOOSE):
        assert group in glance
    assert "With no defense, the strongest attack is adaptive(lie): HR@5 falls by 60.0%." in text
    assert "With no defense, the strongest attack is scaling: ASR is 0.9500." in text
    assert f"HR@5 on test data after the last round, {GAME}" in text
    assert f"ASR on test data after the last round, {IMAGES}" in text
    made = charts(page)
    for key, name in (("grid", "metric"), ("curves", "metric"), ("cost", "choice")):
        table = made[key]["table"]
        first: dict[str, str] = {}
        for group, metric in zip(column(table, "group"), column(table, name)):
            first.setdefault(group, metric)
        # What a menu offers first is the first in the rows.
        assert first == {IMAGES: "TACC" if key == "cost" else "ASR", GAME: "HR@5", LOOSE: "HR@5"}
        assert {m for g, m in zip(column(table, "group"), column(table, name)) if g == GAME}.isdisjoint({"TACC", "ASR"})


def test_a_mixed_store_makes_tables_and_figures(mixed: Path, tmp_path: Path) -> None:
    assert "ASR" in build(mixed, tmp_path, format="md").read_text("utf-8")
    assert "ASR" in build(mixed, tmp_path, format="latex").read_text("utf-8")
    folder = build(mixed, tmp_path / "figures", format="svg")
    drawn = {path.name: path.read_text("utf-8") for path in folder.iterdir()}
    for group in ("game-v1", "img-backdoor-v1-lite-beta1", "loose-mf-5pc-malicious"):
        assert {f"{what}-{group}.svg" for what in ("grid", "curves", "cost", "leaderboard")} <= set(drawn)
    assert "HR@5" in drawn["curves-game-v1.svg"]
    assert "0.9500" in drawn["grid-img-backdoor-v1-lite-beta1.svg"]
    assert "−60.0%" in drawn["grid-game-v1.svg"]
    assert build(mixed, tmp_path, format="pdf").read_bytes().count(b"/Type /Page ") == len(drawn)


def test_findings_of_a_backdoor_tell_who_lets_it_in_least(backdoor: Path) -> None:
    seen = contest(collect(backdoor))
    stick = seen.sticks[IMAGES]
    # By accuracy DBA were the strongest attack, and the median the mildest worst case.
    assert words.findings(cells(seen), IMAGES, stick.metric, stick.clean) == [
        "With no defense, the strongest attack is scaling: ASR is 0.9500.",
        "The defense with the mildest worst case is krum: under dba, its worst, ASR is 0.2000.",
        "When nobody attacks and krum stands guard, TACC falls by 20.0%.",
    ]
    assert orders(seen) == (["none", "dba", "scaling"], ["none", "krum", "median"])


def test_tables_of_a_backdoor_are_in_its_metric(backdoor: Path) -> None:
    text = " ".join(" ".join(parse(render(collect(backdoor), "Board")).text).split())
    assert "ASR on test data after the last round" in text
    assert "lower is better" in text
    assert "0.9500 ± 0.0000 2 seeds" in text
    assert "colours its tile: the more orange, the better for the attacker" in text
    assert "0.7240" in text  # what Krum leaves of TACC when nobody attacks


def test_the_heat_map_of_a_backdoor_has_colour(backdoor: Path) -> None:
    seen = contest(collect(backdoor))
    figure = heat(seen, cells(seen), IMAGES)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dba", "scaling"]  # no ASR without an attack
    assert [label.get_text() for label in axes.get_xticklabels()] == ["none", "krum", "median"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.55, 0.2, 0.5], [0.95, 0.12, 0.85]])
    said = " ".join(" ".join(texts(figure)).split())
    assert "ASR after the last round (lower is better; the darker, the higher)" in said
    grid = next(chart for chart in make_charts(seen, cells(seen)) if chart.key == "grid").rows
    shown = grid.filter(metric="ASR", moment="last round", defense="none", attack="scaling").row(0, named=True)
    assert (shown["harm"], shown["change"], shown["headline"]) == (pytest.approx(0.95), 0, "0.9500")
    assert "attacker" in shown["legend"]
    accuracy = grid.filter(metric="TACC", moment="last round", defense="none", attack="dba").row(0, named=True)
    assert (accuracy["harm"], accuracy["change"]) == (pytest.approx(accuracy["loss"]), 1)


def test_curves_and_costs_of_a_backdoor_are_in_the_right_metric(backdoor: Path) -> None:
    seen = contest(collect(backdoor))
    said = texts(learning(seen, IMAGES))
    assert "ASR (lower is better)" in said
    assert "none" in said  # the panel of no defense
    lines = learning(seen, IMAGES).axes[0].get_lines()
    assert [line.get_ydata()[-1] for line in lines] == pytest.approx([0.55, 0.95])
    assert "TACC, nobody attacks" in texts(costs(seen, IMAGES))


def test_the_direction_is_that_of_a_card_of_ones_own(tmp_path: Path) -> None:
    """A card in which accuracy is to be low: nonsense, but it is the card that says so."""
    card = replace(load(BACKDOOR), id="odd-v1", metric="TACC", higher_is_better=False)
    write_backdoor(tmp_path, "odd-v1", card.hash)
    (tmp_path / "odd-v1" / f"card-{card.hash}.yaml").write_text(yaml.safe_dump(values(card)))
    stick = contest(collect(tmp_path)).sticks["odd-v1 · beta1"]
    assert (stick.metric, stick.clean, stick.higher) == ("TACC", "TACC", False)
    assert stick.wants_high("HR@5")
    assert not stick.wants_high("ASR")
    one = contest(collect(tmp_path / "odd-v1" / "dba" / "krum" / "seed0"))  # the card lies above the run
    assert one.sticks["odd-v1 · beta1"] == Yardstick("TACC", "TACC", False, ("TACC", "ASR"))


def test_without_its_card_a_group_is_judged_by_its_runs(tmp_path: Path) -> None:
    write_backdoor(tmp_path, "lost-v1", "0" * 12)
    write_run(tmp_path / "loose", "fang", "krum")
    seen = contest(collect(tmp_path))
    assert seen.sticks["lost-v1 · beta1"] == Yardstick("TACC", "TACC", True, ("TACC", "ASR"))
    for path in tmp_path.rglob("result.json"):
        path.write_text("{")  # since they were collected
    again = contest(collect(tmp_path))
    assert not again.sticks
    gone = contest(replace(collect(write_store(tmp_path / "new", ("none",), ("none",), 1)), root=tmp_path / "gone"))
    assert [stick.metric for stick in gone.sticks.values()] == ["HR@5"]


def test_without_a_clean_run_colours_start_at_the_best_cell(tmp_path: Path) -> None:
    for attack, value in (("fang", 0.01), ("lie", 0.03)):
        for defense, kept in (("none", 1.0), ("krum", 4 / 3)):
            write_run(tmp_path / attack / defense, attack, defense, value=value * kept)
    seen = contest(collect(tmp_path))
    frame = cells(seen).filter(metric="HR@5", moment="last")
    assert set(frame["basis"]) == {BEST}
    assert frame["harm"].to_list() == pytest.approx([0.25, 0.0, 0.75, 2 / 3])
    assert frame["loss"].is_nan().all()
    (group,) = seen.groups
    assert words.findings(cells(seen), group, "HR@5") == [
        "With no defense, the strongest attack is fang: HR@5 is 0.0100.",
        "The defense with the mildest worst case is krum: under fang, its worst, HR@5 is 0.0133.",
        "Some of this rests on a single seed: another seed may say otherwise.",
    ]
    said = " ".join(" ".join(texts(heat(seen, cells(seen), group))).split())
    assert "there is no run without attack and defense" in said


def test_a_score_that_rounds_do_not_have_makes_no_curves(tmp_path: Path) -> None:
    root = write_backdoor(tmp_path / "runs")
    for path in root.rglob("rounds.jsonl"):
        path.write_text(path.read_text().replace('"ASR"', '"other"'))
    names = {path.name.partition("-")[0] for path in build(root, tmp_path / "figures", format="svg").iterdir()}
    assert names == {"leaderboard", "grid", "cost"}


def test_the_terminal_shows_the_groups_that_have_a_metric(mixed: Path) -> None:
    text = show(grid_table(collect(mixed), "ASR"))
    assert IMAGES in text
    assert GAME not in text
    assert "0.9500" in text


@pytest.fixture(scope="module")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_store(tmp_path_factory.mktemp("controlled"), ("none", "lie", "fang"), ("none", "median", "krum"), 2)
    for seed in range(2):
        write_run(root / f"noise-{seed}", "noise(lie)", "none", seed, value=0.001, command="fedsiege run noise.yaml")
    return root


def test_controls_are_no_attacks_in_findings_charts_and_figures(controlled: Path, tmp_path: Path) -> None:
    board = collect(controlled)
    (group,) = board.groups
    frame = cells(board)
    said = words.findings(frame, group, "HR@5")
    # The control does the most harm, and no defense has faced it.
    assert said[0].startswith("With no defense, the strongest attack is fang: HR@5 falls by 50.0%")
    assert said[1].startswith("The defense with the mildest worst case is krum: under")
    assert orders(board)[0] == ["none", "fang", "lie"]
    assert set(frame["attack"]) == {"none", "fang", "lie"}
    for chart in make_charts(board, frame):
        assert "noise(lie)" not in chart.order
        if "attack" in chart.rows.columns:
            assert not chart.rows["attack"].str.contains("noise", literal=True).any()
    folder = build(controlled, tmp_path / "figures", format="svg")
    for path in folder.iterdir():
        assert "noise(lie)" not in path.read_text("utf-8"), path.name
    assert "noise(lie)" not in show(grid_table(board))


def test_controls_are_found_in_the_table_of_runs(controlled: Path) -> None:
    page = render(collect(controlled), "Board")
    text = " ".join(" ".join(parse(page).text).split())
    repeat = text[text.index("The command that makes the first seed") :]
    assert "noise(lie) none 0, 1 fedsiege run noise.yaml" in repeat
    assert repeat.index("noise(lie)") > repeat.index("fedsiege run config.yaml")  # below the attacks
    assert "Controls, in no chart noise(lie) (2 runs)" in text
    assert "noise(lie)" not in text[: text.index("What was run")]


def test_a_store_of_controls_alone_makes_a_page(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "noise(lie)", "none")
    write_run(tmp_path / "b", "noise(fang)", "none", command="fedsiege run b.yaml")
    board = collect(tmp_path)
    page = render(board, "Board")
    assert charts(page) == {}
    assert "fedsiege run b.yaml" in page
    assert cells(board).is_empty()
    assert isinstance(cells(board).schema["harm"], pl.Float64)
    assert "mean ±" in show(grid_table(board))


def test_harm_is_a_share_or_a_rate() -> None:
    assert Yardstick("TACC", "TACC").harm(0.6, 0.8) == pytest.approx(0.25)
    assert Yardstick("HR@5", "HR@5").harm(0.0, 0.0) == 0
    assert Yardstick("ASR", "TACC", higher=False).harm(0.6, 0.0) == 0.6
    assert {LOSS, VALUE, BEST} == {"loss", "value", "best"}


def test_notes_of_images_speak_of_no_ranking(backdoor: Path, tmp_path: Path) -> None:
    said = notes(collect(backdoor))
    for words_ in ("training negatives", "held out", "“Best round”"):
        assert words_ not in said
    write_run(tmp_path / "run")
    said = notes(collect(tmp_path))
    assert "training negatives without knowing" in said
    assert "HR and NDCG are taken on benign clients only" in said
    assert "“Best round” is the round with the best valid HR@5" in said


def test_the_curve_of_a_clean_cell_is_that_of_its_own_metric(backdoor: Path) -> None:
    html = render(collect(backdoor), "t")
    asked = re.findall(r'class="curve"[^>]*data-metric="([^"]+)" data-attack="([^"]+)"', html)
    assert {metric for metric, attack in asked if attack == "none"} == {"TACC"}
    assert {metric for metric, attack in asked if attack == "dba"} == {"ASR"}
