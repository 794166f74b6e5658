"""A checksum of large arrays at the speed at which memory is read, for telling uploads of one sender apart.

It is no cryptographic hash: who wants to can make two arrays of equal checksum. Any change of a single word changes
it, and other changes leave it as it was once in 2⁶⁴ times.
"""

from __future__ import annotations

import numpy as np

from fedsiege.kernels.hashing import GOLDEN
from fedsiege.kernels.jit import njit

LANES = 4
FOLD = np.uint64(32)


@njit()
def _fold(words, lanes):
    """Mix `words` uint64 ``(n,)`` into `lanes` uint64 ``(4,)``, word j into lane j modulo 4, each step a bijection."""
    n = words.size
    a, b, c, d = lanes[0], lanes[1], lanes[2], lanes[3]
    for j in range(0, n - n % 4, 4):
        # Four chains, so that no multiplication waits for the one before it.
        a, b = (a ^ words[j]) * GOLDEN, (b ^ words[j + 1]) * GOLDEN
        c, d = (c ^ words[j + 2]) * GOLDEN, (d ^ words[j + 3]) * GOLDEN
        a, b, c, d = a ^ (a >> FOLD), b ^ (b >> FOLD), c ^ (c >> FOLD), d ^ (d >> FOLD)
    lanes[0], lanes[1], lanes[2], lanes[3] = a, b, c, d
    for j in range(n - n % 4, n):
        mixed = (lanes[j % 4] ^ words[j]) * GOLDEN
        lanes[j % 4] = mixed ^ (mixed >> FOLD)


def start() -> np.ndarray:
    """Return the lanes of no array at all, uint64 ``(4,)``."""
    return np.arange(1, LANES + 1, dtype=np.uint64)


def add(lanes: np.ndarray, array: np.ndarray) -> None:
    """Mix the bytes of `array`, in C order, into `lanes`.

    Parameters
    ----------
    lanes : numpy.ndarray
        uint64 ``(4,)`` of `start`, changed in place.
    array : numpy.ndarray
        Any shape and dtype without objects.
    """
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    whole = raw.size - raw.size % 8
    words = raw[:whole].view(np.uint64)
    words = words if words.flags.aligned else words.copy()
    words.flags.writeable = False  # One compiled kernel for arrays that may be written and that may not.
    _fold(words, lanes)
    if whole < raw.size:
        _fold(np.frombuffer(raw[whole:].tobytes().ljust(8, b"\0"), np.uint64), lanes)
