"""Detection metrics on cases worked by hand, and against loops over rounds and clients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsiege.metrics.detection import final, per_round


def test_two_rounds_by_hand() -> None:
    rounds = np.array([1, 1, 1, 1, 2, 2, 2, 2])
    malicious = np.array([1, 0, 0, 0, 1, 1, 0, 0], bool)
    accepted = np.array([0, 1, 1, 0, 1, 0, 1, 1], bool)
    got = per_round(rounds, malicious, accepted, coalition=4)
    assert got["DACC"] == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert got["FPR"] == pytest.approx((1 / 3 + 0) / 2)
    assert got["FNR"] == pytest.approx((0 + 1 / 2) / 2)
    assert got["AAR"] == pytest.approx(1 / 4)
    assert got["FPR_pooled"] == pytest.approx(1 / 5)
    assert got["FNR_pooled"] == pytest.approx(1 / 3)


def test_rounds_without_attackers_do_not_count_towards_the_false_negative_rate() -> None:
    got = per_round(np.array([1, 1, 2]), np.array([True, False, False]), np.array([True, True, True]), 1)
    assert got["FNR"] == 1.0
    assert got["FPR"] == 0.0


def test_nothing_at_all_is_nan() -> None:
    empty = np.array([], bool)
    assert all(math.isnan(v) for v in per_round(np.array([], int), empty, empty, 0).values())
    clean = per_round(np.array([1]), np.array([False]), np.array([True]), 0)
    assert math.isnan(clean["AAR"])
    assert math.isnan(clean["FNR_pooled"])
    assert clean["DACC"] == 1


def by_loop(rounds: list[int], malicious: list[bool], accepted: list[bool], coalition: int) -> dict[str, float]:
    """The definitions of A.4, round by round."""
    shares: dict[str, list[float]] = {"DACC": [], "FPR": [], "FNR": []}
    aggregated = rejected = 0
    for round_ in sorted(set(rounds)):
        here = [(m, a) for r, m, a in zip(rounds, malicious, accepted) if r == round_]
        good, bad = [a for m, a in here if not m], [a for m, a in here if m]
        shares["DACC"].append((sum(good) + sum(not a for a in bad)) / len(here))
        if good:
            shares["FPR"].append(sum(not a for a in good) / len(good))
        if bad:
            shares["FNR"].append(sum(bad) / len(bad))
        aggregated += sum(bad)
        rejected += sum(not a for a in good)
    means = {k: sum(v) / len(v) if v else math.nan for k, v in shares.items()}
    attackers = sum(malicious)
    honest = len(malicious) - attackers
    return {
        **means,
        "AAR": aggregated / coalition if coalition else math.nan,
        "FPR_pooled": rejected / honest if honest else math.nan,
        "FNR_pooled": aggregated / attackers if attackers else math.nan,
    }


UPLOADS = st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(UPLOADS, st.integers(0, 6))
def test_rates_are_those_of_a_loop_over_rounds(uploads: list[tuple[int, bool, bool]], coalition: int) -> None:
    rounds, malicious, accepted = (list(column) for column in zip(*uploads))
    got = per_round(np.array(rounds), np.array(malicious), np.array(accepted), coalition)
    assert got == pytest.approx(by_loop(rounds, malicious, accepted, coalition), nan_ok=True)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_the_last_judgement_is_that_of_a_loop_over_clients(clients: list[tuple[bool, bool]]) -> None:
    bad, out = np.array([b for b, _ in clients]), [k for k, (_, o) in enumerate(clients) if o]
    honest, attackers = [o for b, o in clients if not b], [o for b, o in clients if b]
    expected = {
        "DACC_final": sum(b == o for b, o in clients) / len(clients),
        "FPR_final": sum(honest) / len(honest) if honest else math.nan,
        "FNR_final": sum(not o for o in attackers) / len(attackers) if attackers else math.nan,
    }
    assert final(bad, np.array(out, np.int64)) == pytest.approx(expected, nan_ok=True)
