"""UNION: clients spread item embeddings, the server filters uploads that gather them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedsiege.capabilities import Capability
from fedsiege.defenses.base import ClientHalf, DefenseView, Filter, Grant, Verdicts
from fedsiege.defenses.gap import gap_test
from fedsiege.defenses.uniformity import Simulation, check_simulation, scores, unsquared_scores
from fedsiege.errors import ConfigError
from fedsiege.learners.base import State
from fedsiege.learners.contrastive import ContrastiveTask, check_contrast
from fedsiege.updates import UpdateBatch


@dataclass(frozen=True)
class Union(Filter):
    """UNION: a contrastive task on clients, and a gap test on the uniformity of the updated item table.

    Each upload is scored by the mean squared distance of sampled item embeddings after that upload alone. If gap
    statistics find more than one cluster of scores, the smaller cluster is rejected (of two equal ones, the less
    uniform). The number of attackers is not used.

    Reference: Yu et al., AAAI 2023, section 4.2, Equation 4, Algorithms 2 and 3.

    Parameters
    ----------
    alpha : float
        Weight of the clients' contrastive task; 0 leaves clients alone.
    negatives : int
        P, negatives per anchor.
    samples : int
        T, items drawn with replacement to estimate uniformity.
    references : int
        B, reference samples of the gap test.
    simulate : {"adam", "sgd"}
        How the table after an upload is made: by the server's own optimizer step (the paper's server is Adam, and so
        the public code has it), or by V − ηg, as Algorithm 2 writes it for a plain server. To the letter the score
        separates far less, see docs/results.
    as_published : bool
        Follow the public code: unsquared distances after an Adam step; and where the threat model grants the number
        of attackers f, also reject the smaller cluster whenever it has at most f members; in front of another
        filter both judge all uploads, and the union of what they reject is dropped.
    weighting : {"samples", "uniform"}
        How accepted uploads are averaged where no rule follows: by the sample counts that clients declare, or equally.
    """

    name: ClassVar[str] = "union"
    needs: ClassVar[frozenset[Capability]] = frozenset({"items"})
    alpha: float = 1.0
    negatives: int = 15
    samples: int = 500
    references: int = 50
    simulate: Simulation = "adam"
    as_published: bool = False

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        super().__post_init__()
        check_contrast("union", self.alpha, self.negatives)
        check_simulation("union", self.simulate)
        if self.samples < 2:
            raise ConfigError(f"union.samples = {self.samples} must be at least 2")
        if self.references < 1:
            raise ConfigError(f"union.references = {self.references} must be at least 1")

    @property
    def joint(self) -> bool:
        """Whether a filter behind this one judges all uploads and not only those accepted here."""
        return self.as_published

    @property
    def heeds(self) -> frozenset[Grant]:
        """The number of attackers, as the public code does."""
        return frozenset({"count"}) if self.as_published else frozenset()

    def client_half(self) -> ClientHalf | None:
        """Return the contrastive task (Equation 4)."""
        return ClientHalf(ContrastiveTask(self.alpha, self.negatives)) if self.alpha else None

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Score uploads (Algorithm 2) and reject the minor cluster if the gap test fires (Algorithm 3)."""
        if self.as_published:
            score = unsquared_scores(updates, view, self.samples, "adam")
        else:
            score = scores(updates, view, self.samples, self.simulate)
        gap = gap_test(score, self.references, view.rng(1))
        lower = int(gap.lower.sum())
        minor = gap.lower if lower <= updates.n - lower else ~gap.lower
        fired = gap.fired
        if self.as_published and view.told is not None and 0 < minor.sum() <= view.told:
            fired = True
        rejected = minor if fired else np.zeros(updates.n, bool)
        info = {"gap1": round(gap.gap1, 4), "gap2": round(gap.gap2, 4), "fired": fired}
        return Verdicts.of(~rejected, score, "in the minor cluster of uniformity"), state, info
