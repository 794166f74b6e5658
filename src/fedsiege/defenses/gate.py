"""What stands before every defense: uploads that no rule could use are rejected, each with its reason."""

from __future__ import annotations

import numpy as np

from fedsiege.defenses.base import Defense, DefenseView, Outcome, Verdicts
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch
from fedsiege.updates.batch import LARGEST

__all__ = ["LARGEST", "guarded_step"]


def guarded_step(defense: Defense, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
    """Reject uploads with NaN, infinity or a norm beyond float32 sums, then let `defense` judge the others.

    With no upload left the outcome has no aggregate, so the model stays as it is, and the state is unchanged.
    """
    usable = updates.usable
    if usable.all() and updates.n:
        return defense.step(updates, state, view)
    n = updates.n
    accepted, score, weight = np.zeros(n, bool), np.full(n, np.nan), np.zeros(n)
    reason = np.array(["non-finite"] * n, dtype=object)
    if not usable.any():
        return Outcome(None, Verdicts(accepted, score, weight, tuple(reason))), state
    outcome, state = defense.step(updates.select(usable), state, view)
    inner = outcome.verdicts
    accepted[usable], score[usable], weight[usable] = inner.accepted, inner.score, inner.weight
    reason[usable] = inner.reason
    expelled = None
    if inner.expelled is not None:
        expelled = np.zeros(n, bool)
        expelled[usable] = inner.expelled
    verdicts = Verdicts(accepted, score, weight, tuple(reason), expelled, inner.restart, inner.absent)
    return Outcome(outcome.delta, verdicts.among(updates.clients), outcome.info), state
