"""The trigger's pixels."""

from __future__ import annotations

import pytest
import torch

from fedsiege.attacks.trigger import PIXELS, Trigger
from fedsiege.errors import ConfigError


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
    [((2, 10), "needs images"), ((2, 28, 28), "needs images"), ((2, 1, 3, 8), "outside images of 3 × 8")],
)
def test_inputs_that_cannot_hold_it(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Trigger().apply(torch.zeros(shape))


def test_a_channel_that_images_do_not_have() -> None:
    with pytest.raises(ConfigError, match="channel 1, but images have 1"):
        Trigger(channel=1).apply(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("field", "value"),
    [("pixels", ()), ("pixels", ((1,),)), ("pixels", ((1.0, 2),)), ("channel", -1), ("value", float("nan"))],
)
def test_ranges(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"trigger\.{field}"):
        Trigger(**{field: value})  # type: ignore[arg-type]
