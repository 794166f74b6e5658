"""Min-Max: as far from the honest mean as honest updates are from each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedsiege.attacks.manipulate import Manipulation


@dataclass(frozen=True)
class MinMax(Manipulation):
    """Min-Max: the honest mean, shifted until it is as far from an honest update as two of those can be.

    That is mean − λ·std, coordinate by coordinate over the coalition's honest gradients or updates. λ is the largest
    for which no distance to an honest update exceeds the largest distance between two honest updates. All malicious
    clients of a round upload the same vector.

    Reference: Shejwalkar & Houmansadr, Manipulating the Byzantine, NDSS 2021, section IV (unknown aggregation rule,
    deviation by standard deviation).

    Parameters
    ----------
    start : float
        λ at which the search starts; it reaches up to twice that. FedREDefense's public code starts at 30.
    tolerance : float
        The search ends when its steps are no longer than this.
    direction : {"gradient", "update"}
        Of what λ·std is subtracted. An update is minus a gradient, so with gradients updates are moved up: to mean +
        λ·std. FedREDefense's public code subtracts it of updates.
    """

    name: ClassVar[str] = "minmax"

    def allowed(self, sq_distances: np.ndarray) -> float:
        """Return the largest squared distance between two honest updates."""
        return float(sq_distances.max())

    def taken(self, sq_distances: np.ndarray) -> float:
        """Return the largest squared distance to an honest update."""
        return float(sq_distances.max())
