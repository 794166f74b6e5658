"""LabelFlip: the simplest data poisoning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from fedsiege.attacks.base import AttackBase
from fedsiege.learners.base import Held, Labelled, Pairs


@dataclass(frozen=True)
class LabelFlip(AttackBase):
    """LabelFlip: malicious clients train honestly on data whose labels are flipped.

    Of a labelled sample the label becomes the next class, (y + 1) mod classes; on pairs, flipping the label of
    both items swaps the positive and the negative. The attacker needs nothing but its own data.

    Reference: Tolpegin et al., ESORICS 2020, section 3; Fung et al., 2018, for labels.
    """

    name: ClassVar[str] = "labelflip"
    poisons_data: ClassVar[bool] = True

    def poison(self, data: Held, rng: np.random.Generator) -> Pairs | Labelled:
        """Return the samples with the next label, or the pairs with positive and negative swapped."""
        if isinstance(data, Labelled):
            return replace(data, y=(data.y + 1) % data.num_classes)
        pairs = data.pairs
        return Pairs(pairs.clients, pairs.ptr, np.ascontiguousarray(pairs.items[:, ::-1]))
