"""FLAME: keep the majority cluster of local models, clip to the median norm, add a little noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from fedsiege.checks import is_real, require
from fedsiege.defenses.base import DefenseView, Filter, Outcome, Verdicts, shares
from fedsiege.defenses.geometry import local_model_distances
from fedsiege.learners.base import State
from fedsiege.updates import Delta, DenseBlock, RowBlock, UpdateBatch
from fedsiege.updates.block import Block
from fedsiege.updates.noise import uniforms


def majority(distances: np.ndarray) -> np.ndarray:
    """Return the largest HDBSCAN cluster of n points under `distances`, bool ``(n,)``.

    The smallest allowed cluster holds more than half the points. Where every point counts as noise, and among fewer
    than three points, all are kept.
    """
    n, span = distances.shape[0], distances.max(initial=0.0)
    if n < 3 or not span > 0:
        return np.ones(n, bool)
    # scikit-learn takes seconds to import, and most runs use other defenses.
    from sklearn.cluster import HDBSCAN

    model = HDBSCAN(
        min_cluster_size=n // 2 + 1, min_samples=1, metric="precomputed", allow_single_cluster=True, copy=True
    )
    labels = model.fit(distances / span).labels_
    if not (labels >= 0).any():
        return np.ones(n, bool)
    return labels == np.bincount(labels[labels >= 0]).argmax()


def with_noise(delta: Delta, deviation: float, view: DefenseView) -> dict[str, Block]:
    """Return an aggregate plus N(0, `deviation`²) on each stored value."""
    noisy: dict[str, Block] = {}
    for name, block in delta.items():
        assert isinstance(block, RowBlock | DenseBlock)
        u = uniforms(block, np.zeros(1, np.int64), view.seed, f"flame/{name}", view.round)
        values = block.values.double() + deviation * torch.special.ndtri(u)
        noisy[name] = replace(block, values=values.to(block.dtype))
    return noisy


@dataclass(frozen=True)
class Flame(Filter):
    """FLAME: keep the majority cluster of local models, clip updates to the median norm, average, add noise.

    HDBSCAN clusters the cosine distances between local models w + uᵢ with more than half the cohort as the smallest
    cluster, so at most one cluster forms; its density rule keeps little more than that half. Kept updates are
    clipped to S, the median norm of *all* uploads of the round, averaged, and N(0, (noise · S)²) is added.

    Inside a composition, in front of another rule, only the clustering works: clipping and noise belong to the
    aggregate, so they happen when FLAME stands last. In a row-sparse table noise falls on the touched rows alone, as
    noise on all rows would make every round's aggregate dense; FLAME's argument about backdoors assumes noise
    everywhere. A verdict's score is the mean cosine distance to the kept local models.

    Reference: Nguyen et al., FLAME, USENIX Security 2022, Algorithm 1.

    Parameters
    ----------
    weighting : {"samples", "uniform"}
        Weights of the mean; the paper's are equal.
    noise : float
        λ, standard deviation of the noise over the clipping bound, ≥ 0; 0.001 is the paper's for images.
    """

    name: ClassVar[str] = "flame"
    weighting: str = "uniform"
    noise: float = 0.001

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        require(is_real(self.noise) and self.noise >= 0, "flame.noise", self.noise, "a finite number of at least 0")

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Accept the majority cluster; points are clustered in the order of client ids, for ties."""
        distances = local_model_distances(updates, view)
        order = np.argsort(updates.clients, kind="stable")
        kept = np.empty(updates.n, bool)
        kept[order] = majority(distances[np.ix_(order, order)])
        score = distances[:, kept].mean(1)
        return Verdicts.of(kept, score, "outside the majority cluster"), state, {"kept": int(kept.sum())}

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Cluster, clip, average and add noise."""
        verdicts, state, info = self.judge(updates, state, view)
        norms, kept = updates.norms, verdicts.accepted
        bound = float(np.median(norms))
        clipped = norms > bound
        factor = np.where(clipped, bound / np.where(clipped, norms, 1.0), 1.0)
        weight = shares(updates, kept, self.weighting)
        delta = updates.weighted_sum(weight * factor)
        if self.noise * bound > 0:
            delta = with_noise(delta, self.noise * bound, view)
        clipped &= kept
        reason = tuple("clipped" if c else r for c, r in zip(clipped, verdicts.reason))
        verdicts = replace(verdicts, weight=weight, reason=reason)
        return Outcome(delta, verdicts, {**info, "bound": bound, "clipped": int(clipped.sum())}), state
