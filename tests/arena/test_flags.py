"""Each flag is raised where it should be, and nowhere else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fedsiege.arena import flags
from fedsiege.arena.flags import (
    RULES,
    adapts,
    never_adaptive,
    not_finite,
    of_runs,
    only_noise,
    outside_band,
    rejects_honest,
    unstable,
    was_told,
)
from tests.arena.records import around, cell, record


def seeded(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_a_clean_cell_has_no_flag() -> None:
    assert of_runs(cell("fang", "krum", around(0.5))) == ()


class TestIdle:
    def test_an_attack_in_which_nobody_took_part(self) -> None:
        drawn = record("fang", "krum", 0, 0.5, detection={"FPR_pooled": 0.0, "FNR_pooled": 0.25})
        spared = [record("fang", "krum", s, 0.5, detection={"FPR_pooled": 0.0, "FNR_pooled": math.nan}) for s in (1, 3)]
        (flag,) = of_runs([drawn, *spared])
        assert flag == flags.Flag("idle", f"{RULES['idle']} (seeds 1, 3)")
        assert of_runs([drawn]) == ()

    def test_a_clean_run_and_one_of_which_nothing_is_known(self) -> None:
        clean = record("none", "krum", 0, 0.5, detection={"FPR_pooled": 0.0, "FNR_pooled": math.nan})
        assert of_runs([clean]) == of_runs([record("fang", "krum", 0, 0.5, detection={})]) == ()


class TestBand:
    def test_inside_ends_included(self) -> None:
        assert outside_band(seeded(0.5, 0.6, 0.7), (0.5, 0.7)) is None
        assert outside_band(seeded(0.1), None) is None

    @pytest.mark.parametrize("value", [0.49, 0.71, math.nan, math.inf])
    def test_outside(self, value: float) -> None:
        flag = outside_band(seeded(0.6, value), (0.5, 0.7))
        assert flag is not None
        assert flag.code == "band"
        assert "seed 1" in flag.message
        assert "seed 0" not in flag.message


class TestNoise:
    def test_an_attack_that_does_more(self) -> None:
        assert only_noise(seeded(0.3, 0.4, 0.2), seeded(0.5, 0.55, 0.5)) is None
        assert only_noise(seeded(0.3), seeded(0.5)) is None

    def test_without_noise_nothing_is_said(self) -> None:
        assert only_noise(seeded(0.3, 0.4), {}) is None
        assert only_noise({0: 0.3}, {1: 0.2}) is None

    def test_an_attack_that_does_the_same_or_less(self) -> None:
        same = seeded(0.5, 0.55, 0.5)
        for attack in (same, seeded(0.6, 0.6, 0.6)):
            flag = only_noise(attack, same)
            assert flag is not None
            assert flag.code == "noise"
        assert only_noise(seeded(0.5), seeded(0.5)) is not None

    def test_an_attack_that_does_more_only_on_the_average(self) -> None:
        # It takes 0.3 more under one seed, 0.01 less under the others: the interval holds zero.
        flag = only_noise(seeded(0.2, 0.51, 0.51, 0.51), seeded(0.5, 0.5, 0.5, 0.5))
        assert flag is not None
        assert "0.0675" in flag.message

    def test_seeds_are_paired(self) -> None:
        # Scatter over seeds is far larger than the effect.
        noise = seeded(0.1, 0.3, 0.5, 0.7)
        assert only_noise({s: v - 0.01 for s, v in noise.items()}, noise) is None


class TestRejects:
    @pytest.mark.parametrize("share", [0.0, 0.2])
    def test_up_to_a_fifth(self, share: float) -> None:
        assert rejects_honest([record("fang", "krum", 0, 0.5, detection={"FPR_pooled": share})]) is None

    def test_more(self) -> None:
        runs = [
            record("fang", "krum", 0, 0.5, detection={"FPR_pooled": 0.0}),
            record("fang", "krum", 1, 0.5, detection={"FPR_pooled": 0.2001, "FPR": 0.0}),
        ]
        flag = rejects_honest(runs)
        assert flag is not None
        assert flag.code == "rejects"
        assert "seed 1: 20.01 %" in flag.message

    def test_the_mean_over_rounds_where_the_pooled_share_is_missing(self) -> None:
        for pooled in ({}, {"FPR_pooled": math.nan}):
            assert rejects_honest([record("fang", "krum", 0, 0.5, detection={"FPR": 0.3, **pooled})])

    def test_whom_a_defense_expels(self) -> None:
        # Half of all honest clients expelled in round 1 of 500: over the uploads that were made it is next to nothing.
        for share, flagged in ((0.2, False), (0.5, True)):
            runs = [record("fang", "redefense", 3, 0.5, detection={"FPR_pooled": 0.002, "FPR_final": share})]
            flag = rejects_honest(runs)
            assert (flag is not None) == flagged
        assert flag is not None
        assert "seed 3: 50 % of clients, expelled" in flag.message

    def test_the_larger_share_is_named(self) -> None:
        flag = rejects_honest([record("fang", "afa", 0, 0.5, detection={"FPR": 0.4, "FPR_final": 0.3})])
        assert flag is not None
        assert "seed 0: 40 % of uploads" in flag.message
        nothing = {"FPR": 0.1, "FPR_final": math.nan}
        assert rejects_honest([record("fang", "afa", 0, 0.5, detection=nothing)]) is None

    def test_without_detection(self) -> None:
        assert rejects_honest([record("fang", "krum", 0, 0.5, detection={})]) is None
        assert rejects_honest([record("fang", "krum", 0, 0.5, detection={"FPR": math.nan})]) is None


@pytest.mark.parametrize(
    "more",
    [
        {"value": math.nan},
        {"value": math.inf},
        {"finite": False},
        {"tail": (0.5,) * 5 + (math.nan,) + (0.5,) * 4},
        {"scores": {"HR@10": 0.5, "NDCG@10": math.nan}},
    ],
)
def test_what_is_not_finite(more: dict[str, Any]) -> None:
    good = record("fang", "krum", 0, 0.5)
    bad = record("fang", "krum", 3, **{"value": 0.5, **more})
    flag = not_finite([good, bad])
    assert flag is not None
    assert flag.code == "nonfinite"
    assert "seed 3" in flag.message
    assert not_finite([good]) is None


class TestUnstable:
    def run(self, tail: tuple[float, ...]) -> flags.Flag | None:
        return unstable([record("fang", "krum", 0, tail[-1] if tail else 0.5, tail=tail)])

    def test_a_collapse_at_the_end(self) -> None:
        flag = self.run((0.5,) * 9 + (0.2,))
        assert flag is not None
        assert flag.code == "unstable"
        assert "0.2000 against 0.5000" in flag.message

    def test_a_lucky_end(self) -> None:
        assert self.run((0.50, 0.51, 0.49, 0.50, 0.52, 0.48, 0.50, 0.49, 0.51, 0.8)) is not None

    def test_the_floor_is_worked_by_hand(self) -> None:
        # Median 0.5, no spread: 5 % of it are allowed, 0.025.
        assert self.run((0.5,) * 9 + (0.524,)) is None
        assert self.run((0.5,) * 9 + (0.526,)) is not None
        # Median 0.01: 0.005 are allowed.
        assert self.run((0.01,) * 9 + (0.0149,)) is None
        assert self.run((0.01,) * 9 + (0.0152,)) is not None

    def test_the_spread_is_worked_by_hand(self) -> None:
        # Median 0.5, median deviation 0.02: 6 · 1.4826 · 0.02 = 0.178 is allowed.
        body = (0.48, 0.52, 0.5, 0.48, 0.52, 0.48, 0.5, 0.52, 0.48)
        assert self.run((*body, 0.67)) is None
        assert self.run((*body, 0.68)) is not None

    def test_a_steady_climb_is_not_far(self) -> None:
        assert self.run(tuple(np.linspace(0.1, 0.6, 10))) is None

    @pytest.mark.parametrize(
        "tail",
        [
            # One of the stored runs, FedAvg under adaptive(fang): six deviations are 0.18, more than there is to lose.
            (0.01, 0.14, 0.19, 0.15, 0.17, 0.22, 0.16, 0.14, 0.10, 0.02),
            (0.5, 0.5, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02),
            (0.8, 0.6, 0.8, 0.6, 0.8, 0.6, 0.8, 0.6, 0.8, 0.0),
        ],
    )
    def test_a_collapse_of_what_moves_much(self, tail: tuple[float, ...]) -> None:
        assert self.run(tail) is not None
        # It is the fall that is flagged: the same tail with its median at the end is not.
        assert self.run((*tail[:9], 0.55 * float(np.median(tail)))) is None

    def test_half_the_median_may_be_a_fall_within_the_noise(self) -> None:
        # Median 0.1, deviation 0.07413: 0.03 lies within it, 0.02 does not.
        body = (0.05, 0.15, 0.05, 0.15, 0.05, 0.15, 0.1, 0.1, 0.15)
        assert self.run((*body, 0.03)) is None
        assert self.run((*body, 0.02)) is not None
        # A fall of 0.02 or less says nothing.
        assert self.run((0.001, 0.04, 0.001, 0.04, 0.02, 0.02, 0.001, 0.04, 0.02, 0.001)) is None

    def test_a_small_fall_that_is_wider_than_the_noise_is_no_collapse(self) -> None:
        # Median 0.03, deviation 0.01, half the median 0.015: falls of 0.018 and 0.021.
        body = (0.02325, 0.03675, 0.03, 0.02325, 0.03675, 0.03, 0.02325, 0.03675, 0.03)
        assert self.run((*body, 0.012)) is None
        assert self.run((*body, 0.009)) is not None

    def test_too_few_to_tell(self) -> None:
        assert self.run((0.5, 0.5, 0.5, 0.1)) is None
        assert self.run((0.5, 0.5, 0.5, 0.5, 0.1)) is not None
        assert self.run(()) is None

    def test_values_that_are_not_finite_have_a_flag_of_their_own(self) -> None:
        assert self.run((0.5,) * 9 + (math.nan,)) is None
        assert self.run((0.5,) * 8 + (math.nan, 0.1)) is not None

    def test_the_asr_counts_too(self) -> None:
        steady, jump = (0.5,) * 10, (0.1,) * 9 + (0.9,)
        flag = unstable([record("dba", "krum", 2, 0.5, tail=steady, asr_tail=jump)])
        assert flag is not None
        assert flag.message.endswith("(seed 2: ASR 0.9000 against 0.1000)")
        both = unstable([record("dba", "krum", 2, 0.2, tail=(0.5,) * 9 + (0.2,), asr_tail=jump)])
        assert both is not None
        assert both.message.endswith("(seed 2: 0.2000 against 0.5000 and ASR 0.9000 against 0.1000)")
        assert unstable([record("dba", "krum", 2, 0.5, tail=steady, asr_tail=steady)]) is None

    def test_noise_is_seldom_far(self) -> None:
        # The floor is out of reach: values scatter by 1 around 0, and 1 of 470 is expected.
        rng = np.random.default_rng(0)
        runs = [record("fang", "krum", i, 0.0, tail=tuple(rng.normal(size=10))) for i in range(2000)]
        assert sum(unstable([run]) is not None for run in runs) < 20


def test_an_adaptive_attack_was_faced_or_not() -> None:
    plain = cell("fang", "krum", around(0.5))
    flag = never_adaptive(plain)
    assert flag is not None
    assert flag.code == "unadapted"
    for attack in ("adaptive(fang)", "adaptive-labelflip"):
        assert never_adaptive([*plain, record(attack, "krum", 0, 0.4)]) is None
    assert never_adaptive(cell("fang", "none", around(0.5))) is None
    faced = [*plain, record("adaptive(fang)", "krum", 0, 0.4)]
    flag = never_adaptive(faced, {"adaptive(fang)": "too mild"})
    assert flag is not None
    assert flag.message == f"{RULES['unadapted']} (too mild)"
    assert never_adaptive([*faced, record("adaptive(lie)", "krum", 0, 0.4)], {"adaptive(fang)": "too mild"}) is None


@pytest.mark.parametrize(
    ("attack", "inner"),
    [("adaptive(fang)", "fang"), ("adaptive-labelflip", "labelflip"), ("fang", None), ("adaptiveness", None)],
)
def test_what_an_adaptive_attack_adapts(attack: str, inner: str | None) -> None:
    assert adapts(attack) == inner


def test_who_was_told() -> None:
    flag = was_told([record("fang", "krum", 0, 0.5), record("fang", "krum", 1, 0.5, told=5)])
    assert flag is not None
    assert flag.code == "told"
    assert "(5)" in flag.message
    assert was_told(cell("fang", "krum", around(0.5))) is None
    assert was_told([record("fang", "none", 1, 0.5, told=5)]) is None
    flag = was_told([record("fang", "normbound", 0, 0.5, told_norm=True)])
    assert flag is not None
    assert flag.message == "was told the mean norm of benign uploads"


def test_every_rule_has_words() -> None:
    assert list(RULES) == ["band", "noise", "rejects", "nonfinite", "unstable", "unadapted", "told", "idle"]
