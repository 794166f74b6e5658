"""AFA: directions unlike the aggregate's go, one tail at a time, and clients are blocked by their history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedsiege.checks import is_real, require
from fedsiege.defenses.base import DefenseView, Filter, Outcome, Verdicts, shares
from fedsiege.learners.base import State
from fedsiege.updates import ModelSpec, UpdateBatch

ROUNDING = 1e-6
"""Cosines that spread less than this are equal: inner products are made of float32 products."""


def similarities(gram: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the cosine of each upload with the weighted mean, float64 ``(n,)``; 0 where either is zero."""
    dots = gram @ weight
    sizes = np.sqrt(np.maximum(np.diag(gram), 0.0) * max(float(weight @ dots), 0.0))
    return np.where(sizes > 0, np.clip(dots / np.where(sizes > 0, sizes, 1.0), -1.0, 1.0), 0.0)


@dataclass(frozen=True)
class AFA(Filter):
    """AFA: drop uploads whose direction is unlike the aggregate's, and block clients that are dropped often.

    The aggregate weighs an upload by its client's probability of being good times its sample count. Cosine
    similarities to it have a mean and a median; if the mean is the lower of the two, uploads below median − ξσ are
    dropped, else those above median + ξσ; the aggregate is made anew and ξ grows by `widen`, until none is dropped.
    A client's probability of being good is the mean of a Beta(α, β) posterior: α counts its good rounds from
    `prior_good`, β its bad ones from `prior_bad`. It is blocked for good when the probability that this lies under
    one half, I₀.₅(α, β), exceeds `block`; with the defaults after six bad rounds and no good one.

    The paper compares the parameters that clients send; here the similarity is that of updates w_i − w, as whole
    models close to one another all have cosines close to 1. A verdict's score is the last similarity that was
    computed while the upload was still in; NaN for a blocked client.

    Reference: Muñoz-González, Co & Lupu, Byzantine-Robust Federated Machine Learning through Adaptive Model
    Averaging, 2019, Algorithm 1 and section 3.

    Parameters
    ----------
    weighting : {"samples", "uniform"}
        Whether the probability of being good is multiplied by declared sample counts (the paper) or not.
    width : float
        ξ of the first pass, > 0.
    widen : float
        What each pass adds to ξ, ≥ 0.
    prior_good, prior_bad : float
        α₀ and β₀, > 0.
    block : float
        δ, the probability above which a client is blocked, in (0, 1).
    """

    name: ClassVar[str] = "afa"
    expels: ClassVar[bool] = True
    width: float = 2.0
    widen: float = 0.5
    prior_good: float = 3.0
    prior_bad: float = 3.0
    block: float = 0.95

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        for field in ("width", "prior_good", "prior_bad"):
            value = getattr(self, field)
            require(is_real(value) and value > 0, f"afa.{field}", value, "a finite number above 0")
        require(is_real(self.widen) and self.widen >= 0, "afa.widen", self.widen, "a finite number of at least 0")
        require(is_real(self.block) and 0 < self.block < 1, "afa.block", self.block, "a number between 0 and 1")

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return an empty history: good and bad rounds by client id."""
        return {"rounds": {}}

    def _blocked(self, rounds: np.ndarray) -> np.ndarray:
        from scipy.special import betainc

        return betainc(self.prior_good + rounds[:, 0], self.prior_bad + rounds[:, 1], 0.5) > self.block

    def _weights(self, updates: UpdateBatch, kept: np.ndarray, good: np.ndarray) -> np.ndarray:
        raw = shares(updates, kept, self.weighting) * good
        return raw / raw.sum() if raw.any() else raw

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Drop tails until none is left, then count a good or a bad round for everyone not blocked before."""
        n = updates.n
        ids = [str(int(c)) for c in updates.clients]
        rounds = np.array([state["rounds"].get(i, (0, 0)) for i in ids], np.float64).reshape(n, 2)
        barred = self._blocked(rounds)
        alpha = self.prior_good + rounds[:, 0]
        good = alpha / (alpha + self.prior_bad + rounds[:, 1])
        kept, score, width, passes = ~barred, np.full(n, np.nan), self.width, 0
        weight = self._weights(updates, kept, good)
        dropped = bool(kept.any())
        while dropped:
            cosine = similarities(updates.gram, weight)
            score = np.where(kept, cosine, score)
            inside = cosine[kept]
            median, sigma = np.median(inside), inside.std()
            # One tail alone, so at least half of what is in stays in.
            offset = (median - cosine) if inside.mean() < median else (cosine - median)
            tail = kept & (offset > width * sigma + ROUNDING)
            dropped = bool(tail.any())
            kept = kept & ~tail
            weight = self._weights(updates, kept, good)
            width += self.widen
            passes += 1
        rounds = rounds + np.where(barred, 0.0, 1.0)[:, None] * np.stack([kept, ~kept], 1)
        expelled = barred | (~kept & self._blocked(rounds))
        history = {**state["rounds"], **{i: [int(g), int(b)] for i, (g, b) in zip(ids, rounds)}}
        reason = tuple(
            "" if ok else "blocked by its history" if out else "direction unlike the aggregate's"
            for ok, out in zip(kept, expelled)
        )
        verdicts = Verdicts(kept, score, weight, reason, expelled)
        return verdicts, {"rounds": history}, {"passes": passes, "blocked": int(expelled.sum())}

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Judge, then average with the weights of the last pass."""
        verdicts, state, info = self.judge(updates, state, view)
        delta = updates.weighted_sum(verdicts.weight) if verdicts.accepted.any() else None
        return Outcome(delta, verdicts, info), state
