"""A plain clustering filter: two groups by direction, and the smaller one goes if they are clearly apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedsiege.checks import is_real, require
from fedsiege.defenses.base import DefenseView, Filter, Verdicts
from fedsiege.defenses.geometry import cosines
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch


def two_groups(distances: np.ndarray) -> np.ndarray:
    """Return the two average-linkage clusters of n ≥ 2 points, bool ``(n,)``: True in the first point's."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    n = distances.shape[0]
    tree = linkage(squareform(distances, checks=False), "average")
    # The last merge joins the two clusters; walk down from one of its sides.
    members, waiting = np.zeros(n, bool), [int(tree[-1, 0])]
    while waiting:
        node = waiting.pop()
        if node < n:
            members[node] = True
        else:
            waiting += [int(side) for side in tree[node - n, :2]]
    return members == members[0]


def spread(distances: np.ndarray, first: np.ndarray) -> tuple[float, float]:
    """Return the mean distance between the two groups and the mean over pairs inside them (0 without any)."""
    same = first[:, None] == first[None, :]
    inside = same & ~np.eye(first.size, dtype=bool)
    return float(distances[~same].mean()), float(distances[inside].mean()) if inside.any() else 0.0


@dataclass(frozen=True)
class Clustering(Filter):
    """Clustering: split uploads into two groups by direction, and drop the smaller one if they are clearly apart.

    Average-linkage clustering of the cosine distances between updates, cut into two. If the mean distance between
    the groups exceeds the mean distance inside them by less than `gap`, or there are fewer than three uploads, all
    are accepted. Of two groups of one size the tighter is kept, then the one with the lowest client id. A verdict's
    score is the upload's mean cosine distance to the other uploads.

    This is the plain member of a family, not a published rule: Auror clusters each indicative feature over several
    rounds, and clustered federated learning bipartitions clients by cosine similarity to train a model per cluster.

    Reference: the family of Shen et al., Auror, ACSAC 2016, and Sattler et al., ICASSP 2020.

    Parameters
    ----------
    weighting : {"samples", "uniform"}
        How accepted uploads are averaged.
    gap : float
        Mean cosine distance between the groups minus that inside them above which the smaller is dropped, 0 to 2.
    """

    name: ClassVar[str] = "clustering"
    gap: float = 0.25

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        require(is_real(self.gap) and 0 <= self.gap <= 2, "clustering.gap", self.gap, "a number from 0 to 2")

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Split and keep the larger group; points are clustered in the order of client ids, for ties."""
        n = updates.n
        distances = 1.0 - cosines(updates.gram)
        score = distances.sum(1) / max(n - 1, 1)
        if n < 3:
            return Verdicts.of(np.ones(n, bool), score, ""), state, {}
        order = np.argsort(updates.clients, kind="stable")
        ordered = distances[np.ix_(order, order)]
        first = two_groups(ordered)
        between, within = spread(ordered, first)
        apart = between - within
        kept = np.ones(n, bool)
        if apart > self.gap:
            sizes = int(first.sum()), int((~first).sum())
            widths = ordered[np.ix_(first, first)].sum(), ordered[np.ix_(~first, ~first)].sum()
            keep_first = sizes[0] > sizes[1] or (sizes[0] == sizes[1] and bool(widths[0] <= widths[1]))
            kept[order] = first if keep_first else ~first
        return Verdicts.of(kept, score, "in the smaller of two groups"), state, {"apart": apart}
