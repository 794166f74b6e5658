"""NormBound: no upload may be longer than a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedsiege.checks import check_weighting, is_real, require
from fedsiege.defenses.base import DefenseBase, DefenseView, Grant, Outcome, Verdicts, shares
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch


@dataclass(frozen=True)
class NormBound(DefenseBase):
    """NormBound: clip the L2 norm of each whole upload to a bound, then average.

    The norm is that of all blocks together. A clipped upload stays accepted, with the reason "clipped"; every
    verdict's score is the norm before clipping.

    Reference: Sun et al., Can You Really Backdoor Federated Learning?, 2019; Wang et al., NeurIPS 2020.

    Parameters
    ----------
    bound : float, optional
        Largest norm, > 0; None takes the mean norm of the round's benign uploads where the threat model grants it
        (``federation.tell_norm``, an oracle that published code helps itself to), else the median norm of all. 0.1
        suits matrix factorisation. A configuration for a classifier that names none has None, since the norms of
        classifiers depend on network and rate.
    weighting : {"samples", "uniform"}
        Weights of the mean; see `shares`.
    """

    name: ClassVar[str] = "normbound"
    never_rejects: ClassVar[bool] = True
    bound: float | None = 0.1
    weighting: str = "samples"

    def __post_init__(self) -> None:
        """Check ranges."""
        ok = self.bound is None or (is_real(self.bound) and self.bound > 0)
        require(ok, "normbound.bound", self.bound, "a finite number above 0 or None")
        check_weighting("normbound.weighting", self.weighting)

    @property
    def heeds(self) -> frozenset[Grant]:
        """The norm of benign uploads, unless `bound` is given."""
        return frozenset({"norm"}) if self.bound is None else frozenset()

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Average the clipped uploads; scaling and averaging are one pass over the values."""
        norms = updates.norms
        usual = float(np.median(norms)) if view.benign_norm is None else view.benign_norm
        bound = usual if self.bound is None else float(self.bound)
        clipped = norms > bound
        factor = np.where(clipped, bound / np.where(clipped, norms, 1.0), 1.0)
        accepted = np.ones(updates.n, bool)
        weight = shares(updates, accepted, self.weighting)
        verdicts = Verdicts(accepted, norms, weight, tuple("clipped" if c else "" for c in clipped))
        info = {"bound": bound, "clipped": int(clipped.sum())}
        return Outcome(updates.weighted_sum(weight * factor), verdicts, info), state
