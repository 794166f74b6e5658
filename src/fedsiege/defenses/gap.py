"""Gap statistics in one dimension: do the scores of a round fall into more than one cluster?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def two_means(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact 1-D 2-means of each row of `points` ``(b, n)``, n ≥ 2.

    In one dimension optimal clusters are intervals, so all n − 1 cuts are compared by prefix sums.

    Returns
    -------
    cost : numpy.ndarray
        float64 ``(b,)``: within-cluster sum of squares.
    cut : numpy.ndarray
        int64 ``(b,)``: number of points in the lower cluster, in ascending order of the points.
    """
    ordered = np.sort(points, axis=1)
    n = ordered.shape[1]
    sums = np.cumsum(ordered, axis=1)
    squares = np.cumsum(ordered**2, axis=1)
    low = np.arange(1, n)
    left = squares[:, :-1] - sums[:, :-1] ** 2 / low
    rest = sums[:, -1:] - sums[:, :-1]
    right = (squares[:, -1:] - squares[:, :-1]) - rest**2 / (n - low)
    cost = np.maximum(left, 0) + np.maximum(right, 0)
    cut = cost.argmin(1)
    return cost[np.arange(len(cost)), cut], cut + 1


def one_mean(points: np.ndarray) -> np.ndarray:
    """Return the sum of squares about the mean of each row of `points` ``(b, n)``."""
    return ((points - points.mean(1, keepdims=True)) ** 2).sum(1)


@dataclass(frozen=True)
class GapTest:
    """Result of the test.

    Parameters
    ----------
    fired : bool
        Whether there is more than one cluster: gap1 < gap2 − s2.
    lower : numpy.ndarray
        bool ``(n,)``: the points of the lower of two clusters.
    gap1, gap2, s2 : float
        The statistics.
    """

    fired: bool
    lower: np.ndarray
    gap1: float
    gap2: float
    s2: float


def gap_test(values: np.ndarray, references: int, rng: np.random.Generator) -> GapTest:
    """Run Algorithm 3 of Yu et al. (AAAI 2023) after Tibshirani, Walther & Hastie (2001).

    Values are min-max normalised and compared with `references` uniform samples of the same size. Fewer than three
    values, or values that are all equal, form one cluster.
    """
    values = np.asarray(values, np.float64)
    span = np.ptp(values) if values.size else 0.0
    if values.size < 3 or not span > 0:
        return GapTest(False, np.zeros(values.size, bool), 0.0, 0.0, 0.0)
    scaled = (values - values.min()) / span
    cost2, cut = two_means(scaled[None])
    lower = np.zeros(values.size, bool)
    lower[np.argsort(scaled, kind="stable")[: cut[0]]] = True
    uniform = rng.random((references, values.size))
    tiny = np.finfo(np.float64).tiny
    log1 = np.log(one_mean(uniform))
    log2 = np.log(two_means(uniform)[0])
    gap1 = log1.mean() - np.log(max(one_mean(scaled[None])[0], tiny))
    gap2 = log2.mean() - np.log(max(cost2[0], tiny))
    s2 = float(log2.std() * np.sqrt(1 + 1 / references))
    return GapTest(bool(gap1 < gap2 - s2), lower, float(gap1), float(gap2), s2)
