"""LabelFlip: the simplest data poisoning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedsiege.attacks.base import AttackBase
from fedsiege.learners.base import LocalData, Pairs


@dataclass(frozen=True)
class LabelFlip(AttackBase):
    """LabelFlip: malicious clients train honestly on data whose labels are flipped.

    On pairs, flipping the label of both items swaps the positive and the negative. The attacker needs nothing
    but its own data.

    Reference: Tolpegin et al., ESORICS 2020, section 3.
    """

    name: ClassVar[str] = "labelflip"
    poisons_data: ClassVar[bool] = True

    def poison(self, data: LocalData, rng: np.random.Generator) -> Pairs:
        """Return the pairs with positive and negative swapped."""
        pairs = data.pairs
        return Pairs(pairs.clients, pairs.ptr, np.ascontiguousarray(pairs.items[:, ::-1]))
