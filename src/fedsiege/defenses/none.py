"""Plain federated averaging: the baseline that every defense is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fedsiege.defenses.base import DefenseView, Filter, Verdicts
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch


@dataclass(frozen=True)
class FedAvg(Filter):
    """No defense: FedAvg, the mean of all uploads, weighted by declared sample counts or not.

    Reference: McMahan et al., AISTATS 2017, Algorithm 1.

    Parameters
    ----------
    weighting : {"samples", "uniform"}
        Weights of the mean.
    """

    name: ClassVar[str] = "none"
    never_rejects: ClassVar[bool] = True

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Accept everything."""
        return Verdicts.all_accepted(updates.n), state, {}
