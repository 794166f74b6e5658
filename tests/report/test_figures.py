from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fedsiege.errors import ConfigError
from fedsiege.report.cells import cells
from fedsiege.report.collect import Board
from fedsiege.report.figures import figure2, figure3, figure4

SIGNS = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}


@pytest.fixture
def scores(board: Board) -> pl.DataFrame:
    return cells(board).filter(metric="HR@5", moment="last")


@pytest.mark.parametrize("suffix", SIGNS)
def test_figure2_in_each_format(tmp_path: Path, scores: pl.DataFrame, suffix: str) -> None:
    path = figure2(scores, tmp_path / f"two{suffix}")
    assert path.read_bytes().startswith(SIGNS[suffix])


def test_the_same_numbers_give_the_same_file(tmp_path: Path, scores: pl.DataFrame) -> None:
    first = figure2(scores, tmp_path / "a.svg").read_text()
    assert first == figure2(scores, tmp_path / "b.svg").read_text()
    assert "no attack, no defense" in first
    assert "clusterattack" in first


def test_figure2_shows_what_is_chosen(tmp_path: Path, scores: pl.DataFrame) -> None:
    text = figure2(scores.drop("low", "high"), tmp_path / "a.svg", attacks=["fang"], defenses=["median"]).read_text()
    assert "median" in text
    assert "clusterattack" not in text


def test_figure3_compares_with_and_without(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"clusters": [1, 2, 4, 1, 2], "adaptive": [True] * 3 + [False] * 2, "mean": [0.1, 0.2, 0.3, 0.2, 0.4]}
    )
    text = figure3(frame, tmp_path / "three.svg", baseline=0.5).read_text()
    assert "with adaptive clustering" in text
    assert "initial number of clusters K" in text
    nan = [float("nan")] * 5
    figure3(frame.with_columns(low=pl.Series(nan), high=pl.Series(nan)), tmp_path / "three.png")


def test_figure4_draws_uploads_and_densities(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bad = np.arange(40) < 4
    points = pl.DataFrame({"x": rng.normal(size=40), "y": rng.normal(size=40), "malicious": bad})
    spread = pl.DataFrame({"score": rng.normal(size=40) - 3 * bad, "malicious": bad})
    equal = spread.with_columns(score=pl.lit(1.0))
    path = figure4(
        {"round 10": points, "round 20": points}, {"round 10": spread}, {"round 10": equal, "round 20": equal.clear()},
        tmp_path / "four.svg",
    )  # fmt: skip
    text = path.read_text()
    assert "round 20" in text
    assert "no scores" in text
    with pytest.raises(ConfigError, match="at least one round"):
        figure4({}, {}, {}, tmp_path / "none.svg")


def test_another_suffix_is_refused(tmp_path: Path, scores: pl.DataFrame) -> None:
    with pytest.raises(ConfigError, match=r"\.svg"):
        figure2(scores, tmp_path / "two.gif")
