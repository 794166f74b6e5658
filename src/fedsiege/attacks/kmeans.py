"""Lloyd's k-means as ClusterAttack needs it: random start, a tolerance, empty clusters left where they are.

Written here because of what the libraries fix otherwise: one has no tolerance, another's sums depend on the
number of threads, and a resumed run must meet the same bits.
"""

from __future__ import annotations

import numpy as np
import torch


def lloyd(
    points: torch.Tensor, k: int, rng: np.random.Generator, tolerance: float = 1e-4, iterations: int = 100
) -> tuple[torch.Tensor, torch.Tensor]:
    """Split `points` into `k` clusters (Lloyd, 1982).

    Parameters
    ----------
    points : torch.Tensor
        Float ``(n, dim)``.
    k : int
        Number of clusters, 1 ≤ k; more than n counts as n.
    rng : numpy.random.Generator
        Draws the k distinct points that are the first centroids.
    tolerance : float
        Stop when the centroids' squared movement, summed, is at most this.
    iterations : int
        Stop after so many rounds at the latest.

    Returns
    -------
    centroids : torch.Tensor
        ``(k, dim)``.
    labels : torch.Tensor
        int64 ``(n,)``: the centroid of each point, the nearest before the last move of the centroids.
    """
    n = points.shape[0]
    k = min(k, n)
    centroids = points[torch.from_numpy(rng.choice(n, k, replace=False))].clone()
    labels = torch.zeros(n, dtype=torch.int64)
    for _ in range(iterations):
        labels = (centroids.square().sum(1) - 2 * points @ centroids.T).argmin(1)
        counts = torch.bincount(labels, minlength=k)
        sums = torch.zeros_like(centroids).index_add_(0, labels, points)
        moved = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centroids)
        shift = float((moved - centroids).square().sum())
        centroids = moved
        if shift <= tolerance:
            break
    return centroids, labels
