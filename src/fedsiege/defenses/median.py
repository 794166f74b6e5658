"""Median: coordinate by coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedsiege.defenses.base import DefenseBase, DefenseView, Outcome, Verdicts
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch


@dataclass(frozen=True)
class Median(DefenseBase):
    """Median: the coordinate-wise median of the uploads, unweighted.

    For an even number of uploads it is the mean of the middle two. In an item table, a row that fewer than
    half of the uploads touch has median zero, so on recommenders this rule learns popular items only.

    Reference: Yin et al., ICML 2018, Definition 1.
    """

    name: ClassVar[str] = "median"
    never_rejects: ClassVar[bool] = True

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Take the median of every coordinate; no upload is rejected."""
        return Outcome(updates.median(), Verdicts.all_accepted(updates.n)), state
