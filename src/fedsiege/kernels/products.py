"""Matrix products of a few hundred rows for use inside a kernel, where each thread works on one client.

A tile of the result, four rows by up to four vectors of 16 numbers, stays in registers while the inner dimension
is walked (as in Goto & van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 2008). The tile is
written in LLVM's vector types, since loops over arrays make the compiler store the tile at every step. On sizes
such as 100 × 64 × 64 this is faster than a BLAS call, starts no thread of its own, and gives a client the same bits
whoever else is in the cohort.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fedsiege.kernels.jit import njit

LANES = 16
VECTOR = ir.VectorType(ir.FloatType(), LANES)
FUSE = ("contract", "nsz")

# Four vectors fill the 32 registers of AVX-512; elsewhere a vector of 16 is itself two or four registers.
WIDE = 4 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 1


def _make_tile(vectors: int) -> Callable[..., None]:
    """Return an intrinsic for tiles of 4 × (16 · vectors); see `add_rows` for its arguments."""

    @intrinsic
    def tile(typing: Any, c: Any, i: Any, j: Any, a: Any, a0: Any, b: Any, b0: Any, bj: Any, inner: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            arrays = dict(zip("cab", (0, 3, 5)))
            made = {k: context.make_array(signature.args[p])(context, builder, args[p]) for k, p in arrays.items()}
            steps = {k: cgutils.unpack_tuple(builder, x.strides, 2) for k, x in made.items()}
            i, j, a0, b0, bj, inner = (args[p] for p in (1, 2, 4, 6, 7, 8))
            word, byte = i.type, ir.IntType(8).as_pointer()

            def address(name: str, row: Any, column: Any) -> Any:
                x, (down, along) = made[name], steps[name]
                offset = builder.add(builder.mul(row, down), builder.mul(column, along))
                return builder.gep(builder.bitcast(x.data, byte), [offset])

            def plus(x: Any, n: int) -> Any:
                return builder.add(x, ir.Constant(word, n))

            def vector(name: str, row: Any, column: Any, q: int) -> Any:
                return builder.bitcast(address(name, row, plus(column, q * LANES)), VECTOR.as_pointer())

            cells = [(r, q) for r in range(4) for q in range(vectors)]
            places = {(r, q): vector("c", plus(i, r), j, q) for r, q in cells}
            sums = {cell: cgutils.alloca_once(builder, VECTOR) for cell in cells}
            for cell in cells:
                builder.store(builder.load(places[cell], align=4), sums[cell])
            with cgutils.for_range(builder, inner) as loop:
                right = [builder.load(vector("b", builder.add(b0, loop.index), bj, q), align=4) for q in range(vectors)]
                for r in range(4):
                    place = address("a", plus(i, r), builder.add(a0, loop.index))
                    factor = builder.load(builder.bitcast(place, ir.FloatType().as_pointer()))
                    first = builder.insert_element(
                        ir.Constant(VECTOR, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0)
                    )
                    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                    left = builder.shuffle_vector(first, ir.Constant(VECTOR, ir.Undefined), lanes)
                    for q in range(vectors):
                        product = builder.fmul(left, right[q], flags=FUSE)
                        builder.store(builder.fadd(builder.load(sums[r, q]), product, flags=FUSE), sums[r, q])
            for cell in cells:
                builder.store(builder.load(sums[cell]), places[cell], align=4)
            return context.get_dummy_value()

        index = types.intp
        return types.void(c, index, index, a, index, b, index, index, index), build

    return tile


@intrinsic
def out_of_line(typing: Any) -> Any:
    """Keep the enclosing function from being inlined, which saves most of the time that the network compiles."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), build


_wide = _make_tile(WIDE)
_one = _make_tile(1)


@njit()
def _rest(c, i, j, a, a0, b, b0, bj, inner, cols):
    """Four rows of fewer than 16 columns."""
    for r in range(4):
        for k in range(inner):
            for x in range(cols):
                c[i + r, j + x] += a[i + r, a0 + k] * b[b0 + k, bj + x]


@njit()
def add_rows(c, i, j, a, a0, b, b0, bj, inner, cols):
    """``c[i:i+4, j:j+cols] += a[i:i+4, a0:a0+inner] @ b[b0:b0+inner, bj:bj+cols]``, all float32.

    `c` and `b` have contiguous rows; `a` may have any strides, such as a transposed view.
    """
    done = 0
    while done + WIDE * LANES <= cols:
        _wide(c, i, j + done, a, a0, b, b0, bj + done, inner)
        done += WIDE * LANES
    while done + LANES <= cols:
        _one(c, i, j + done, a, a0, b, b0, bj + done, inner)
        done += LANES
    if done < cols:
        _rest(c, i, j + done, a, a0, b, b0, bj + done, inner, cols - done)


@njit()
def add_product(c, a, b, bj, rows, inner, cols):
    """``c[:rows, :cols] += a[:rows, :inner] @ b[:inner, bj:bj+cols]``, `rows` a multiple of four; see `add_rows`."""
    out_of_line()
    for i in range(0, rows, 4):
        add_rows(c, i, 0, a, 0, b, 0, bj, inner, cols)


@njit()
def transpose_columns(x, first, count, rows, out):
    """``out[k, t] = x[t, first + k]`` for `count` columns and `rows` rows; zeros up to whole vectors."""
    for k in range(count):
        for t in range(rows):
            out[k, t] = x[t, first + k]
        for t in range(rows, (rows + LANES - 1) // LANES * LANES):
            out[k, t] = 0
