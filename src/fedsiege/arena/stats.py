"""Means with bootstrap intervals over seeds, differences paired by seed, and who wins by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

RESAMPLES = 2000
"""Bootstrap samples behind every interval."""
ROUNDING = 1e-9
"""Differences up to this are rounding errors of equal scores, and count as zero."""
PAIRS = 5
"""So many seeds in common are the least by which anything wins: the bootstrap of two values spans just these two."""
LEVEL = 0.95
"""Of every interval."""
_CHUNK = 256


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

    @property
    def positive(self) -> bool:
        """Whether the whole interval lies above zero (by more than `ROUNDING`); False without an interval."""
        return self.low > ROUNDING

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; False without an interval."""
        return self.positive or self.high < -ROUNDING


def estimates(samples: Sequence[Iterable[float]], resamples: int = RESAMPLES) -> list[Estimate]:
    """Return the mean of each sample with a percentile-bootstrap 95 % interval (scipy, fixed seed).

    Samples of one size are resampled together, by the same draws of seeds; so each interval is what it would be
    alone, and thousands take a second. Values that are not finite are left out: replace them first if they count.

    Parameters
    ----------
    samples : sequence of iterables of float
        Each ``(seeds,)``, of any sizes.
    resamples : int
        Bootstrap samples.
    """
    nan = float("nan")
    arrays = [np.array(list(values), np.float64) for values in samples]
    arrays = [array[np.isfinite(array)] for array in arrays]
    found = [Estimate(float(a.mean()) if a.size else nan, nan, nan, a.size) for a in arrays]
    for size in {a.size for a in arrays if a.size > 1}:
        places = [i for i, a in enumerate(arrays) if a.size == size]
        for start in range(0, len(places), _CHUNK):
            chunk = places[start : start + _CHUNK]
            lows, highs = _intervals(np.stack([arrays[i] for i in chunk]), resamples)
            for i, low, high in zip(chunk, lows, highs):
                found[i] = Estimate(found[i].mean, float(low), float(high), size)
    return found


def _intervals(values: np.ndarray, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends ``(samples,)`` of the intervals of the rows of `values` ``(samples, seeds)``."""
    from scipy.stats import bootstrap

    draws = np.random.default_rng(0)
    result = bootstrap(
        (values,), np.mean, axis=1, n_resamples=resamples, confidence_level=LEVEL, method="percentile", rng=draws
    )
    return result.confidence_interval.low, result.confidence_interval.high


def estimate(values: Iterable[float], resamples: int = RESAMPLES) -> Estimate:
    """Return the mean of `values` ``(seeds,)`` with a percentile-bootstrap 95 % interval; see `estimates`."""
    return estimates([values], resamples)[0]


def differences(left: Mapping[int, float], right: Mapping[int, float]) -> list[float]:
    """Return ``left − right`` for each seed that both have, in the order of seeds."""
    return [left[seed] - right[seed] for seed in sorted(set(left) & set(right))]


def paired(left: Mapping[int, float], right: Mapping[int, float]) -> Estimate:
    """Return the mean of ``left − right`` over the seeds that both have."""
    return estimate(differences(left, right))


def losses(clean: Mapping[int, float], attacked: Mapping[int, float]) -> list[float]:
    """Return ``(clean − attacked) / clean`` for each seed that both have; NaN where `clean` is zero."""
    seeds = sorted(set(clean) & set(attacked))
    return [(clean[s] - attacked[s]) / clean[s] if clean[s] else float("nan") for s in seeds]


def relative_loss(clean: Mapping[int, float], attacked: Mapping[int, float]) -> Estimate:
    """Return the mean share of the clean value that is lost, ``(clean − attacked) / clean``, paired by seed."""
    return estimate(losses(clean, attacked))


def winner(values: Sequence[Mapping[int, float]], pairs: int = PAIRS) -> int | None:
    """Return the place of the one that is above every other, None if none is.

    One is above another if the 95 % intervals of their difference, paired by seed, lie above zero: the bootstrap's and
    Student's. The first alone is too narrow for few values: of two equal methods with normal differences it names one
    the winner in a case of six with five seeds, both together in one of twenty. A tie has no winner, and neither has
    one that stands alone.

    Parameters
    ----------
    values : sequence of mappings
        Each from seed to score; higher is better.
    pairs : int
        So many seeds must every two have in common, at least two.
    """
    if len(values) < 2:
        return None
    for place, mine in enumerate(values):
        apart = [differences(mine, other) for i, other in enumerate(values) if i != place]
        # The mean of differences lies in their interval, so intervals are needed for one candidate at most.
        if all(len(d) >= max(pairs, 2) and fmean(d) > ROUNDING for d in apart):
            sure = all(_student_low(d) > ROUNDING for d in apart) and all(e.positive for e in estimates(apart))
            return place if sure else None
    return None


def _student_low(values: Sequence[float]) -> float:
    """Return the lower end of Student's 95 % interval of the mean of at least two values."""
    from scipy.stats import sem, t

    return float(fmean(values) - t.ppf((1 + LEVEL) / 2, len(values) - 1) * sem(values))
