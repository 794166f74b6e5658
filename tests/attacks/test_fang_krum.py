"""Fang's attack on Krum against Krum itself on whole vectors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fedsiege.attacks.fang_krum import Contest, FangKrum
from fedsiege.attacks.rays import Ray
from fedsiege.errors import ConfigError
from fedsiege.updates import BlockSpec, DenseBlock, ModelSpec, UpdateBatch
from tests.attacks.dense import DenseWorld
from tests.deadline import within
from tests.worlds import World

COALITION = np.arange(100, 130)
PRESENT = np.array([107, 101, 110])


def krum_takes_crafted(honest: np.ndarray, crafted: np.ndarray, copies: int) -> bool:
    """Run Krum by loops on copies of `crafted` (first) and the honest vectors."""
    points = [crafted] * copies + list(honest)
    neighbours = max(len(points) - copies - 2, 1)
    scores = []
    for i, a in enumerate(points):
        others = sorted(((a - b) ** 2).sum() for j, b in enumerate(points) if j != i)
        scores.append(sum(others[:neighbours]))
    return scores.index(min(scores)) < copies


def expected_far(honest: np.ndarray, limit: int, threshold: float = 1e-5) -> float:
    """Search λ by loops, as the paper tells it."""
    sign = np.sign(honest.mean(0))
    d, p = (sign != 0).sum(), len(honest)
    far = 0.0
    for copies in range(1, limit + 1):
        sums = []
        for i in range(p):
            others = sorted(np.linalg.norm(honest[i] - honest[j]) for j in range(p) if j != i)
            sums.append(sum(others[: max(p - 2, 1)]))
        far = min(sums) / (max(p - copies - 1, 1) * math.sqrt(d))
        far += max(np.linalg.norm(x) for x in honest) / math.sqrt(d)
        while True:
            if krum_takes_crafted(honest, -far * sign, copies):
                return far
            if far / 2 < threshold:
                break
            far /= 2
    return far


def step(attack: FangKrum, world: World, cohort: int, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    view = world.attack_view(attack, present, COALITION, cohort)
    crafted, state = attack.step(world.honest(present), {}, view)
    assert state == {}
    honest = world.honest(view.pool(limit=cohort)).flat().double().numpy()
    return crafted.flat().double().numpy(), honest


@pytest.mark.parametrize("world", [World(torch.float64), DenseWorld(torch.float64), World(torch.float64, head=False)])
@pytest.mark.parametrize("cohort", [3, 4, 6, 12])
@pytest.mark.parametrize("m", [1, 3])
def test_the_search_is_the_papers(world: World, cohort: int, m: int) -> None:
    x, honest = step(FangKrum(), world, cohort, PRESENT[:m])
    far = expected_far(honest, m)
    for row in x:
        np.testing.assert_allclose(row, -far * np.sign(honest.mean(0)), rtol=1e-9, atol=1e-15)


def test_it_opposes_every_coordinate_that_anyone_moves() -> None:
    x, honest = step(FangKrum(), World(), 12, PRESENT)
    np.testing.assert_array_equal(np.sign(x[0]), -np.sign(honest.mean(0)))
    assert np.unique(np.abs(x[0][x[0] != 0])).size == 1


@pytest.mark.parametrize("p", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("copies", [1, 2, 3, 6])
def test_a_contest_is_krum(p: int, copies: int) -> None:
    rng = np.random.default_rng(p)
    outcomes = set()
    for trial in range(60):
        honest = rng.normal(size=(p, 4)) + 1
        crafted = rng.normal(size=4) * rng.choice([0.1, 1, 3]) + 1
        among = ((honest[:, None] - honest) ** 2).sum(2)
        contest = Contest.among(among)
        won = contest.won(((honest - crafted) ** 2).sum(1), copies)
        assert won == krum_takes_crafted(honest, crafted, copies), trial
        outcomes.add(won)
    assert True in outcomes
    if p > copies + 1 and copies == 1:
        assert False in outcomes


def test_a_choice_worked_by_hand() -> None:
    # Honest 0, 1 and 3 on a line: p = 3, so a score is the nearest squared distance. A crafted −λ is selected if it
    # is no farther from 0 than 0 is from 1.
    line = np.array([0.0, 1.0, 3.0])
    contest = Contest.among((line[:, None] - line) ** 2)
    assert contest.neighbours == 1
    assert contest.won((line + 1.0) ** 2, 1)
    assert not contest.won((line + 1.1) ** 2, 1)
    # Two copies lie at distance zero from each other and always win.
    assert contest.won((line + 50.0) ** 2, 2)
    # Theorem 1: 1 / (3 − 1 − 1) + 3, then halved twice to 1.
    ray = Ray(line**2, -line, 1.0)
    assert contest.bound(ray, 1) == 4.0
    assert FangKrum().search(contest, ray, 1) == 1.0


def test_more_copies_only_when_one_cannot_win() -> None:
    # 1 and 1.001 lie so near each other that no step below zero is nearer to anything.
    line = np.array([1.0, 1.001, 3.0])
    contest, ray = Contest.among((line[:, None] - line) ** 2), Ray(line**2, -line, 1.0)
    bound = 0.001 / 1 + 3.0
    assert contest.bound(ray, 1) == pytest.approx(bound)
    halved = FangKrum().search(contest, ray, 1)
    assert 1e-5 <= halved < 2e-5
    assert FangKrum().search(contest, ray, 5) == pytest.approx(bound)


class Alike(World):
    """A dense block alone, in which all honest updates are the same."""

    value = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.spec = ModelSpec((BlockSpec("head", (4, 2)),))

    def honest(self, clients: np.ndarray, round_: int = 1) -> UpdateBatch:
        block = DenseBlock(torch.full((len(clients), 4, 2), self.value))
        return UpdateBatch(np.asarray(clients), np.ones(len(clients)), {"head": block})


def test_equal_and_zero_updates() -> None:
    world = Alike()
    x, honest = step(FangKrum(), world, 12, PRESENT)
    assert (x < 0).all()
    np.testing.assert_allclose(x[0], -expected_far(honest, 3), rtol=1e-6)
    world.value = 0.0
    x, _ = step(FangKrum(), world, 12, PRESENT)
    assert not x.any()


def test_one_malicious_client() -> None:
    world = World(torch.float64)
    alone = np.array([101])
    attack = FangKrum()
    crafted, _ = attack.step(world.honest(alone), {}, world.attack_view(attack, alone, alone))
    honest = world.honest(alone).flat().numpy()
    d = (honest[0] != 0).sum()
    far = np.linalg.norm(honest[0]) / math.sqrt(d)
    np.testing.assert_allclose(crafted.flat().numpy()[0], -far * np.sign(honest[0]), rtol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bound_that_is_not_finite_ends_the_search(value: float) -> None:
    line = np.array([0.0, 1.0, value])
    with within(60), np.errstate(invalid="ignore"):
        contest, ray = Contest.among((line[:, None] - line) ** 2), Ray(line**2, -line, 1.0)
        assert not math.isfinite(contest.bound(ray, 1))
        assert FangKrum().search(contest, ray, 3) == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("base", [World, DenseWorld])
def test_clients_that_have_diverged_count_for_nothing(base: type[World], value: float) -> None:
    class Lost(base):  # type: ignore[valid-type, misc]
        def honest(self, clients: np.ndarray, round_: int = 1) -> UpdateBatch:
            updates = super().honest(clients, round_)
            return updates.scale(np.where(np.isin(clients, [101, 115]), value, 1.0))

    with within(60):
        x, honest = step(FangKrum(), Lost(torch.float64), 30, PRESENT)
    left = honest[np.abs(honest).max(1) < 1e15]
    assert len(left) == 28
    np.testing.assert_allclose(x[0], -expected_far(left, 3) * np.sign(left.mean(0)), rtol=1e-9)


@pytest.mark.parametrize("world", [World(), DenseWorld()])
def test_epsilon_scatters_all_but_the_lowest_id(world: World) -> None:
    same, _ = step(FangKrum(), world, 12, PRESENT)
    apart, _ = step(FangKrum(epsilon=0.02), world, 12, PRESENT)
    lowest = int(np.argmin(PRESENT))
    np.testing.assert_array_equal(apart[lowest], same[lowest])
    lengths = np.linalg.norm(apart - same, axis=1)
    np.testing.assert_allclose(np.delete(lengths, lowest), 0.02, rtol=1e-4)
    assert len(np.unique(apart, axis=0)) == PRESENT.size


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["threshold", "epsilon"])
def test_ranges(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"fang-krum\.{field}"):
        FangKrum(**{field: value})


def test_a_threshold_of_zero_would_never_end() -> None:
    with pytest.raises(ConfigError, match=r"fang-krum\.threshold"):
        FangKrum(threshold=0.0)
