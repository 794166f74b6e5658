"""Curves over a varied setting: what the rows of a table become."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from fedsiege.arena.reproduce import lite, points, target
from fedsiege.arena.targets import LITE, TARGETS
from fedsiege.errors import ConfigError
from fedsiege.report import reproduction
from fedsiege.report.sweeps import sweep


def row(attack: str, defense: str, malicious: float, variant: str, tacc: float, **more: float | None) -> dict:
    line = {"attack": attack, "defense": defense, "malicious": malicious, "variant": variant}
    for name, value in {"TACC": tacc, "ASR": None, "DACC_final": None, **more}.items():
        line |= {name: value, f"{name} low": None, f"{name} high": None}
    return line


def test_rows_become_curves_in_percent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    original = reproduction.sweep
    monkeypatch.setattr(
        reproduction, "sweep", lambda frame, path, **k: (seen.update(frame=frame, **k), original(frame, path, **k))[1]
    )
    table = [
        row("fang", "redefense", 0.28, "beta0.5", 0.6, DACC_final=1.0),
        row("fang", "redefense", 0.28, "", 0.5, DACC_final=1.0),
        row("scaling", "flame", 0.28, "", 0.4, ASR=0.25),
    ]
    files = reproduction.draw("icml24-fig3", table, {}, tmp_path)
    assert [f.name for f in files] == ["icml24-fig3.svg", "icml24-fig3.png"]
    assert all(f.stat().st_size > 1000 for f in files)
    kept = seen["frame"].filter(measure="TACC (%)").select("defense", "at", "mean").rows()
    assert kept == [("redefense", 0.5, 60.0), ("redefense", 0.1, 50.0), ("flame", 0.1, 40.0)]
    assert seen["frame"].filter(measure="ASR (%)")["mean"].to_list() == [25.0]
    assert seen["axis"].startswith("β")
    assert reproduction.draw("icml24-fig3", [], {}, tmp_path) == []
    assert reproduction.draw("icml24-table1", table, {}, tmp_path) == []


@pytest.mark.parametrize("id_", [f"icml24-fig{k}" for k in (2, 3, 4, 5)])
def test_every_point_of_a_figure_has_its_place_on_the_axis(id_: str) -> None:
    field = {"icml24-fig2": "malicious", "icml24-fig3": "beta", "icml24-fig4": "epochs", "icml24-fig5": "cohort"}[id_]
    for name in (id_, lite(id_).id):
        axis = target(name).sweep
        assert axis is not None
        for point in points(name):
            assert axis.value({"malicious": point.malicious, "variant": point.variant}) == getattr(point, field)


def test_every_figure_of_curves_has_an_axis() -> None:
    figures = [t for t in (*TARGETS.values(), *LITE.values()) if t.paper == "icml24" and t.figure]
    assert len(figures) == 8
    assert all(t.sweep is not None for t in figures)


def test_the_same_numbers_give_the_same_file(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "attack": ["a"] * 3,
            "defense": ["d", "d", "e"],
            "measure": ["m"] * 3,
            "at": [2.0, 1.0, 1.0],
            "mean": [1.0] * 3,
        }
    )
    first = sweep(frame, tmp_path / "a.svg", axis="so many").read_text()
    assert first == sweep(frame, tmp_path / "b.svg", axis="so many").read_text()
    assert "so many" in first
    with pytest.raises(ConfigError, match="at least one value"):
        sweep(frame.clear(), tmp_path / "c.svg", axis="x")
