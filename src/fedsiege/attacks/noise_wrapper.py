"""``noise(ATTACK)``: the control of an attack, noise as long as its uploads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from fedsiege.attacks.base import AttackView
from fedsiege.attacks.craft import uploads, values_of, with_values
from fedsiege.attacks.wrapper import Wrapper
from fedsiege.checks import require
from fedsiege.learners.base import State
from fedsiege.updates import DenseBlock, RowBlock, UpdateBatch
from fedsiege.updates.block import Block
from fedsiege.updates.noise import uniforms


@dataclass(frozen=True)
class SameNorm(Wrapper):
    """SameNorm: each upload of another attack gets a random direction and keeps its norm.

    The direction is uniform over those of the same rows (all coordinates of dense blocks, and the rows of tables that
    the upload touches): normal numbers, scaled. What the attack does besides the length of its uploads, whom it asks
    and which rows it touches, is so kept, and the direction alone is lost. An attack that does no more than this does
    nothing. An upload whose norm is not finite goes out as it is.

    Reference: our own control; after the Gaussian attack of Fang et al., USENIX Security 2020, section 4.1, whose noise
    has the size of honest updates instead.

    Parameters
    ----------
    attack : Attack
        The attack; not honest, and no wrapper of noise itself.
    """

    prefix: ClassVar[str] = "noise"

    def __post_init__(self) -> None:
        """Check that there is an attack (ConfigError)."""
        fits = not self.attack.honest and not isinstance(self.attack, SameNorm)
        require(fits, "noise(ATTACK)", self.attack.name, "an attack that is malicious and not noise(…) itself")

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Let the wrapped attack craft its uploads and replace their directions."""
        crafted, state = self.attack.step(updates, state, view)
        if crafted.n == 0:
            return crafted, state
        blocks: dict[str, Block] = {}
        for name, block in crafted.blocks.items():
            assert isinstance(block, RowBlock | DenseBlock)
            u = uniforms(block, crafted.clients, view.seed, f"noise/{name}", view.round)
            blocks[name] = with_values(block, torch.special.ndtri(u).to(values_of(block)))
        drawn = uploads(crafted, blocks)
        with np.errstate(over="ignore", invalid="ignore"):
            usable = np.isfinite(crafted.norms)
            factor = np.where(usable, crafted.norms, 0.0) / np.where(drawn.norms > 0, drawn.norms, 1.0)
        noise = drawn.scale(factor)
        if usable.all():
            return noise, state
        kept = np.flatnonzero(~usable)
        return noise.replace(kept, crafted.select(kept)), state
