"""Networks that select ranks, as lists of comparators that each work on 64 columns at once.

The list is Batcher's merge exchange (D. E. Knuth, The Art of Computer Programming, vol. 3, section 5.2.2, algorithm
M) without the comparators that do not decide which values are selected. A comparator is written in LLVM's vector
types, since a loop over two rows of one array makes the compiler ask at every step whether they overlap.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fedsiege.kernels.jit import njit

LANES = 16
WIDTH = 64
"""Columns that a comparator works on: 100 rows of 64 float32 fit a first-level cache."""


@lru_cache(maxsize=64)
def comparators(n: int, low: int, high: int) -> np.ndarray:
    """Return the comparators that bring the ranks `low` to ``high - 1`` of `n` rows into just those rows.

    int64 ``(m, 2)``. The order within those rows, and within the others, is left open.
    """
    pairs = []
    t = max(n - 1, 1).bit_length()
    p = 1 << (t - 1)
    while p > 0:
        q, r, d = 1 << (t - 1), 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if (i & p) == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    middle, later = np.zeros(n, bool), np.zeros(n, bool)
    middle[low:high] = True
    kept = []
    for a, b in reversed(pairs):
        # What two rows hold in the end may be swapped when both or neither of them is wanted.
        if later[a] or later[b] or middle[a] != middle[b]:
            later[a] = later[b] = True
            kept.append((a, b))
    return np.array(kept[::-1], np.int64).reshape(-1, 2)


def _vectors(context: Any, builder: Any, kind: Any, value: Any, start: Any) -> list[Any]:
    """Return pointers to the vectors that cover 64 elements of a contiguous array from position `start` on."""
    array = context.make_array(kind)(context, builder, value)
    vector = ir.VectorType(context.get_data_type(kind.dtype), LANES).as_pointer()
    places = [builder.add(start, ir.Constant(start.type, q)) for q in range(0, WIDTH, LANES)]
    return [builder.bitcast(builder.gep(array.data, [place]), vector) for place in places]


@intrinsic
def copy(typing: Any, source: Any, start: Any, target: Any, to: Any) -> Any:
    """Copy 64 elements from position `start` of one C-contiguous array to position `to` of another."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        align = signature.args[0].dtype.bitwidth // 8
        reads = _vectors(context, builder, signature.args[0], args[0], args[1])
        writes = _vectors(context, builder, signature.args[2], args[2], args[3])
        for value, place in zip([builder.load(r, align=align) for r in reads], writes):
            builder.store(value, place, align=align)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), build


@intrinsic
def _exchange(typing: Any, tile: Any, a: Any, b: Any) -> Any:
    """Put the smaller of the rows that start at positions `a` and `b` of a tile at `a`, the larger at `b`.

    Where one is NaN, the two change places or stay, so nothing is lost or made twice.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        align = signature.args[0].dtype.bitwidth // 8
        rows = [_vectors(context, builder, signature.args[0], args[0], at) for at in args[1:]]
        for first, second in zip(*rows):
            x, y = builder.load(first, align=align), builder.load(second, align=align)
            less = builder.fcmp_ordered("<", x, y)
            builder.store(builder.select(less, x, y), first, align=align)
            builder.store(builder.select(less, y, x), second, align=align)
        return context.get_dummy_value()

    return types.void(tile, types.intp, types.intp), build


@njit()
def select(tile, pairs):
    """Apply the comparators `pairs` in order to a C-contiguous ``(rows, 64)`` tile, in place."""
    for k in range(pairs.shape[0]):
        _exchange(tile, pairs[k, 0] * WIDTH, pairs[k, 1] * WIDTH)
