"""Sample counts that clients declare about themselves, and how far a server believes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedsiege.checks import is_real, require


@dataclass(frozen=True)
class SampleCap:
    """How far declared sample counts are believed; they weigh uploads in averages, and clients can lie.

    A count is cut to the smaller of `times_median` times the round's median count and `most`. The median is the
    lower one, which a minority cannot raise beyond what some honest client has declared.

    Parameters
    ----------
    times_median : float
        Largest believed count over the median of the round, ≥ 1.
    most : float, optional
        Largest believed count, > 0; None: no limit of its own.
    uniform : bool
        Believe nothing: all uploads count the same.
    """

    times_median: float = 2.0
    most: float | None = None
    uniform: bool = False

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        ok = is_real(self.times_median) and self.times_median >= 1
        require(ok, "cap.times_median", self.times_median, "a number of at least 1")
        ok = self.most is None or (is_real(self.most) and self.most > 0)
        require(ok, "cap.most", self.most, "a number above 0 or None")

    def believed(self, declared: np.ndarray) -> np.ndarray:
        """Return the counts to weigh with, float64 ``(n,)``; `declared` are positive finite numbers."""
        if self.uniform or not declared.size:
            return np.ones(declared.size)
        middle = np.sort(declared)[(declared.size - 1) // 2]
        limit = self.times_median * float(middle)
        return np.minimum(declared, limit if self.most is None else min(limit, float(self.most)))
