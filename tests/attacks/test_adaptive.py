"""Adaptive scaling against Algorithm 3, one client at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.attacks.adaptive import AdaptiveLabelFlip, AdaptiveScaling, AdaptiveTargetedLabelFlip
from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.attacks.targeted_label_flip import TargetedLabelFlip
from fedsiege.errors import ConfigError
from fedsiege.updates import UpdateBatch
from tests.attacks.dense import DenseWorld
from tests.trees import fingerprint
from tests.worlds import World

PRESENT = np.arange(100, 112)
BOTH = [AdaptiveLabelFlip, AdaptiveTargetedLabelFlip]


def algorithm3(norm: float, bound: float, first: float = 2.0, last: float = 0.125) -> float:
    """Search λ for one upload whose scaled norm must stay below a bound."""
    factor, step = 1.0, first
    while step >= last:
        factor = factor + step
        if not factor * norm < bound:
            factor = factor - step
        step = step / 2
    return factor


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("world", [World(torch.float64), DenseWorld(torch.float64)])
@pytest.mark.parametrize("steps", [{}, {"first_step": 4.0, "last_step": 0.01}, {"first_step": 0.1}])
def test_every_client_finds_its_own_factor(cls: type[AdaptiveScaling], world: World, steps: dict[str, float]) -> None:
    attack, honest = cls(**steps), world.honest(PRESENT)
    crafted, state = attack.step(honest, {}, world.attack_view(attack, PRESENT, PRESENT))
    factors = [
        algorithm3(norm, 0.6, steps.get("first_step", 2.0), steps.get("last_step", 0.125)) for norm in honest.norms
    ]
    assert state == {}
    np.testing.assert_allclose(crafted.flat(), np.array(factors)[:, None] * honest.flat().numpy(), rtol=1e-12)
    if not steps:
        assert len(set(factors)) > 3


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(("accepts", "factor"), [(True, 4.875), (False, 1.0)])
def test_a_defense_that_accepts_all_or_nothing(cls: type[AdaptiveScaling], accepts: bool, factor: float) -> None:
    world, attack, asked = World(torch.float64), cls(), []

    def oracle(uploads: UpdateBatch) -> np.ndarray:
        asked.append(uploads)
        return np.full(uploads.n, accepts)

    view = world.attack_view(attack, PRESENT, PRESENT)
    view._oracle = oracle
    crafted, _ = attack.step(world.honest(PRESENT), {}, view)
    np.testing.assert_allclose(crafted.flat(), factor * world.honest(PRESENT).flat(), rtol=1e-15)
    # 2, 1, 0.5, 0.25 and 0.125: one question each, for all clients together.
    assert [uploads.n for uploads in asked] == [PRESENT.size] * 5


def test_data_are_poisoned_as_without_the_search() -> None:
    world, rng = World(), np.random.default_rng(0)
    labelled, pairs = world.labelled(np.array([5, 3])), world.local_data(np.array([5, 3]))
    assert fingerprint(AdaptiveLabelFlip().poison(labelled, rng)) == fingerprint(LabelFlip().poison(labelled, rng))
    assert fingerprint(AdaptiveLabelFlip().poison(pairs, rng)) == fingerprint(LabelFlip().poison(pairs, rng))
    for fields in ({}, {"source": 1, "target": 0}):
        mine, theirs = AdaptiveTargetedLabelFlip(**fields), TargetedLabelFlip(**fields)
        assert fingerprint(mine.poison(labelled, rng)) == fingerprint(theirs.poison(labelled, rng))
        assert mine.goal() == theirs.goal()
        assert mine.needs == theirs.needs
    assert AdaptiveLabelFlip().needs == LabelFlip().needs


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("field", ["first_step", "last_step"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_ranges(cls: type[AdaptiveScaling], field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{cls.name}\.{field}"):
        cls(**{field: value})


def test_ranges_of_the_targeted_flip_are_kept() -> None:
    with pytest.raises(ConfigError, match=r"adaptive-targeted-labelflip\.target"):
        AdaptiveTargetedLabelFlip(source=2)
