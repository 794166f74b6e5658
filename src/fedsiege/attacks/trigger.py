"""A trigger: a few pixels of fixed value that a backdoored model takes for the target class."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsiege.checks import is_count, is_real, require
from fedsiege.errors import ConfigError

Pixels = tuple[tuple[int, int], ...]
"""Pixels as (row, column); negative numbers count from the bottom and from the right."""

PIXELS: Pixels = ((-2, -2), (-4, -2), (-2, -4), (-3, -3))
"""(26, 26), (24, 26), (26, 24) and (25, 25) of a 28 × 28 image, the same corner of a larger or smaller one."""


def _is_pixel(pixel: object) -> bool:
    whole = isinstance(pixel, tuple) and len(pixel) == 2
    return whole and all(isinstance(x, int) and not isinstance(x, bool) for x in pixel)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Trigger:
    """Pixels that are set to one value in one channel.

    Parameters
    ----------
    pixels : tuple of (int, int)
        Rows and columns; negative ones count from the bottom and from the right, so that the trigger sits in the same
        corner of an image of any size.
    channel : int
        Channel that is changed.
    value : float
        Value of the pixels, in the (normalised) numbers that the model reads.
    """

    pixels: Pixels = PIXELS
    channel: int = 0
    value: float = 1.0

    def __post_init__(self) -> None:
        """Check that there are pixels and that they are pairs of integers (ConfigError)."""
        ok = isinstance(self.pixels, tuple) and bool(self.pixels) and all(map(_is_pixel, self.pixels))
        require(ok, "trigger.pixels", self.pixels, "at least one (row, column) of integers")
        require(is_count(self.channel), "trigger.channel", self.channel, "an int of at least 0")
        require(is_real(self.value), "trigger.value", self.value, "a finite number")

    def check(self, owner: str, shape: tuple[int, ...]) -> None:
        """Refuse a channel or pixels outside images of `shape` (channels, height, width), as fields of `owner`.

        Raises
        ------
        ConfigError
            Naming the field and what is allowed.
        """
        channels, height, width = shape
        ok = self.channel < channels
        require(ok, f"{owner}.channel", self.channel, f"below the number of channels of the images, {channels}")
        for pixel in self.pixels:
            ok = -height <= pixel[0] < height and -width <= pixel[1] < width
            allowed = f"a row from {-height} to {height - 1} and a column from {-width} to {width - 1}"
            require(ok, f"a pixel of {owner}.pixels", list(pixel), f"{allowed}, as images are {height} × {width}")

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return a copy of images ``(n, channels, height, width)`` with the trigger in all of them.

        Raises
        ------
        ConfigError
            If these are not images, or the trigger lies outside them.
        """
        if x.dim() != 4:
            shape = tuple(x.shape[1:])
            raise ConfigError(f"a trigger needs images (channels, height, width); inputs have shape {shape}")
        self.check("trigger", tuple(x.shape[1:]))
        out = x.clone()
        rows, columns = (list(axis) for axis in zip(*self.pixels))
        out[:, self.channel, rows, columns] = self.value
        return out


def check_class(field: str, value: int, classes: int) -> None:
    """Refuse a class that a data set of so many `classes` does not have (ConfigError that names `field`)."""
    require(value < classes, field, value, f"below the number of classes, {classes}")
