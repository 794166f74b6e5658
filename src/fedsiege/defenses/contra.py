"""CONTRA: clients that point the same way as several others lose weight and reputation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from fedsiege.checks import is_count, is_real, require
from fedsiege.defenses.base import DefenseView, Filter, Outcome, Verdicts
from fedsiege.defenses.geometry import cosines
from fedsiege.learners.base import State
from fedsiege.updates import DenseBlock, ModelSpec, UpdateBatch

TOP = 0.99


def alignment(similarity: np.ndarray, k: int) -> np.ndarray:
    """Return the mean of each row's `k` largest similarities to others (all, if there are fewer); diagonal unread."""
    n = similarity.shape[0]
    k = min(k, n - 1)
    if k < 1:
        return np.zeros(n)
    others = similarity - np.diag(np.full(n, np.inf))
    return np.sort(others, axis=1)[:, n - k :].mean(1)


def pardoned(similarity: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Return similarities in which row i is multiplied by τᵢ / τⱼ where client j is the more aligned."""
    more = tau[None, :] > tau[:, None]
    return similarity * np.where(more, tau[:, None] / np.where(more, tau[None, :], 1.0), 1.0)


def rates(tau: np.ndarray) -> np.ndarray:
    """Return learning rates in [0, 1]: 1 − τ, over the largest, through a logit; all zero where none is above 0."""
    rate = np.clip(1.0 - tau, 0.0, 1.0)
    top = rate.max(initial=0.0)
    if not top > 0:
        return np.zeros_like(rate)
    rate = np.minimum(rate / top, TOP)
    some = rate > 0
    inner = np.where(some, rate, 0.5)
    return np.where(some, np.clip(np.log(inner / (1.0 - inner)) + 0.5, 0.0, 1.0), 0.0)


@dataclass(frozen=True)
class Contra(Filter):
    """CONTRA: cut the weight of uploads aligned with several others, and keep a reputation for each client.

    A client's alignment τ is the mean of its `neighbours` largest cosine similarities to others (negative ones
    count as 0). τ above `threshold` costs `penalty` of its reputation, else it gains as much. Similarities to more
    aligned clients are pardoned by τᵢ/τⱼ, and 1 − τ of the pardoned ones, over the largest, goes through the logit
    of FoolsGold into a learning rate in [0, 1]. Weights are learning rate times reputation, normalised. If no
    upload has any weight (all point the same way), all weigh the same. A verdict's score is τ before pardoning.

    What this rests on: the paper's abstract, the authors' published code, which holds an earlier version close to
    FoolsGold with five neighbours, and independent ports; the printed algorithm could not be checked. Assumed:
    reputations start at 1 and stay in [0, 1]; `threshold` 0.5 and `penalty` 0.1 are those of ports. Different by
    design: there the server samples clients by reputation; here cohorts are the federation's, so reputation scales
    the weight. The similarity is that of whole updates and not of the output layer's.

    Reference: Awan, Luo & Li, CONTRA, ESORICS 2021; logit of Fung, Yoon & Beschastnikh, FoolsGold, RAID 2020.

    Parameters
    ----------
    weighting : {"samples", "uniform"}
        Without effect: declared sample counts are not used.
    neighbours : int
        k, how many of the largest similarities are averaged, ≥ 1.
    threshold : float
        Alignment above which reputation falls, 0 to 1.
    penalty : float
        Step of the reputation, 0 to 1.
    memory : bool
        Whether similarities are those of each client's updates summed over its rounds, as in the paper, and not of
        this round's alone. Off unless asked for: it keeps one dense float32 vector of the model's size for every client
        seen, in memory and in each checkpoint, which for matrix factorisation on ML-1M is 5.7 GB.
    """

    name: ClassVar[str] = "contra"
    weighting: str = "uniform"
    neighbours: int = 5
    threshold: float = 0.5
    penalty: float = 0.1
    memory: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        ok = is_count(self.neighbours) and self.neighbours >= 1
        require(ok, "contra.neighbours", self.neighbours, "an int of at least 1")
        for field in ("threshold", "penalty"):
            value = getattr(self, field)
            require(is_real(value) and 0 <= value <= 1, f"contra.{field}", value, "a number from 0 to 1")
        require(isinstance(self.memory, bool), "contra.memory", self.memory, "true or false")

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return empty tables of reputations and of summed updates, by client id."""
        return {"reputation": {}, "sums": {}}

    def _summed(self, updates: UpdateBatch, ids: list[str], sums: Mapping[str, torch.Tensor]) -> torch.Tensor:
        flat = updates.flat().float().cpu()
        past = [sums[i] if i in sums else torch.zeros(flat.shape[1]) for i in ids]
        return flat + torch.stack(past)

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Measure alignment, update reputations and set weights; an upload of weight 0 is rejected."""
        ids = [str(int(c)) for c in updates.clients]
        gram, sums = updates.gram, state["sums"]
        if self.memory:
            history = self._summed(updates, ids, sums)
            gram = DenseBlock(history).gram()
            sums = {**sums, **{i: row.clone() for i, row in zip(ids, history)}}
        similarity = np.maximum(cosines(gram), 0.0)
        tau = alignment(similarity, self.neighbours)
        reputation = np.array([state["reputation"].get(i, 1.0) for i in ids])
        change = np.where(tau > self.threshold, -self.penalty, self.penalty)
        reputation = np.clip(reputation + change, 0.0, 1.0)
        raw = rates(alignment(pardoned(similarity, tau), self.neighbours)) * reputation
        raw = raw if raw.any() else np.ones(updates.n)
        accepted = raw > 0
        verdicts = Verdicts(
            accepted, tau, raw / raw.sum(), tuple("" if ok else "aligned with several others" for ok in accepted)
        )
        after = {"reputation": {**state["reputation"], **dict(zip(ids, reputation.tolist()))}, "sums": sums}
        return verdicts, after, {"reputation": float(reputation.mean())}

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Judge, then average with the judged weights."""
        verdicts, state, info = self.judge(updates, state, view)
        return Outcome(updates.weighted_sum(verdicts.weight), verdicts, info), state
