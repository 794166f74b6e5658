"""Exports: what stands in them, and that they are the same bytes whenever the runs are the same."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import polars as pl
import pytest

from fedsiege.arena.export import COSTS, ORIGIN, frame, write
from fedsiege.arena.record import read_record
from fedsiege.arena.runs import Stopped, execute
from fedsiege.arena.store import Store
from fedsiege.errors import ConfigError, RunError
from tests.arena.stored import CARD, edit, failed, finished, grid
from tests.small import small


def table(root: Path, **more: bool) -> pl.DataFrame:
    with Store(root) as runs:
        return frame(runs.records(status=None), **more)


def test_a_row_says_what_the_record_says(tmp_path: Path) -> None:
    grid(tmp_path)
    open_card = {**CARD, "division": "open", "changes": ["server.lr", "seed"]}
    finished(tmp_path / "z", "lie", "krum", 7, card=open_card, told=3)
    failed(tmp_path / "failed", error='RunError: "a, b"')
    write(table(tmp_path, costs=True, origin=True), tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert list(rows) == sorted(rows)
    assert len(rows) == 10
    row, record = rows["z"], read_record(tmp_path / "z", tmp_path)
    for name in ("card", "card_hash", "defense_label", "metric", "config_hash", "data_sha256", "version", "command"):
        assert row[name] == getattr(record, name)
    for name in ("value", "best", "malicious", "wall_seconds", "peak_bytes", "seconds_per_round"):
        assert float(row[name]) == getattr(record, name)
    assert (row["told"], row["seed"], row["rejects"], row["adaptive"]) == ("3", "7", "true", "false")
    assert row["changes"] == "server.lr=0.002 seed"
    assert [float(x) for x in row["tail"].split()] == list(record.tail)
    assert {k: float(row[f"test {k}"]) for k in record.scores} == record.scores
    assert {k: float(row[f"detection {k}"] or "nan") for k in record.detection if k != "FNR_final"} == {
        k: v for k, v in record.detection.items() if not math.isnan(v)
    }
    assert json.loads(row["versions"]) == record.versions
    bad = rows["failed"]
    assert (bad["status"], bad["error"], bad["value"], bad["finite"], bad["test HR@5"]) == (
        "failed", 'RunError: "a, b"', "", "", "",
    )  # fmt: skip


def test_columns_are_sorted_and_ask_no_clock(tmp_path: Path) -> None:
    grid(tmp_path)
    plain, whole = table(tmp_path), table(tmp_path, costs=True, origin=True)
    assert whole.columns == [*plain.columns, *COSTS, *ORIGIN]
    assert not {*COSTS, *ORIGIN} & set(plain.columns)
    scores = [name for name in plain.columns if name.startswith("test ")]
    assert scores == sorted(scores) == ["test HR@10", "test HR@5", "test NDCG@10", "test NDCG@5"]
    assert plain.columns[-len(scores) - 7 :] == [*scores, *(f"detection {k}" for k in sorted(
        ("DACC", "FPR", "FNR", "AAR", "FPR_pooled", "FNR_pooled", "FNR_final")))]  # fmt: skip


def test_runs_with_other_scores_share_a_table(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    last = {"round": 12, "metrics": {"test": {"TACC": 0.5, "ASR": None}}}
    edit(finished(tmp_path / "b") / "result.json", last=last, best=last, metric="TACC")
    made = table(tmp_path)
    assert made["test TACC"].to_list() == [None, 0.5]
    assert made["test ASR"].to_list() == [None, None]
    assert made["test HR@5"].to_list() == [0.05, None]
    assert made["value"].to_list() == [0.05, 0.5]


def test_no_runs(tmp_path: Path) -> None:
    made = table(tmp_path)
    assert made.height == 0
    assert made.columns[0] == "path"
    write(made, tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text().count("\n") == 1


def test_parquet_holds_what_csv_holds(tmp_path: Path) -> None:
    grid(tmp_path)
    made = table(tmp_path)
    write(made, tmp_path / "x.parquet")
    assert pl.read_parquet(tmp_path / "x.parquet").equals(made)
    first = (tmp_path / "x.parquet").read_bytes()
    write(table(tmp_path), tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").read_bytes() == first


def test_an_interrupted_grid_exports_the_same_bytes(tmp_path: Path) -> None:
    for name, stops in (("whole", ()), ("pieces", (4, 9))):
        for seed in (0, 1):
            folder = tmp_path / name / "cells" / f"seed{seed}"
            config = small(seed=seed, federation={"rounds": 12, "evaluate_every": 4})
            for stop in stops:
                turns = iter(range(1, 100))
                with pytest.raises(Stopped):
                    execute(config, folder, threads=1, stop=lambda turns=turns, stop=stop: next(turns) == stop // 2)
            execute(config, folder, threads=1)
        write(table(tmp_path / name), tmp_path / f"{name}.csv")
        write(table(tmp_path / name), tmp_path / f"{name}.parquet")
    for end in ("csv", "parquet"):
        assert (tmp_path / f"whole.{end}").read_bytes() == (tmp_path / f"pieces.{end}").read_bytes()
    assert (tmp_path / "whole.csv").read_text().count("finished") == 2
    # It would notice: another result gives other bytes.
    edit(tmp_path / "pieces/cells/seed1/result.json", rejects=False)
    write(table(tmp_path / "pieces"), tmp_path / "pieces.csv")
    assert (tmp_path / "whole.csv").read_bytes() != (tmp_path / "pieces.csv").read_bytes()


def test_order_of_making_does_not_matter(tmp_path: Path) -> None:
    grid(tmp_path / "a")
    table(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for folder in sorted((tmp_path / "a").iterdir(), reverse=True):
        if folder.is_dir():
            shutil.copytree(folder, tmp_path / "b" / folder.name)
            table(tmp_path / "b")
    assert table(tmp_path / "a").equals(table(tmp_path / "b"))


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"end in \.parquet or \.csv"):
        write(table(tmp_path), tmp_path / "x.xlsx")
    with pytest.raises(RunError, match="cannot write"):
        write(table(tmp_path), tmp_path / "nowhere" / "x.csv")
