"""Min-Max and Min-Sum against loops over pairs of whole vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.attacks.manipulate import Manipulation, largest
from fedsiege.attacks.min_max import MinMax
from fedsiege.attacks.min_sum import MinSum
from fedsiege.errors import ConfigError
from fedsiege.updates import UpdateBatch
from tests.attacks.dense import DenseWorld
from tests.worlds import World

COALITION = np.arange(100, 130)
PRESENT = np.array([107, 101, 110])
ATTACKS = [MinMax(), MinSum(), MinSum(limit="smallest"), MinMax(start=30.0), MinSum(start=30.0)]
ATTACKS += [MinMax(direction="update"), MinSum(direction="update", limit="smallest")]
WORLDS = [World(torch.float64), World(), DenseWorld(torch.float64), DenseWorld()]


def attacked(attack: Manipulation, world: World, cohort: int = 12) -> tuple[UpdateBatch, np.ndarray]:
    view = world.attack_view(attack, PRESENT, COALITION, cohort)
    crafted, state = attack.step(world.honest(PRESENT), {}, view)
    assert state == {}
    return crafted, world.honest(view.pool(limit=cohort)).flat().double().numpy()


def holds(attack: Manipulation, point: np.ndarray, honest: np.ndarray, slack: float = 0.0) -> bool:
    """Tell whether the bound of the paper holds, by loops."""
    mine = [((point - x) ** 2).sum() for x in honest]
    among = [[((x - y) ** 2).sum() for y in honest] for x in honest]
    if isinstance(attack, MinMax):
        return max(mine) <= max(max(row) for row in among) * (1 + slack)
    assert isinstance(attack, MinSum)
    choose = max if attack.limit == "largest" else min
    return sum(mine) <= choose(sum(row) for row in among) * (1 + slack)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("world", WORLDS)
def test_the_bound_holds_and_nothing_farther_would_do(attack: Manipulation, world: World) -> None:
    crafted, honest = attacked(attack, world)
    mean, std = honest.mean(0), honest.std(0) * (-1 if attack.direction == "update" else 1)
    x = crafted.flat().double().numpy()
    assert (x == x[0]).all()
    far = ((x[0] - mean) @ std) / (std @ std)
    assert far > 0.1
    np.testing.assert_allclose(x[0], mean + far * std, rtol=1e-4, atol=1e-8)
    assert holds(attack, mean + far * std, honest, 1e-5)
    beyond = far * (1 + 1e-3) + 2 * attack.tolerance
    assert not holds(attack, mean + beyond * std, honest)
    # A grid finds no other end.
    grid = np.arange(0, 2 * far, far / 40)
    assert all(holds(attack, mean + g * std, honest) == (g < far) for g in grid if abs(g - far) > 1e-3 * far)


def test_updates_go_up_as_gradients_go_down() -> None:
    attack = MinMax()
    crafted, honest = attacked(attack, World(torch.float64))
    gradients = -honest
    towards = (-crafted.flat().numpy()[0] - gradients.mean(0)) @ gradients.std(0)
    assert towards < 0


def test_the_smallest_limit_is_tighter() -> None:
    world = World(torch.float64)
    far = []
    for attack in (MinSum(), MinSum(limit="smallest")):
        crafted, honest = attacked(attack, world)
        far.append(np.linalg.norm(crafted.flat().numpy()[0] - honest.mean(0)))
    assert far[1] < far[0]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("world", WORLDS)
def test_one_malicious_client_uploads_its_own_update(attack: Manipulation, world: World) -> None:
    alone = np.array([101])
    crafted, _ = attack.step(world.honest(alone), {}, world.attack_view(attack, alone, alone))
    np.testing.assert_allclose(crafted.flat().numpy(), world.honest(alone).flat().numpy(), rtol=1e-6)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("base", [World, DenseWorld])
def test_equal_honest_updates_stay_as_they_are(attack: Manipulation, base: type[World]) -> None:
    class Agreeing(base):  # type: ignore[valid-type, misc]
        def honest(self, clients: np.ndarray, round_: int = 1) -> UpdateBatch:
            one = base(self.dtype).honest(np.array([1]))
            same = one.select(np.zeros(len(clients), np.int64))
            return UpdateBatch(clients, same.counts, same.blocks)

    world = Agreeing()
    view = world.attack_view(attack, PRESENT, COALITION, 12)
    crafted, _ = attack.step(world.honest(PRESENT), {}, view)
    np.testing.assert_allclose(crafted.flat().numpy(), world.honest(PRESENT).flat().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("end", [0.0, 1e-7, 0.013, 3.0, 9.99, 10.0, 14.2, 19.9])
def test_the_search_finds_the_end(end: float) -> None:
    tried: list[float] = []
    found = largest(lambda trial: tried.append(trial) or trial <= end, 10.0, 1e-5)
    assert tried[0] == 10.0
    assert found <= end
    assert end - found <= 2e-5
    assert len(tried) == 20


def test_the_search_reaches_twice_its_start() -> None:
    assert largest(lambda trial: True, 10.0, 1e-5) == pytest.approx(20.0, abs=2e-5)
    assert largest(lambda trial: False, 10.0, 1e-5) == 0.0
    # Steps below a number's last digit end too.
    assert largest(lambda trial: trial < 1e18, 1e18, 1e-5) < 1e18


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "1"])
@pytest.mark.parametrize("cls", [MinMax, MinSum])
@pytest.mark.parametrize("field", ["start", "tolerance"])
def test_ranges(cls: type[Manipulation], field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{cls.name}\.{field}"):
        cls(**{field: value})


def test_limit_is_one_of_two() -> None:
    with pytest.raises(ConfigError, match=r"minsum\.direction"):
        MinSum(direction="model")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"minsum\.limit"):
        MinSum(limit="median")  # type: ignore[arg-type]
