"""What reconstruction took and gave, from the records of rounds, and where a result holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedsiege.arena.optimisation import FIRST, Effort
from fedsiege.arena.runs import execute
from tests.small import small


def record(round_: int, score: list[float | None], bad: list[int], info: dict[str, Any]) -> dict[str, Any]:
    return {"round": round_, "cohort": [4, 5, 6], "malicious": bad, "score": score, "info": info}


@pytest.mark.parametrize("name", ["aoi", "redefense.aoi"])
def test_iterations_are_averaged_over_all_rounds_and_errors_over_the_first(name: str) -> None:
    effort = Effort()
    effort.add(record(1, [0.2, 0.4, 0.9], [6], {name: 30.0}))
    effort.add(record(2, [0.3, 0.3, None], [6], {name: 6.0, "bound": 1.0}))
    effort.add(record(FIRST + 1, [5.0, 5.0, 5.0], [6], {name: 0.0}))
    found = effort.summary()
    assert found is not None
    assert found["aoi"] == 12
    assert found["errors"]["malicious"] == {"mean": 0.9, "std": 0.0, "n": 1}
    benign = found["errors"]["benign"]
    assert (benign["mean"], benign["n"]) == (pytest.approx(0.3), 4)
    assert benign["std"] == pytest.approx(0.005**0.5)


def test_other_defenses_have_none() -> None:
    effort = Effort()
    effort.add(record(1, [0.2, 0.4, 0.9], [6], {"bound": 1.0}))
    effort.add({**record(2, [], [], {}), "score": None})
    assert effort.summary() is None


def test_a_result_holds_it_where_uploads_were_reconstructed(tmp_path: Path) -> None:
    shape = {"rounds": 2, "cohort": 1.0, "malicious": 0.25, "reserved": 0.0, "evaluate_every": 2, "project_every": 0}
    data = {
        "dataset": {"name": "digits", "clients": 4, "beta": 1.0},
        "model": {"name": "mlp", "lr": 0.05},
        "attack": "fang",
        "server": {"optimizer": "sgd", "lr": 1.0},
        "federation": shape,
    }
    quick = {"name": "redefense", "schedule": "continuous", "first": 4, "refine": 2, "gamma": 1e9}
    result = execute(small(**data, defense=quick), tmp_path / "a", threads=1)
    assert result["optimisation"]["aoi"] == 3
    assert {group: e["n"] for group, e in result["optimisation"]["errors"].items()} == {"benign": 6, "malicious": 2}
    assert "optimisation" not in execute(small(**data, defense="none"), tmp_path / "b", threads=1)
