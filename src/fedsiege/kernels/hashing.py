"""Counter-based random numbers for kernels: splitmix64 (Steele, Lea & Flood, OOPSLA 2014).

A draw is a function of (key, counter), so threads need no shared state and the order of work does not matter.
"""

from __future__ import annotations

import numpy as np

from fedsiege.kernels.jit import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX1 = np.uint64(0xBF58476D1CE4E5B9)
MIX2 = np.uint64(0x94D049BB133111EB)


@njit()
def draw(key, counter):
    """64 random bits at `counter` of the stream `key` (both uint64)."""
    z = key + (counter + np.uint64(1)) * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * MIX1
    z = (z ^ (z >> np.uint64(27))) * MIX2
    return z ^ (z >> np.uint64(31))


@njit()
def below(bits, bound):
    """Integer in [0, bound) from 64 random bits, by multiplication (bias below 2⁻³² × bound)."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))


@njit()
def fill_words(words, key, counter):
    """Fill `words` uint64 with the draws of stream `key` from `counter` on."""
    for q in range(words.size):
        words[q] = draw(key, counter + np.uint64(q))


@njit()
def fill_dropout(out, words, key, counter, threshold, scale):
    """Fill vector `out` with 0 or `scale`, four 16-bit lanes a draw; return the next counter.

    A lane below `threshold` (0 … 65536) is dropped, so the rate is threshold / 65536. `words` uint64
    ``((out.size + 3) // 4,)`` is room for the draws.
    """
    fill_words(words, key, counter)
    lanes = words.view(np.uint16)
    for j in range(out.size):
        out[j] = scale if np.int64(lanes[j]) >= threshold else np.float32(0.0)
    return counter + np.uint64(words.size)
