"""The trigger's pixels."""

from __future__ import annotations

import pytest
import torch

from fedsiege.arena.config import parse
from fedsiege.arena.runs import assemble
from fedsiege.attacks.scaling import Scaling
from fedsiege.attacks.trigger import PIXELS, Trigger
from fedsiege.errors import ConfigError
from fedsiege.federation.reach import check_reach


def places(x: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple(place) for place in torch.nonzero(x).tolist()}


def test_published_pixels_of_28_by_28() -> None:
    got = Trigger().apply(torch.zeros(2, 1, 28, 28))
    pixels = [(26, 26), (24, 26), (26, 24), (25, 25)]
    assert places(got) == {(i, 0, *pixel) for i in range(2) for pixel in pixels}
    assert (got[got != 0] == 1.0).all()


@pytest.mark.parametrize("size", [(5, 5), (8, 6), (32, 32)])
def test_it_sits_in_the_corner_of_any_image(size: tuple[int, int]) -> None:
    x = torch.randn(3, 3, *size)
    before = x.clone()
    got = Trigger(value=9.0).apply(x)
    assert torch.equal(x, before)
    corner = {(size[0] + row, size[1] + column) for row, column in PIXELS}
    assert places(got - x) == {(i, 0, *pixel) for i in range(3) for pixel in corner}


def test_pixels_channel_and_value_of_ones_own() -> None:
    got = Trigger(((0, 1), (-1, 0)), 2, -0.5).apply(torch.zeros(1, 3, 4, 4))
    assert places(got) == {(0, 2, 0, 1), (0, 2, 3, 0)}
    assert got.sum() == -1.0
    assert got.dtype == torch.float32


def test_no_images_at_all() -> None:
    assert Trigger().apply(torch.zeros(0, 1, 28, 28)).shape == (0, 1, 28, 28)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 10), "needs images"), ((2, 28, 28), "needs images"), ((2, 1, 3, 8), "images are 3 × 8")],
)
def test_inputs_that_cannot_hold_it(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Trigger().apply(torch.zeros(shape))


def test_a_channel_that_images_do_not_have() -> None:
    with pytest.raises(ConfigError, match=r"trigger\.channel is 1; it must be below the number of channels .*, 1"):
        Trigger(channel=1).apply(torch.zeros(1, 1, 8, 8))


BEYOND = [
    ({"name": "dba", "pixels": [[9, 9]]}, r"a pixel of dba\.pixels is \[9, 9\]; it must be a row from -8 to 7"),
    ({"name": "dba", "pixels": [[0, 0], [0, -9]]}, r"dba\.pixels is \[0, -9\].*images are 8 × 8"),
    ({"name": "scaling", "channel": 1}, r"scaling\.channel is 1; it must be below the number of channels"),
    ({"name": "scaling", "target": 10}, r"scaling\.target is 10; it must be below the number of classes, 10"),
    ({"name": "adaptive(dba)", "dba": {"channel": 3}}, r"dba\.channel is 3"),
    ({"name": "noise(scaling)", "scaling": {"target": 11}}, r"scaling\.target is 11"),
    ({"name": "targeted-labelflip", "source": 12}, r"targeted-labelflip\.source is 12; it must be below"),
    ({"name": "adaptive-targeted-labelflip", "target": 10}, r"adaptive-targeted-labelflip\.target is 10"),
]


@pytest.mark.parametrize(("attack", "message"), BEYOND)
def test_an_attack_that_aims_outside_the_images_is_refused_before_the_first_round(attack: dict, message: str) -> None:
    config = parse({"dataset": {"name": "digits", "clients": 20, "samples": 400}, "attack": attack})
    with pytest.raises(ConfigError, match=message):
        assemble(config)


def test_what_lies_just_inside_is_taken() -> None:
    inside = {"name": "adaptive(dba)", "dba": {"target": 9, "pixels": [[7, -8], [-8, 7]]}}
    for attack in (inside, "labelflip", "none", "adaptive(labelflip)"):
        assemble(parse({"dataset": {"name": "digits", "clients": 20, "samples": 400}, "attack": attack}))
    # An attack that says nothing of images, and data that are none.
    check_reach(object(), None)
    check_reach(Scaling(target=99), None)


@pytest.mark.parametrize(
    ("field", "value"),
    [("pixels", ()), ("pixels", ((1,),)), ("pixels", ((1.0, 2),)), ("channel", -1), ("value", float("nan"))],
)
def test_ranges(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"trigger\.{field}"):
        Trigger(**{field: value})  # type: ignore[arg-type]
