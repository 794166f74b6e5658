"""What a finished run's result says, from rounds written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fedsiege.arena.runs import assemble, summarise
from tests.small import small


@dataclass
class Written:
    """A run folder that holds these rounds."""

    rounds: list[dict[str, Any]]

    def read_rounds(self) -> Iterator[dict[str, Any]]:
        return iter(self.rounds)


def entry(number: int, cohort: list[int], **more: Any) -> dict[str, Any]:
    score = {"metrics": {"valid": {"HR@5": 0.25 * number}, "test": {"HR@5": 0.5 / number}}} if number != 2 else {}
    usual = {"loss": 0.5, "applied": True, "malicious": [], "rejected": [], "info": {}, "score": None, "metrics": {}}
    return {"round": number, "cohort": cohort, "norm": [1.0] * len(cohort), **usual, **score, **more}


def result(*rounds: dict[str, Any], defense: str = "fldetector") -> dict[str, Any]:
    config = small(defense=defense, attack="gaussian")
    federation, _ = assemble(config)
    federation.is_malicious[:] = False
    federation.is_malicious[[3, 4]] = True
    return summarise(config, federation, Written(list(rounds)))  # type: ignore[arg-type]


def test_losses_are_finite_unless_a_round_with_honest_clients_has_none() -> None:
    sound = entry(1, [1, 3])
    assert result(sound)["finite"] is True
    assert result(sound, entry(3, [3, 4], loss=None, malicious=[3, 4]))["finite"] is True
    assert result(entry(1, [1, 3], loss=None, malicious=[3]), sound)["finite"] is False
    # Honest clients that hold nothing stay where they are.
    assert result(entry(1, [1, 3], loss=None, malicious=[3], norm=[0.0, 1.0]), sound)["finite"] is True
    assert result(entry(1, [1, 3], loss=None, malicious=[3], norm=[None, 0.0]), sound)["finite"] is False
    assert result(entry(1, [1, 2], loss=None, norm=[0.0, 1.0]), sound)["finite"] is False


def test_whoever_was_expelled_while_present_or_absent_counts_at_the_end() -> None:
    rounds = (
        entry(1, [1, 3], malicious=[3], rejected=[[3, "odd"]], expelled=[3]),
        entry(2, [1, 2], rejected=[[2, "odd"]], expelled_absent=[7]),
        entry(3, [1, 4], malicious=[4], expelled=[]),
    )
    found = result(*rounds)["detection"]
    # Of 60 clients 3 and 4 attack; 3 and, wrongly, 7 are out.
    assert found["DACC_final"] == pytest.approx(58 / 60)
    assert found["FPR_final"] == pytest.approx(1 / 58)
    assert found["FNR_final"] == 0.5
    assert "DACC_final" not in result(*rounds, defense="median")["detection"]


def test_counts_scores_and_the_best_round() -> None:
    found = result(entry(1, [1, 2], rejected=[[1, "odd"]]), entry(2, [1, 2], applied=False), entry(3, [1, 2]))
    assert found["rounds_applied"] == 2
    assert found["malicious_clients"] == 2
    assert found["rejects"] is True
    assert found["last"] == {"round": 3, "metrics": {"valid": {"HR@5": 0.75}, "test": {"HR@5": 0.5 / 3}}}
    # By validation the last is best, though not on the test.
    assert found["best"]["round"] == 3
    assert found["selected_by"] == "valid HR@5"
    assert found["detection"]["FPR_pooled"] == pytest.approx(1 / 6)
    assert result(entry(1, [1, 2]))["rejects"] is False
