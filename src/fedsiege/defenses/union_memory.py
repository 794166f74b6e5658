"""UNION with memory: a robust outlier test on UNION's score, and evidence kept per client over rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedsiege.capabilities import Capability
from fedsiege.checks import is_real, require
from fedsiege.defenses.base import ClientHalf, DefenseView, Filter, Verdicts
from fedsiege.defenses.uniformity import Simulation, check_simulation, scores
from fedsiege.learners.base import State
from fedsiege.learners.contrastive import ContrastiveTask, check_contrast
from fedsiege.updates import ModelSpec, UpdateBatch

SMALLEST_COHORT = 8
CONSISTENT = 1.4826
"""Makes the median absolute deviation estimate the standard deviation of a normal variable."""


def robust_z(values: np.ndarray) -> np.ndarray:
    """Return (value − median) / (1.4826 · median absolute deviation), zeros where the deviation is zero."""
    offset = values - np.median(values)
    spread = CONSISTENT * np.median(np.abs(offset))
    return offset / spread if spread > 0 else np.zeros_like(values)


@dataclass(frozen=True)
class UnionMemory(Filter):
    """UNION with memory: rejects uploads whose uniformity lies far below the round's, remembering each client.

    The score is UNION's, with three changes that make one attacker among fifty stand out: it counts every row that
    an upload touches and not 500 sampled ones, it looks at the table after the server's own optimizer step, and it
    is measured in robust standard deviations of the round (median and median absolute deviation). An upload is
    rejected if it lies more than `outlier` deviations below the median, or if its client has gathered evidence
    above `evidence` and lies below the median by more than one: evidence adds up what a client's scores fall
    short of −`drift`, at most `outlier` in a round (a one-sided CUSUM; Page, Biometrika 1954), and never falls below
    zero. No number of attackers is used. Cohorts of fewer than eight are not judged.

    Reference: FedSiege's own; score of Yu et al., AAAI 2023, Algorithm 2; CUSUM of Page, Biometrika 1954.

    Parameters
    ----------
    alpha : float
        Weight of the clients' contrastive task; 0 leaves clients alone.
    negatives : int
        Negatives per anchor.
    outlier : float
        Deviations below the median at which a single upload is rejected, > 0.
    drift : float
        Deviations below the median that an honest client is allowed on average, > 0.
    evidence : float
        Gathered evidence above which a client's low scores are rejected, > 0.
    simulate : {"sgd", "adam"}
        Which step is simulated; see `Union`.
    weighting : {"samples", "uniform"}
        How accepted uploads are averaged where no rule follows: by the sample counts that clients declare, or equally.
    """

    name: ClassVar[str] = "union-memory"
    needs: ClassVar[frozenset[Capability]] = frozenset({"items"})
    alpha: float = 1.0
    negatives: int = 15
    outlier: float = 4.0
    drift: float = 2.5
    evidence: float = 3.0
    simulate: Simulation = "adam"

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        super().__post_init__()
        check_contrast("union-memory", self.alpha, self.negatives)
        check_simulation("union-memory", self.simulate)
        for field in ("outlier", "drift", "evidence"):
            value = getattr(self, field)
            require(is_real(value) and value > 0, f"union-memory.{field}", value, "a number above 0")

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return empty evidence; it is kept for clients that have any."""
        return {"evidence": {}}

    def client_half(self) -> ClientHalf | None:
        """Return the contrastive task of UNION."""
        return ClientHalf(ContrastiveTask(self.alpha, self.negatives)) if self.alpha else None

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Score, compare with the round, add to the evidence and reject."""
        score = scores(updates, view, None, self.simulate)
        if updates.n < SMALLEST_COHORT:
            return Verdicts.of(np.ones(updates.n, bool), score, ""), state, {}
        z = robust_z(score)
        before = state["evidence"]
        held = np.array([before.get(int(c), 0.0) for c in updates.clients])
        held = np.maximum(held + np.minimum(-z - self.drift, self.outlier), 0.0)
        rejected = (z < -self.outlier) | ((held > self.evidence) & (z < -1.0))
        evidence = dict(before)
        for client, value in zip(updates.clients.tolist(), held.tolist()):
            evidence.pop(client, None)
            if value > 0:
                evidence[client] = value
        reason = "uniformity far below the round's"
        return Verdicts.of(~rejected, score, reason), {"evidence": evidence}, {"suspects": len(evidence)}
