"""Gaussian, LIE and Fang against loops over the coalition's honest updates, and against byzfl."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from fedsiege.attacks import Attack
from fedsiege.attacks.fang import Fang
from fedsiege.attacks.gaussian import Gaussian
from fedsiege.attacks.lie import FALLBACK, LIE, z_max
from fedsiege.errors import ConfigError
from fedsiege.updates import UpdateBatch
from tests import peers
from tests.worlds import World

COALITION = np.arange(100, 130)
PRESENT = np.array([107, 101, 110])


def attacked(attack: Attack, world: World, cohort: int = 12) -> tuple[UpdateBatch, np.ndarray]:
    """Return the crafted uploads and the honest updates they were made of, ``(pool, parameters)``."""
    view = world.attack_view(attack, PRESENT, COALITION, cohort)
    pool = view.pool(limit=cohort)
    assert pool.size == min(cohort, COALITION.size)
    assert set(PRESENT) <= set(pool)
    crafted, _ = attack.step(world.honest(PRESENT), attack.init(world.spec, np.random.default_rng(0)), view)
    return crafted, world.honest(pool).flat().double().numpy()


def test_lie_shifts_updates_up_as_gradients_go_down() -> None:
    crafted, honest = attacked(LIE(z=0.7), World(torch.float64))
    gradients = -honest
    expected = -(gradients.mean(0) - 0.7 * gradients.std(0))
    for row in crafted.flat().numpy():
        np.testing.assert_allclose(row, expected, rtol=1e-10, atol=1e-15)


def test_lie_shifts_updates_down_where_the_formula_is_for_updates() -> None:
    crafted, honest = attacked(LIE(z=0.7, direction="update"), World(torch.float64))
    for row in crafted.flat().numpy():
        np.testing.assert_allclose(row, honest.mean(0) - 0.7 * honest.std(0), rtol=1e-10, atol=1e-15)


def test_lie_equals_byzfl() -> None:
    crafted, honest = attacked(LIE(z=0.7), World(torch.float64))
    # byzfl takes the sample variance (n − 1) and adds τ · std to what it is given.
    n = honest.shape[0]
    expected = peers.byzfl().ALittleIsEnough(tau=0.7 * np.sqrt((n - 1) / n))(honest)
    np.testing.assert_allclose(crafted.flat().numpy()[0], expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(("n", "m"), [(50, 24), (50, 10), (50, 5), (51, 12), (20, 4)])
def test_z_is_the_papers(n: int, m: int) -> None:
    s = np.floor(n / 2 + 1) - m
    assert z_max(n, m) == pytest.approx(norm.ppf((n - m - s) / (n - m)))


def test_z_of_the_papers_example() -> None:
    # Section 3.2: 50 workers, 24 of them corrupted, two supporters needed.
    assert z_max(50, 24) == pytest.approx(1.43, abs=0.01)


@pytest.mark.parametrize(("n", "m"), [(50, 1), (50, 2), (1, 1), (2, 1), (10, 6), (10, 10), (10, 8)])
def test_z_where_the_formula_gives_none(n: int, m: int) -> None:
    assert z_max(n, m) == FALLBACK


def test_lie_counts_the_attackers_of_the_round() -> None:
    world = World(torch.float64)
    crafted, honest = attacked(LIE(), world, cohort=11)
    expected = honest.mean(0) + z_max(11, 3) * honest.std(0)
    np.testing.assert_allclose(crafted.flat().numpy()[0], expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(("low", "high"), [(3.0, 4.0), (0.0, 1.0), (2.0, 2.0)])
def test_fang_goes_against_the_mean(low: float, high: float) -> None:
    crafted, honest = attacked(Fang(low=low, high=high), World(torch.float64))
    mean, std = honest.mean(0), honest.std(0)
    x = crafted.flat().numpy()
    touched = std > 0
    steps = (mean - x)[:, touched] / (np.sign(mean) * std)[touched]
    assert steps.min() >= low - 1e-6
    assert steps.max() <= high + 1e-6
    if high > low:
        assert abs(steps.mean() - (low + high) / 2) < 0.05
        # Each client draws its own.
        assert not np.allclose(x[0], x[1])
    assert not x[:, ~touched].any()


def test_fang_reads_the_same_in_gradients() -> None:
    """In gradients: mean + U·std where the mean is negative, mean − U·std where it is positive."""
    crafted, honest = attacked(Fang(low=2.0, high=2.0), World(torch.float64))
    g = -honest
    expected = np.where(g.mean(0) < 0, g.mean(0) + 2 * g.std(0), g.mean(0) - 2 * g.std(0))
    np.testing.assert_allclose(-crafted.flat().numpy()[0], expected, rtol=1e-9, atol=1e-15)


def test_gaussian_samples_follow_the_coalition() -> None:
    world = World(torch.float64, items=400, dim=16)
    crafted, honest = attacked(Gaussian(), world)
    mean, std = honest.mean(0), honest.std(0)
    touched = std > 0
    z = ((crafted.flat().numpy() - mean)[:, touched]) / std[touched]
    assert abs(z.mean()) < 0.03
    assert z.std() == pytest.approx(1.0, rel=0.03)
    # The fourth moment of a normal variable is 3.
    assert (z**4).mean() == pytest.approx(3.0, rel=0.1)
    assert abs(np.corrcoef(z[0], z[1])[0, 1]) < 0.05


@pytest.mark.parametrize("attack", [Gaussian(), LIE(), Fang()])
def test_rows_the_pool_never_touched_stay_untouched(attack: Attack) -> None:
    world = World(items=300)
    view = world.attack_view(attack, PRESENT, COALITION, cohort=3)
    pool = world.honest(view.pool(limit=3)).blocks["items"]
    crafted, _ = attack.step(world.honest(PRESENT), {}, view)
    block = crafted.blocks["items"]
    assert set(block.rows.tolist()) == set(pool.rows.tolist())  # type: ignore[attr-defined]
    assert len(set(pool.rows.tolist())) < 300  # type: ignore[attr-defined]


@pytest.mark.parametrize("attack", [Gaussian(), Fang()])
def test_a_clients_draw_does_not_depend_on_who_else_is_there(attack: Attack) -> None:
    # The pool is the whole coalition, so mean and deviation are the same in both rounds.
    world, few = World(), np.array([104, 102, 103])
    everyone = np.arange(100, 106)
    alone = np.array([102])
    views = [world.attack_view(attack, p, everyone, cohort=20) for p in (few, alone)]
    three, _ = attack.step(world.honest(few), {}, views[0])
    one, _ = attack.step(world.honest(alone), {}, views[1])
    np.testing.assert_allclose(three.flat()[1].numpy(), one.flat()[0].numpy(), rtol=1e-5, atol=1e-9)


def test_ranges() -> None:
    with pytest.raises(ConfigError, match=r"lie\.z"):
        LIE(z=float("nan"))
    with pytest.raises(ConfigError, match=r"lie\.direction"):
        LIE(direction="model")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"fang\.low"):
        Fang(low=-1.0)
    with pytest.raises(ConfigError, match=r"fang\.high"):
        Fang(low=3.0, high=2.0)
