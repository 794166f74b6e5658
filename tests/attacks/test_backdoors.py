"""Scaling and DBA against loops over clients and samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.arena.config import named, plugin
from fedsiege.attacks.dba import DBA
from fedsiege.attacks.scaling import Scaling
from fedsiege.attacks.trigger import Trigger
from fedsiege.errors import ConfigError
from fedsiege.learners.base import Labelled
from tests.worlds import World

CLIENTS = np.array([5, 3, 9, 4, 8])
BOTH = [Scaling, DBA]


@pytest.mark.parametrize("attack", [Scaling(), Scaling(target=3, value=2.5), DBA(), DBA(target=1, channel=1)])
def test_each_client_gets_its_samples_and_triggered_copies(attack: Scaling) -> None:
    data = World().labelled(CLIENTS, (2, 8, 8))
    got = attack.poison(data, np.random.default_rng(0))
    assert isinstance(got, Labelled)
    np.testing.assert_array_equal(got.ptr, 2 * data.ptr)
    for i, client in enumerate(CLIENTS):
        x, y = data.x[data.ptr[i] : data.ptr[i + 1]], data.y[data.ptr[i] : data.ptr[i + 1]]
        mine = slice(got.ptr[i], got.ptr[i + 1])
        marked = x.clone()
        pixels = [(6, 6), (4, 6), (6, 4), (5, 5)]
        for row, column in [pixels[client % 4]] if isinstance(attack, DBA) else pixels:
            marked[:, attack.channel, row, column] = attack.value
        assert torch.equal(got.x[mine], torch.cat([x, marked]))
        assert torch.equal(got.y[mine], torch.cat([y, torch.full_like(y, attack.target)]))


@pytest.mark.parametrize("cls", BOTH)
def test_uploads_are_scaled(cls: type[Scaling]) -> None:
    world, present = World(torch.float64), np.array([101, 105])
    for attack in (cls(), cls(scale=7.0)):
        honest = world.honest(present)
        crafted, _ = attack.step(honest, {}, world.attack_view(attack, present, present))
        np.testing.assert_allclose(crafted.flat(), attack.scale * honest.flat(), rtol=1e-15)
    assert cls().scale == 3.0


@pytest.mark.parametrize("cls", BOTH)
def test_the_goal_is_the_target_class_under_the_whole_trigger(cls: type[Scaling]) -> None:
    goal = cls(target=2).goal()
    assert (goal.target, goal.source) == (2, None)
    assert goal.trigger is not None
    x = torch.randn(3, 1, 28, 28)
    assert torch.equal(goal.trigger(x), Trigger().apply(x))


def test_parts_go_by_the_number_of_pixels() -> None:
    data = World().labelled(CLIENTS)
    got = DBA(pixels=((0, 0), (1, 1), (2, 2)), value=50.0).poison(data, np.random.default_rng(0))
    assert isinstance(got, Labelled)
    for i, client in enumerate(CLIENTS):
        marked = torch.nonzero(got.x[got.ptr[i] : got.ptr[i + 1]] == 50.0)
        assert {tuple(p) for p in marked[:, 2:].tolist()} <= {(client % 3, client % 3)}
        assert marked.shape[0] == data.ptr[i + 1] - data.ptr[i]


@pytest.mark.parametrize("cls", BOTH)
def test_a_class_that_does_not_exist_and_an_image_too_small(cls: type[Scaling]) -> None:
    with pytest.raises(ConfigError, match=rf"{cls.name}\.target is 4; it must be below the number of classes, 4"):
        cls(target=4).poison(World().labelled(CLIENTS), np.random.default_rng(0))
    with pytest.raises(ConfigError, match="outside images of 3 × 3"):
        cls().poison(World().labelled(CLIENTS, (1, 3, 3)), np.random.default_rng(0))
    with pytest.raises(ConfigError, match="needs images"):
        cls().poison(World().labelled(CLIENTS, (12,)), np.random.default_rng(0))


@pytest.mark.parametrize("cls", BOTH)
def test_plain_values_make_the_same_attack(cls: type[Scaling]) -> None:
    attack = plugin("attacks", {"name": cls.name, "pixels": [[0, 1], [-1, 2]], "scale": 2})
    assert attack == cls(pixels=((0, 1), (-1, 2)), scale=2.0)
    assert plugin("attacks", named(attack)) == attack


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(
    ("field", "value", "named_as"),
    [("target", -1, None), ("scale", 0.0, None), ("pixels", (), "trigger"), ("channel", -1, "trigger")],
)
def test_ranges(cls: type[Scaling], field: str, value: object, named_as: str | None) -> None:
    with pytest.raises(ConfigError, match=rf"{named_as or cls.name}\.{field}"):
        cls(**{field: value})  # type: ignore[arg-type]
