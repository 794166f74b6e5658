"""Scaling and DBA against loops over clients and samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsiege.arena.config import named, plugin
from fedsiege.attacks.dba import DBA
from fedsiege.attacks.scaling import Scaling
from fedsiege.attacks.trigger import PIXELS, Trigger
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
        rank = sorted(CLIENTS).index(client)
        for row, column in [pixels[rank % 4]] if isinstance(attack, DBA) else pixels:
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


def parts_of(attack: DBA, data: Labelled) -> dict[int, set[tuple[int, ...]]]:
    """The marked pixels of every client that has samples."""
    got = attack.poison(data, np.random.default_rng(0))
    assert isinstance(got, Labelled)
    found = {}
    for i, client in enumerate(data.clients):
        x = got.x[got.ptr[i] : got.ptr[i + 1]]
        if samples := x.shape[0] // 2:
            marked = torch.nonzero(x == attack.value)
            places = [tuple(p) for p in marked[:, 2:].tolist()]
            assert {places.count(p) for p in places} == {samples}
            found[int(client)] = set(places)
    return found


def test_parts_go_round_the_whole_coalition_not_round_ids_or_those_present() -> None:
    diagonal = ((0, 0), (1, 1), (2, 2))
    data = replace(World().labelled(np.array([3, 11, 19, 23])), coalition=np.array([3, 7, 11, 15, 19, 23]))
    found = parts_of(DBA(pixels=diagonal, value=50.0), data)
    # Ranks are 2, 4 and 5 of the coalition; by id all of them would have part 2 of 3, or 3 of 4.
    assert found == {11: {(2, 2)}, 19: {(1, 1)}, 23: {(2, 2)}}


@given(st.sets(st.integers(0, 500), min_size=4, max_size=30), st.integers(1, 4))
def test_every_part_has_its_share_of_any_coalition(ids: set[int], parts: int) -> None:
    coalition = np.array(sorted(ids))
    attack = DBA(pieces=parts, value=7.0)
    marked = attack.mark(torch.zeros(coalition.size, 1, 5, 5), coalition, coalition)
    held = [tuple(torch.nonzero(image[0] == 7.0).flatten().tolist()) for image in marked]
    counts = [held.count(part) for part in set(held)]
    assert len(counts) == parts
    assert max(counts) - min(counts) <= 1


def test_pixels_are_dealt_into_parts_in_their_order() -> None:
    eight = tuple((k // 4, k % 4) for k in range(8))
    attack = DBA(pixels=eight, pieces=3)
    assert [attack.part(k).pixels for k in range(3)] == [eight[:3], eight[3:6], eight[6:]]
    # Four unless told otherwise, or one a pixel.
    assert [(DBA().count, DBA().part(k).pixels) for k in range(4)] == [(4, (pixel,)) for pixel in PIXELS]
    assert (DBA(pixels=eight).count, DBA(pixels=eight[:3]).count) == (4, 3)


@pytest.mark.parametrize("parts", [0, 5, 2.5, True])
def test_parts_out_of_range(parts: Any) -> None:
    with pytest.raises(ConfigError, match=r"dba\.pieces is .*; it must be an int from 1 to the number of pixels, 4"):
        DBA(pieces=parts)
    with pytest.raises(ConfigError, match=r"dba\.pieces is 4; it must be an int from 1 to the number of pixels, 2"):
        DBA(pixels=((0, 0), (1, 1)), pieces=4)


@pytest.mark.parametrize("cls", BOTH)
def test_a_class_that_does_not_exist_and_an_image_too_small(cls: type[Scaling]) -> None:
    with pytest.raises(ConfigError, match=rf"{cls.name}\.target is 4; it must be below the number of classes, 4"):
        cls(target=4).poison(World().labelled(CLIENTS), np.random.default_rng(0))
    with pytest.raises(ConfigError, match="images are 3 × 3"):
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
