"""How far an adaptive attack may go: bisection on a threshold, and the peak of what is gained below it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0
TIE = 1e-6
"""Gains are equal if they differ by no more than this share."""


def climb(asks: Callable[[np.ndarray], np.ndarray], low: np.ndarray, width: float, steps: int) -> np.ndarray:
    """Return the largest positions found that `asks` answers with yes, each in ``[low, low + width)``.

    Bisection: a position starts at `low`, which is taken for granted, and moves by half of `width`, a quarter and so
    on, each move kept if the answer is yes. Where the answer is yes up to a threshold and no beyond, the result lies
    below it by less than ``width / 2 ** steps``. All positions are asked about at once.

    Parameters
    ----------
    asks : callable
        Takes positions, float64 ``(n,)``, and answers each, bool ``(n,)``.
    low : numpy.ndarray
        float64 ``(n,)``: where each search starts.
    width : float
        Length of the interval, above 0.
    steps : int
        Number of questions, at least 0.

    Reference: Xie et al., FedREDefense, ICML 2024, Algorithm 3.
    """
    found, step = np.array(low, np.float64), width
    for _ in range(steps):
        step /= 2
        found = np.where(asks(found + step), found + step, found)
    return found


def peak(gain: Callable[[float], float], high: float, steps: int) -> None:
    """Ask for the gain at up to ``steps + 1`` positions in ``[0, high)``, ever nearer to the largest.

    The caller remembers the answers. One question just below `high` decides whether the gain still rises there, and
    then the search is over. Otherwise it is a golden-section search, which finds the peak of a gain that rises to it
    and then falls or stays level; of a level stretch it finds the lower end.

    Parameters
    ----------
    gain : callable
        What is gained at a position; minus infinity where nothing is.
    high : float
        The upper end, whose gain is known.
    steps : int
        Questions of the golden-section search.
    """
    if high <= 0 or steps < 1 or exceeds(gain(high), gain(0.95 * high)):
        return
    low = 0.0
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    gain(left)
    for _ in range(steps - 1):
        if exceeds(gain(right), gain(left)):
            low, left = left, right
            right = low + GOLDEN * (high - low)
        else:
            high, right = right, left
            left = high - GOLDEN * (high - low)


def exceeds(a: float, b: float) -> bool:
    """Return whether `a` is larger than `b` by more than a tie."""
    if not (np.isfinite(a) and np.isfinite(b)):
        return a > b
    return a - b > TIE * max(abs(a), abs(b))


def best(gains: dict[float, float]) -> float | None:
    """Return the position with the largest gain, of equal ones the smallest; None if nothing is gained anywhere."""
    found: float | None = None
    for position in sorted(gains):
        if gains[position] > -np.inf and (found is None or exceeds(gains[position], gains[found])):
            found = position
    return found
