from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fedsiege.report.cells import curves
from fedsiege.report.collect import Board, collect
from fedsiege.report.rounds import VERDICTS, scan
from tests.report.fakes import COHORT, metrics, score, write_run


def test_one_row_per_run_with_the_stored_numbers(board: Board) -> None:
    assert board.runs.height == 27
    assert board.metrics == ("HR@5", "HR@10", "NDCG@5", "NDCG@10")
    assert board.warnings == ()
    for row in board.runs.iter_rows(named=True):
        stored = metrics(score(row["attack"], row["defense"], row["seed"]))
        assert {m: row[f"last {m}"] for m in board.metrics} == stored
        assert {m: row[f"best {m}"] for m in board.metrics} == stored
    row = board.runs.filter(attack="fang", defense="union+multikrum", seed=1).row(0, named=True)
    assert row["DACC"] == 0.95
    assert row["FNR"] == 0.5
    assert row["seconds_per_round"] == pytest.approx(0.1)
    assert row["knowledge"] == "coalition + model"
    assert row["told_byzantine"] is None
    assert row["command"] == "fedsiege run config.yaml"
    assert row["path"] == "union+multikrum-fang-1"


def test_curves_are_the_evaluated_rounds(board: Board) -> None:
    run = board.runs.filter(attack="fang", defense="none", seed=2)["run"][0]
    curve = board.curves.filter(run=run)
    assert curve["round"].to_list() == [4, 8, 12]
    assert curve["HR@5"].to_list() == pytest.approx([score("fang", "none", 2) * r / 12 for r in (4, 8, 12)])


def test_curves_count_the_verdicts_of_their_round(board: Board) -> None:
    attacked = board.runs.filter(attack="fang", defense="union+multikrum", seed=1)["run"][0]
    for row in board.curves.filter(run=attacked).iter_rows(named=True):
        assert [row[name] for name in VERDICTS] == [COHORT - 2, 0, 1, 1]  # two malicious ones, one of them caught
    peace = board.runs.filter(attack="none", defense="union+multikrum", seed=1)["run"][0]
    for row in board.curves.filter(run=peace).iter_rows(named=True):
        assert [row[name] for name in VERDICTS] == [COHORT - 1, 1, 0, 0]
    found = curves(board).filter(attack="fang", defense="union+multikrum", metric="HR@5", round=8).row(0, named=True)
    assert [found[name] for name in VERDICTS] == [3 * (COHORT - 2), 0, 3, 3]  # three seeds together


def test_uploads_come_from_one_seed_and_nobody_is_malicious_without_attack(board: Board) -> None:
    seeds = board.runs.filter(board.runs["run"].is_in(board.points["run"].unique().to_list()))["seed"]
    assert set(seeds) == {0}
    joined = board.points.join(board.runs.select("run", "attack"), on="run")
    assert not joined.filter(attack="none")["malicious"].any()
    assert joined.filter(attack="fang").select("run", "round").unique().height == 9
    assert joined.filter(attack="fang").filter("malicious").height == 2 * 9
    guarded = board.scores.join(board.runs.select("run", "attack", "defense"), on="run")
    assert set(guarded["defense"]) == {"union+multikrum"}
    assert guarded.filter(attack="fang").height == 12 * COHORT
    assert guarded.filter("rejected").height == 3 * 12


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("result.json", "{torn"),
        ("result.json", "[]"),
        ("result.json", '{"seed": 0}'),
        ("config.yaml", "a: [1"),
        ("config.yaml", "just text"),
        ("config.yaml", "seed: 0\nattack: {name: none}"),
    ],
)
def test_a_damaged_folder_is_a_warning(tmp_path: Path, name: str, text: str) -> None:
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad", seed=1)
    (tmp_path / "bad" / name).write_text(text)
    board = collect(tmp_path)
    assert board.runs["path"].to_list() == ["good"]
    assert len(board.warnings) == 1
    assert board.warnings[0].startswith("bad: left out, damaged")


def test_a_stray_result_is_a_warning_and_hides_no_run(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "good")
    for place in (tmp_path, tmp_path / "a"):
        (place / "result.json").write_text("{}")
    board = collect(tmp_path)
    assert board.runs["path"].to_list() == ["a/good"]
    assert board.warnings == tuple(
        f"{name}: result.json lies without config.yaml, so it is of no run; move it away" for name in (".", "a")
    )


def test_what_cannot_be_read_is_a_warning_and_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(("good", "file", "folder/run")):
        write_run(tmp_path / name, seed=seed)
    reading, listing = Path.read_text, os.scandir

    def refuse(path: Path) -> None:
        if path in (tmp_path / "file" / "result.json", tmp_path / "folder"):
            raise PermissionError(13, "Permission denied", str(path))

    def read_text(path: Path, *args: Any, **more: Any) -> str:
        refuse(path)
        return reading(path, *args, **more)

    def scandir(path: Any) -> Any:
        refuse(Path(path))
        return listing(path)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(os, "scandir", scandir)
    board = collect(tmp_path)
    assert board.runs["path"].to_list() == ["good"]
    assert sorted(board.warnings) == [
        f"{name}: left out, cannot be read (Permission denied); check its rights" for name in ("file", "folder")
    ]


def test_a_run_without_its_circumstances_still_counts(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "environment.json").unlink()
    (folder / "rounds.jsonl").unlink()
    (folder / "timing.jsonl").write_text('{"rounds": "x"}\n')
    board = collect(tmp_path)
    assert board.runs.height == 1
    assert board.runs["command"][0] is None
    assert len(board.warnings) == 3


def test_torn_and_damaged_lines_are_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "fang", "krum")
    text = (folder / "rounds.jsonl").read_text().splitlines()
    text[3] = text[3].replace('"cohort":[', '"cohort":[{}],"x":[')
    text[7] = text[7][:-1]
    (folder / "rounds.jsonl").write_text("\n".join(text))
    found = scan(folder / "rounds.jsonl", True)
    assert [entry["round"] for entry in found.curve] == [4]  # 8 is damaged, 12 has no end of line
    assert found.damaged > 0
    assert any("damaged line" in w for w in collect(tmp_path).warnings)


def test_unfinished_runs_are_counted(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "result.json").unlink()
    board = collect(tmp_path)
    assert board.runs.is_empty()
    assert board.unfinished == 1


def test_repeats_are_no_independent_seeds(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    board = collect(tmp_path)
    assert board.runs.height == 1
    assert "repeats a" in board.warnings[0]


def test_a_run_folder_is_a_store_of_one(tmp_path: Path) -> None:
    assert collect(write_run(tmp_path / "only")).runs["path"].to_list() == ["only"]


def test_differing_settings_make_groups_and_differing_parameters_make_names(tmp_path: Path) -> None:
    for number, k in enumerate((1, 2, 4)):
        write_run(tmp_path / f"k{k}", "clusterattack", seed=0, attack_params={"clusters": k, "adaptive": True})
        write_run(tmp_path / f"r{number}", "fang", rounds=8 + number)
    board = collect(tmp_path)
    names = set(board.runs["attack"])
    assert names == {"fang", *(f"clusterattack (clusters={k})" for k in (1, 2, 4))}
    assert {g.rpartition(" · ")[2] for g in board.groups} == {"rounds=8", "rounds=9", "rounds=10", "rounds=12"}


def test_clean_runs_serve_groups_with_another_share(tmp_path: Path) -> None:
    write_run(tmp_path / "clean", malicious=0.0)
    write_run(tmp_path / "one", "fang", malicious=0.01)
    write_run(tmp_path / "five", "fang", malicious=0.05)
    write_run(tmp_path / "ten", "fang", malicious=0.1)  # beyond the reserved share: other clients are scored
    board = collect(tmp_path)
    held = {(g, a) for g, a in board.grouped.select("group", "attack").rows()}
    at = "synthetic · mf · {} malicious".format
    assert held == {
        (at("1%"), "none"), (at("1%"), "fang"), (at("5%"), "none"), (at("5%"), "fang"), (at("10%"), "fang"),
    }  # fmt: skip


def test_clean_runs_alone_stay_where_they_are(tmp_path: Path) -> None:
    write_run(tmp_path / "a", malicious=0.01)
    write_run(tmp_path / "b", malicious=0.05, seed=1)
    board = collect(tmp_path)
    assert set(board.members["run"]) == {0, 1}


def test_score_rounds_prefer_those_with_attackers(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "fang", "krum")
    lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    for record in lines[::2]:
        record["malicious"] = []
    (folder / "rounds.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))  # with blanks in the JSON
    found = scan(folder / "rounds.jsonl", True)
    assert [int(part["round"][0]) for part in found.scores] == [2, 4, 6, 8, 10, 12]
    assert len(found.points) == len(found.curve) == 3
