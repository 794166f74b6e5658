"""``fedsiege store`` and ``fedsiege export``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from fedsiege.arena.runs import execute
from tests.arena.stored import CARD, finished, grid
from tests.cli.conftest import Said
from tests.small import small

Call = Callable[..., Said]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return grid(tmp_path / "runs")


def test_rebuild_and_info(fedsiege: Call, runs: Path) -> None:
    said = fedsiege("store", "rebuild", runs)
    assert (said.status, said.err) == (0, "")
    assert said.out == f"runs: 8 finished, 0 failed, 0 unfinished; index: {runs}/index.sqlite\n"
    finished(runs / "new", card=None)
    said = fedsiege("store", "info", runs)
    assert said.status == 0
    assert "toy-v1" in said.out
    assert "9 finished" in said.out
    found = json.loads(fedsiege("store", "info", runs, "--json").out)
    assert [group["runs"] for group in found["groups"]] == [1, 8]
    assert found["damaged"] == {}


def test_damage_is_said_and_the_rest_goes_on(fedsiege: Call, runs: Path) -> None:
    (runs / "lie/krum/seed0/result.json").write_text("{")
    for words in (("store", "rebuild", runs), ("store", "info", runs), ("export", runs, "--out", "x.csv")):
        said = fedsiege(*words)
        assert said.status == 1
        assert len(said.err.splitlines()) == 1
        assert said.err.startswith("left out: lie/krum/seed0: ")
    assert pl.read_csv("x.csv").height == 7


def test_export(fedsiege: Call, runs: Path) -> None:
    finished(runs / "other", card={**CARD, "id": "other-v1", "hash": "f" * 12})
    assert fedsiege("export", runs, "--out", "all.parquet", "--costs").out == "all.parquet\n"
    table = pl.read_parquet("all.parquet")
    assert table.height == 9
    assert table["wall_seconds"].to_list() == [12.5] * 9
    assert "command" not in table.columns
    assert fedsiege("export", runs, "--out", "one.csv", "--card", "other-v1", "--origin").status == 0
    assert pl.read_csv("one.csv")["path"].to_list() == ["other"]
    assert fedsiege("export", runs, "--out", "hash.csv", "--card", "f" * 12, "--origin").status == 0
    assert Path("hash.csv").read_bytes() == Path("one.csv").read_bytes()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("export", "runs"), "error: say where to:"),
        (("export", "runs", "--out", "x.txt"), "error: cannot tell the format of x.txt"),
        (("export", "runs", "--out", "x.csv", "--card", "toy-v2"), "did you mean 'toy-v1'?"),
        (("export", "runs", "--to", "wandb:x"), "error: there is no sink 'wandb'"),
        (("export", "nowhere", "--out", "x.csv"), "error: nowhere is not a folder"),
        (("store", "rebuild", "nowhere"), "error: nowhere is not a folder"),
    ],
)
def test_errors_are_one_line(fedsiege: Call, runs: Path, words: tuple[str, ...], error: str) -> None:
    said = fedsiege(*words)
    assert (said.status, said.out) == (2, "")
    assert error in said.err
    assert len(said.err.splitlines()) == 1


def test_runs_are_played_again(fedsiege: Call, tmp_path: Path) -> None:
    execute(small(attack="none", defense="none", federation={"rounds": 3}), tmp_path / "runs/one", threads=1)
    said = fedsiege("store", "replay", tmp_path / "runs", "--rounds", "2", "--jobs", "1")
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines() == [f"[1/1] {tmp_path}/runs/one: 2 rounds as stored", "1 of 1 runs came out as stored"]
    rounds = tmp_path / "runs/one/rounds.jsonl"
    rounds.write_text(rounds.read_text().replace('"applied":true', '"applied":false'))
    said = fedsiege("store", "replay", tmp_path / "runs/one", "--jobs", "1")
    assert said.status == 1
    assert "differs in round 1: applied" in said.out
    assert "no runs in" in fedsiege("store", "replay", tmp_path / "nothing").err
