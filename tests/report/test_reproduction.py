"""Figures of the paper from stored runs: what goes into them is what was stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedsiege.report import reproduction


def row(attack: str, defense: str, hr: float, variant: str = "") -> dict:
    return {"attack": attack, "defense": defense, "variant": variant, "HR@5": hr, "HR@5 low": None, "HR@5 high": None}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with (folder / "rounds.jsonl").open("w") as file:
        for r in range(1, 401):
            bad = [7] if r % 4 == 0 else []
            record = {"round": r, "cohort": list(range(8)), "malicious": bad, "score": (r + rng.random(8)).tolist()}
            if r % 10 == 0:
                record["projection"] = rng.random((8, 2)).tolist()
            file.write(json.dumps(record) + "\n")
    return folder


def test_columns_are_rounds_with_an_attacker_and_scores_are_centred(run: Path) -> None:
    at = reproduction.projected_with_attacker(run, 4)
    assert len(at) == 4
    assert all(r % 20 == 0 for r in at)
    points, scores = reproduction._columns(run, at)
    assert list(points) == [f"round {r}" for r in at]
    assert points[f"round {at[0]}"]["malicious"].to_list() == [False] * 7 + [True]
    pooled = scores[f"round {at[1]}"]
    rounds = [r for r in range(1, 401) if abs(r - at[1]) <= reproduction.STRETCH]
    assert pooled.height == 8 * len(rounds)
    assert abs(pooled["score"].to_numpy()).max() < 1
    assert pooled["malicious"].sum() == sum(r % 4 == 0 for r in rounds)


def test_a_run_without_attackers_has_no_columns(tmp_path: Path) -> None:
    (tmp_path / "rounds.jsonl").write_text(json.dumps({"round": 1, "malicious": [], "projection": []}) + "\n")
    assert reproduction.projected_with_attacker(tmp_path, 3) == []


def test_each_figure_is_drawn_from_its_table(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    original = reproduction.figure3
    monkeypatch.setattr(
        reproduction, "figure3", lambda frame, path, **k: (seen.update(frame=frame, **k), original(frame, path, **k))[1]
    )
    table = [
        row("none", "none", 0.04),
        row("clusterattack", "none", 0.02),
        row("clusterattack", "none", 0.03, "k8-fixed"),
    ]
    files = reproduction.draw("aaai23-fig3", table, {}, tmp_path / "out")
    assert [f.suffix for f in files] == [".svg", ".png"]
    assert seen["baseline"] == 0.04
    assert seen["frame"].select("clusters", "adaptive", "mean").rows() == [(2, True, 0.02), (8, False, 0.03)]

    bars = [row("none", "none", 0.04), row("none", "krum", 0.03), row("lie", "krum", 0.02)]
    assert all(f.stat().st_size > 1000 for f in reproduction.draw("aaai23-fig2", bars, {}, tmp_path / "out"))
    folders = {"mf/x/with-cl/seed0": run, "mf/x/without-cl/seed0": run}
    assert all(f.stat().st_size > 1000 for f in reproduction.draw("aaai23-fig4", [], folders, tmp_path / "out"))
    assert reproduction.draw("aaai23-fig4", [], {"mf/x/with-cl/seed0": run}, tmp_path / "out") == []
    assert reproduction.draw("aaai23-table1", bars, {}, tmp_path / "out") == []
