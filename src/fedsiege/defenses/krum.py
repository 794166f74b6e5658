"""Krum: the one upload that lies nearest to its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedsiege.checks import check_share
from fedsiege.defenses.base import DefenseView, Filter, Grant, Verdicts
from fedsiege.defenses.distances import assumed, by_score, krum_scores
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch


@dataclass(frozen=True)
class Krum(Filter):
    """Krum: the upload with the smallest Krum score is the aggregate.

    A score is the sum of the n − f − 2 smallest *squared* distances to other uploads (at least one; libraries
    differ here, see docs).

    Reference: Blanchard et al., NeurIPS 2017, section 4.

    Parameters
    ----------
    weighting : {"samples", "uniform"}
        Without effect on a single upload.
    byzantine : int, float or None
        f, as a number or a fraction of the cohort; None: what the threat model grants, else 0.1.
    """

    name: ClassVar[str] = "krum"
    byzantine: int | float | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.byzantine is not None:
            check_share("krum.byzantine", self.byzantine)

    @property
    def heeds(self) -> frozenset[Grant]:
        """The number of attackers, unless `byzantine` says it."""
        return frozenset({"count"}) if self.byzantine is None else frozenset()

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Accept the smallest score alone; among equal scores the lower client id."""
        f = assumed(self.byzantine, updates.n, view.told)
        scores = krum_scores(updates.sq_distances, f)
        accepted = np.zeros(updates.n, bool)
        accepted[by_score(scores, updates.clients)[:1]] = True
        return Verdicts.of(accepted, scores, "Krum score not the smallest"), state, {"f": f}
