from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from fedsiege.defenses import redefense
from fedsiege.defenses.reconstruction.single import on_curve
from fedsiege.report import tables
from fedsiege.report.collect import Board, collect
from fedsiege.report.fits import shown, sweeps, verdicts
from fedsiege.report.page import render
from fedsiege.report.rounds import FIT_REASONS, scan, steps
from tests.report.fakes import COHORT, records, write_run
from tests.report.test_page import charts, column, parse

BENIGN = [1.0, 0.99, 0.9, 0.8, 0.7, 0.5]  # 12 iterations
BAD = [1.0, 1.0, 1.0, 0.95, 0.9, 0.86, 0.82, 0.78, 0.75]  # 100 iterations


def write_fits(
    folder: Path,
    attack: str = "fang",
    defense: str = "redefense",
    *,
    schedule: str = "dynamic",
    seed: int = 0,
    kept: list[int] | None = None,
    bad: list[float | None] | None = None,
) -> Path:
    """Write a run whose uploads were reconstructed; `kept` are the places that parts in front left over."""
    made = records(attack, defense, 0.05, 12, 4, seed)
    prefix = "" if defense == "redefense" else "redefense."
    for record in made:
        places = list(range(COHORT)) if kept is None else kept
        if kept is not None:
            gone = [record["cohort"][i] for i in range(COHORT) if i not in kept]
            record["rejected"] = [[client, "too far"] for client in gone]
        curves: list[Any] = [(bad or BAD) if i < 2 else BENIGN for i in places]
        iterations = [100 if i < 2 else 12 for i in places]
        if 3 in places:  # an upload of zero norm
            curves[places.index(3)], iterations[places.index(3)], record["norm"][3] = [], 0, 0.0
        record["info"] = {f"{prefix}iterations": iterations, f"{prefix}aoi": 1.0, f"{prefix}curves": curves}
    write_run(folder, attack, defense, seed, lines=[json.dumps(r) for r in made])
    config = yaml.safe_load((folder / "config.yaml").read_text())
    settings = {"gamma": 0.6, "first": 100, "schedule": schedule}
    config["defense"].update(settings if defense == "redefense" else {"redefense": settings})
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def fitted(tmp_path: Path, **more: Any) -> Board:
    write_run(tmp_path / "open")
    write_fits(tmp_path / "clean", "none", **more)
    write_fits(tmp_path / "bad", **more)
    return collect(tmp_path)


def test_what_is_known_of_the_defense_is_true_of_it() -> None:
    assert set(FIT_REASONS) == {redefense.NOT_RECONSTRUCTED, redefense.NO_UPDATE, redefense.EXPELLED}
    for last in range(70):
        assert steps(last) == sorted({last, *(i for i in range(last) if on_curve(i))})


def test_every_client_is_met_once_in_its_first_round(tmp_path: Path) -> None:
    board = fitted(tmp_path)
    cohorts = [json.loads(line)["cohort"] for line in (tmp_path / "bad" / "rounds.jsonl").read_text().splitlines()]
    first = {client: number for number in range(12, 0, -1) for client in cohorts[number - 1]}
    mine = verdicts(board).filter(attack="fang")
    assert dict(mine.select("client", "round").rows()) == first
    assert mine.select("gamma", "budget", "early").unique().rows() == [(0.6, 100, True)]
    client = cohorts[0][0]
    curve = board.fits.join(mine.select("run", "client").filter(client=client), on=["run", "client"])
    assert curve["error"].to_list() == BAD
    assert curve["step"].to_list() == [0, 1, 2, 4, 8, 16, 32, 64, 100]
    assert not verdicts(board).filter(attack="none", who="malicious").height


def test_verdicts_follow_the_threshold(tmp_path: Path) -> None:
    mine = verdicts(fitted(tmp_path)).filter(attack="fang")
    round_one = mine.filter(round=1).sort("client")
    assert round_one["who"].to_list() == ["malicious"] * 2 + ["benign"] * 18
    # The empty upload at place 3 is not fitted, and its error is 1.
    assert round_one["verdict"].to_list() == ["rejected"] * 2 + ["accepted", "rejected"] + ["accepted"] * 16
    assert round_one["final"].to_list()[:4] == [0.75, 0.75, 0.5, 1.0]
    assert round_one["iterations"].to_list()[:4] == [100, 100, 12, 0]


def test_an_error_that_is_not_finite_is_a_rejection(tmp_path: Path) -> None:
    board = fitted(tmp_path, bad=[*BAD[:-1], None])
    mine = verdicts(board).filter(attack="fang", who="malicious")
    assert set(mine["verdict"]) == {"rejected"}
    assert set(mine["final"]) == {float("inf")}
    page = render(board, "Board")
    assert "Without a finite error" in page
    assert "not finite" in page


def test_in_a_composition_curves_are_those_of_what_was_left(tmp_path: Path) -> None:
    write_run(tmp_path / "open")
    write_fits(tmp_path / "behind", defense="multikrum+redefense", kept=list(range(1, COHORT)))
    board = collect(tmp_path)
    path = tmp_path / "behind" / "rounds.jsonl"
    cohort = json.loads(path.read_text().splitlines()[0])["cohort"]
    judged = verdicts(board).filter(round=1)
    assert judged["client"].to_list() == cohort[1:]
    assert judged.filter(who="malicious")["final"].to_list() == [0.75]
    assert scan(path, True, fits="").fits == []  # under another name there is nothing


def test_damage_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "run") / "rounds.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["info"]["iterations"][5] = 1000  # not as long as its curve
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = scan(path, True, fits="")
    assert found.damaged == 1
    assert min(int(part["round"].min()) for part in found.fits) == 2


def test_shown_clients_are_few_and_of_both_kinds() -> None:
    frame = pl.DataFrame({"group": "g", "attack": "a", "defense": "d", "client": range(300)})
    frame = frame.with_columns(who=pl.when(pl.col("client") < 3).then(pl.lit("malicious")).otherwise(pl.lit("benign")))
    kept = shown(frame)
    assert 55 <= kept.height <= 61
    assert kept.filter(who="malicious").height == 1
    assert kept["client"].is_sorted()
    assert kept["client"].max() == 299
    assert shown(frame.head(60)).height == 60


def test_a_sweep_counts_who_would_be_rejected(tmp_path: Path) -> None:
    board = fitted(tmp_path)
    (sweep,) = sweeps(board, verdicts(board))
    assert sweep.attacks == ("none", "fang")
    assert sweep.budgets == [4, 16, 100]
    bad, good = sweep.bad["fang"], sweep.good["fang"]
    zero = verdicts(board).filter(attack="fang", final=1.0).height
    assert sweep.rejected("fang", 0.6, 100) == (bad, zero)  # as the run judged
    assert sweep.rejected("fang", 0.8, 100) == (0, zero)
    assert sweep.rejected("fang", 0.8, 16) == (bad, zero)
    assert sweep.rejected("fang", 0.6, 4) == (bad, good)
    assert [sweep.known(g) for g in (0.3, 0.5, 0.6, 0.9)] == [False, False, True, True]


@pytest.mark.parametrize("schedule", ["dynamic", "continuous"])
def test_smaller_thresholds_are_told_only_where_fits_never_end_early(tmp_path: Path, schedule: str) -> None:
    board = fitted(tmp_path, schedule=schedule)
    (sweep,) = sweeps(board, verdicts(board))
    html = tables.thresholds(sweep)
    parse(html)
    early = schedule == "dynamic"
    row = next(part for part in html.split("<tr>") if ">0.4<" in part)
    assert (">any<" in row) == early
    assert ("100%" in row) != early
    assert ("says nothing for a smaller γ" in html) == early
    assert "run with γ 0.6 and a budget of at most 100 iterations" in html
    assert "100 (as run)" in html
    last = sweep.rejected("fang", 0.76, 100)
    assert last[0] == 0


def test_a_fit_that_never_ends_early_is_judged_at_its_end(tmp_path: Path) -> None:
    rises: list[float | None] = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.7, 0.8, 0.9]
    board = fitted(tmp_path, schedule="continuous", bad=rises)
    (sweep,) = sweeps(board, verdicts(board))
    assert sweep.rejected("fang", 0.8, 100)[0] == sweep.bad["fang"]
    assert sweep.rejected("fang", 0.8, 16)[0] == 0


def test_the_page_shows_curves_thresholds_and_clients(tmp_path: Path) -> None:
    page = render(fitted(tmp_path), "Board")
    outline = parse(page)
    made = charts(page)
    assert list(made)[-2:] == ["fits", "cost"]
    table = made["fits"]["table"]
    panels = set(column(table, "panel"))
    assert any(panel.startswith("none · rejected ") for panel in panels)
    assert any(panel.startswith("fang · rejected ") and " and " in panel for panel in panels)
    assert set(column(table, "rule")) == {"γ 0.6, at most 100 iterations"}
    assert set(column(table, "verdict")) == {"accepted", "rejected"}
    assert set(column(table, "who")) == {"benign", "malicious"}
    assert [label for _, label, _ in made["fits"]["choices"]] == ["Setting", "Defense"]
    per_cell = set(zip(column(table, "attack"), column(table, "client")))
    assert len(per_cell) <= 2 * 62
    text = " ".join(" ".join(outline.text).split())
    assert "At which γ and budget who is rejected" in text
    assert "Each client: synthetic" in text
    assert 'href="#fits"' in page


def test_errors_far_above_the_threshold_do_not_flatten_the_others(tmp_path: Path) -> None:
    page = render(fitted(tmp_path, bad=[1e9, *BAD[1:]]), "Board")
    assert max(column(charts(page)["fits"]["table"], "error")) == 2


def test_only_one_seed_of_a_cell_is_drawn(tmp_path: Path) -> None:
    fitted(tmp_path)
    write_fits(tmp_path / "again", seed=1)
    assert collect(tmp_path).fits["run"].n_unique() == 2


def test_pages_without_reconstruction_say_nothing_of_it(board: Board, tmp_path: Path) -> None:
    assert board.fits.is_empty()
    write_run(tmp_path / "bare", "fang", "redefense")  # its configuration tells no settings
    for page in (render(board, "Board"), render(collect(tmp_path), "Board")):
        assert "reproduce a client" not in page
        assert "fits" not in charts(page)
