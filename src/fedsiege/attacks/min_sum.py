"""Min-Sum: in sum as far from honest updates as one of them is from the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fedsiege.attacks.manipulate import Manipulation
from fedsiege.checks import require


@dataclass(frozen=True)
class MinSum(Manipulation):
    """Min-Sum: the honest mean, shifted until its summed squared distances reach those of an honest update.

    That is mean − λ·std, coordinate by coordinate over the coalition's honest gradients or updates. λ is the largest
    for which the sum of squared distances to all honest updates does not exceed that of an honest update to the
    others. All malicious clients of a round upload the same vector.

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
    limit : {"largest", "smallest"}
        Which honest update's sum is the bound: the largest, as in the paper, or the smallest, as in public code.
    """

    name: ClassVar[str] = "minsum"
    limit: Literal["largest", "smallest"] = "largest"

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        require(self.limit in ("largest", "smallest"), "minsum.limit", self.limit, "'largest' or 'smallest'")

    def allowed(self, sq_distances: np.ndarray) -> float:
        """Return the largest or smallest sum of squared distances from an honest update to the others."""
        sums = sq_distances.sum(1)
        return float(sums.max() if self.limit == "largest" else sums.min())

    def taken(self, sq_distances: np.ndarray) -> float:
        """Return the sum of squared distances to all honest updates."""
        return float(sq_distances.sum())
