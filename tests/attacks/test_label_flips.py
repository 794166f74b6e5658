"""LabelFlip and TargetedLabelFlip on labelled samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.attacks.targeted_label_flip import TargetedLabelFlip
from fedsiege.errors import ConfigError
from fedsiege.learners.base import Labelled
from tests.worlds import World

CLIENTS = np.array([5, 3, 9, 4])


def poisoned(attack: LabelFlip | TargetedLabelFlip, data: Labelled) -> Labelled:
    got = attack.poison(data, np.random.default_rng(0))
    assert isinstance(got, Labelled)
    assert torch.equal(got.x, data.x)
    np.testing.assert_array_equal(got.ptr, data.ptr)
    assert got.y.dtype == torch.int64
    return got


def test_every_label_becomes_the_next_class() -> None:
    data = World().labelled(CLIENTS)
    following = {0: 1, 1: 2, 2: 3, 3: 0}
    assert poisoned(LabelFlip(), data).y.tolist() == [following[y] for y in data.y.tolist()]
    assert LabelFlip().goal() is None


@pytest.mark.parametrize(("source", "target"), [(0, 2), (3, 1)])
def test_one_class_becomes_another(source: int, target: int) -> None:
    data, attack = World().labelled(CLIENTS), TargetedLabelFlip(source=source, target=target)
    got = poisoned(attack, data).y.tolist()
    assert got == [target if y == source else y for y in data.y.tolist()]
    assert source not in got
    goal = attack.goal()
    assert (goal.target, goal.source, goal.trigger) == (target, source, None)


def test_the_papers_classes() -> None:
    assert (TargetedLabelFlip().source, TargetedLabelFlip().target) == (0, 2)


def test_classes_that_do_not_exist() -> None:
    data = World().labelled(CLIENTS)
    for attack, field in ((TargetedLabelFlip(source=4), "source"), (TargetedLabelFlip(target=4), "target")):
        with pytest.raises(ConfigError, match=rf"targeted-labelflip\.{field} is 4"):
            attack.poison(data, np.random.default_rng(0))


@pytest.mark.parametrize(("source", "target", "field"), [(-1, 2, "source"), (0, -2, "target"), (2, 2, "target")])
def test_ranges(source: int, target: int, field: str) -> None:
    with pytest.raises(ConfigError, match=rf"targeted-labelflip\.{field}"):
        TargetedLabelFlip(source, target)
