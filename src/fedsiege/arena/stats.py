"""Means with bootstrap intervals over seeds, and differences paired by seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % bootstrap interval; without one (NaN) where there is a single seed."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval, NaN for one seed."""
        return (self.high - self.low) / 2


def estimate(values: Iterable[float], resamples: int = 2000) -> Estimate:
    """Return the mean of `values` ``(seeds,)`` with a percentile-bootstrap 95 % interval (scipy, fixed seed)."""
    from scipy.stats import bootstrap

    array = np.array(list(values), np.float64)
    array = array[np.isfinite(array)]
    nan = float("nan")
    if array.size == 0:
        return Estimate(nan, nan, nan, 0)
    if array.size == 1:
        return Estimate(float(array[0]), nan, nan, 1)
    result = bootstrap((array,), np.mean, n_resamples=resamples, method="percentile", rng=np.random.default_rng(0))
    interval = result.confidence_interval
    return Estimate(float(array.mean()), float(interval.low), float(interval.high), array.size)


def paired(left: Mapping[int, float], right: Mapping[int, float]) -> Estimate:
    """Return the mean of ``left − right`` over the seeds that both have."""
    seeds = sorted(set(left) & set(right))
    return estimate([left[s] - right[s] for s in seeds])


def relative_loss(clean: Mapping[int, float], attacked: Mapping[int, float]) -> Estimate:
    """Return the mean share of the clean value that is lost, ``(clean − attacked) / clean``, paired by seed."""
    seeds = sorted(set(clean) & set(attacked))
    return estimate([(clean[s] - attacked[s]) / clean[s] for s in seeds])
