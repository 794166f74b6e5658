"""Trimmed mean: coordinate by coordinate, without the extremes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedsiege.checks import check_share
from fedsiege.defenses.base import DefenseBase, DefenseView, Grant, Outcome, Verdicts
from fedsiege.defenses.distances import assumed
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch


@dataclass(frozen=True)
class TrimmedMean(DefenseBase):
    """TrimmedMean: the coordinate-wise mean without the smallest and the largest values, unweighted.

    The middle values are summed themselves; extremes are never subtracted from a sum, in which they would
    have drowned everything else.

    Reference: Yin et al., ICML 2018, Definition 2.

    Parameters
    ----------
    trim : float, int or None
        What is cut on *each* side: a fraction of the cohort in [0, 0.5), rounded up, or a number of uploads; None:
        as many as may be malicious, if the threat model grants that, else 0.1. Cohorts too small for it keep their
        middle one or two values, which is the median.
    """

    name: ClassVar[str] = "trimmedmean"
    never_rejects: ClassVar[bool] = True
    trim: float | int | None = 0.1

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.trim is not None:
            check_share("trimmedmean.trim", self.trim, below=0.5)

    @property
    def heeds(self) -> frozenset[Grant]:
        """The number of attackers, unless `trim` says it."""
        return frozenset({"count"}) if self.trim is None else frozenset()

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Average the middle of every coordinate; no upload is rejected."""
        trim = min(assumed(self.trim, updates.n, view.told), (updates.n - 1) // 2)
        outcome = Outcome(updates.trimmed_mean(trim), Verdicts.all_accepted(updates.n), {"trim": trim})
        return outcome, state
