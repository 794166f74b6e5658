"""A defense of one's own in one file: accept uploads that point where the others point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedsiege.defenses import DefenseView, Filter, Verdicts
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch


@dataclass(frozen=True)
class Cosine(Filter):
    """Cosine: rejects uploads whose mean cosine similarity to the others lies far below the median.

    Reference: FedSiege's own example, 2026.

    Parameters
    ----------
    slack : float
        Median absolute deviations below the median that are still accepted.
    """

    name: ClassVar[str] = "cosine"
    slack: float = 4.0

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Compare every upload with the mean of the others' directions."""
        length = np.maximum(updates.norms, np.finfo(np.float64).tiny)
        cosine = updates.gram / np.outer(length, length)
        np.fill_diagonal(cosine, 0.0)
        score = cosine.sum(1) / max(updates.n - 1, 1)
        offset = score - np.median(score)
        accepted = offset >= -self.slack * np.median(np.abs(offset))
        return Verdicts.of(accepted, score, "points elsewhere"), state, {}
