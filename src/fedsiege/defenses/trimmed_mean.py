"""Trimmed mean: coordinate by coordinate, without the extremes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedsiege.checks import check_share, share_of
from fedsiege.defenses.base import DefenseBase, DefenseView, Outcome, Verdicts
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
    trim : float or int
        What is cut on *each* side: a fraction of the cohort in [0, 0.5), rounded up, or a number of uploads.
        Cohorts too small for it keep their middle one or two values, which is the median.
    """

    name: ClassVar[str] = "trimmedmean"
    trim: float | int = 0.1

    def __post_init__(self) -> None:
        """Check ranges."""
        check_share("trimmedmean.trim", self.trim, below=0.5)

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Average the middle of every coordinate; no upload is rejected."""
        trim = min(share_of(self.trim, updates.n), (updates.n - 1) // 2)
        outcome = Outcome(updates.trimmed_mean(trim), Verdicts.all_accepted(updates.n), {"trim": trim})
        return outcome, state
