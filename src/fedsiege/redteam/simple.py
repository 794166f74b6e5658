"""Attacks that any client can mount alone, for apps under test; they need no knowledge but their own update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from fedsiege.attacks.base import AttackBase, AttackView
from fedsiege.attacks.craft import uploads, values_of, with_values
from fedsiege.checks import is_real, require
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch
from fedsiege.updates.block import Block


@dataclass(frozen=True)
class SignFlip(AttackBase):
    """Sign flip: upload −scale × the honest update.

    Parameters
    ----------
    scale : float
        How many times the honest update is undone, above 0.
    """

    name: ClassVar[str] = "signflip"
    scale: float = 4.0

    def __post_init__(self) -> None:
        """Check ranges."""
        require(is_real(self.scale) and self.scale > 0, f"{self.name}.scale", self.scale, "a finite number above 0")

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Turn every upload round."""
        return updates.scale(np.full(updates.n, -self.scale)), state


@dataclass(frozen=True)
class Overcount(SignFlip):
    """Overcount: turn the update round and claim a billion samples, so that weighted averages are owned.

    Parameters
    ----------
    scale : float
        How many times the honest update is undone, above 0.
    count : float
        The sample count that is declared, above 0.
    """

    name: ClassVar[str] = "overcount"
    scale: float = 1.0
    count: float = 1e9

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        require(is_real(self.count) and self.count > 0, "overcount.count", self.count, "a finite number above 0")

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Turn every upload round and lie about its weight."""
        turned, state = super().step(updates, state, view)
        return UpdateBatch(turned.clients, np.full(turned.n, self.count), turned.blocks), state


@dataclass(frozen=True)
class Noise(AttackBase):
    """Noise: upload Gaussian noise of scale × the length of the honest update, drawn for each client and round.

    Parameters
    ----------
    scale : float
        Length of the noise over the length of the honest update, above 0.
    """

    name: ClassVar[str] = "noise"
    scale: float = 4.0

    def __post_init__(self) -> None:
        """Check ranges."""
        require(is_real(self.scale) and self.scale > 0, "noise.scale", self.scale, "a finite number above 0")

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Replace every upload by noise on the values that it would have sent."""
        blocks: dict[str, Block] = {}
        for place, (name, block) in enumerate(updates.blocks.items()):
            values = values_of(block)
            drawn = view.rng(place).standard_normal(tuple(values.shape))
            blocks[name] = with_values(block, torch.from_numpy(drawn))
        noise = uploads(updates, blocks)
        length = np.where(noise.norms > 0, noise.norms, 1.0)
        return noise.scale(self.scale * updates.norms / length), state


SIMPLE: dict[str, type[AttackBase]] = {"signflip": SignFlip, "overcount": Overcount, "noise": Noise}
"""The attacks of this file by name."""
