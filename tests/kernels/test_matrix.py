"""Float64 sums over a dense matrix against exact sums."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest

from fedsiege.kernels import matrix

shapes = pytest.mark.parametrize(
    ("n", "width"), [(1, 1), (3, 7), (5, matrix.NARROW + 1), (4, matrix.PIECE), (2, 3 * matrix.PIECE + 5)]
)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@shapes
@dtypes
def test_sums_are_those_of_float64(n: int, width: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    x = (1e-4 * rng.normal(size=(n, width))).astype(dtype)
    vector = rng.normal(size=width).astype(np.float32)
    wide, other = x.astype(np.float64), vector.astype(np.float64)
    squares = [math.fsum(row * row) for row in wide]
    np.testing.assert_allclose(matrix.sq_norms(x), squares, rtol=1e-13)
    bound = 1e-13 * np.abs(wide * other).sum(1).max()
    np.testing.assert_allclose(matrix.dots(x, vector), [math.fsum(row * other) for row in wide], rtol=0, atol=bound)
    pairs = np.array([(a, b) for a in range(n) for b in range(n)])
    gaps = [math.fsum((wide[a] - wide[b]) ** 2) for a, b in pairs]
    np.testing.assert_allclose(matrix.sq_distances(x, pairs), gaps, rtol=1e-13)


def test_float32_neither_overflows_nor_cancels() -> None:
    x = np.full((2, 10), 1e30, np.float32)
    assert np.isfinite(matrix.sq_norms(x)).all()
    x = np.ones((2, 10_000), np.float32)
    x[1] += np.float32(2**-20)
    np.testing.assert_allclose(matrix.sq_distances(x, np.array([[0, 1]])), 10_000 * 2.0**-40, rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_values_stay_in_their_row(bad: float) -> None:
    x = np.random.default_rng(0).normal(size=(4, 9000)).astype(np.float32)
    x[2, 8500] = bad
    np.testing.assert_array_equal(np.isfinite(matrix.sq_norms(x)), [True, True, False, True])
    np.testing.assert_array_equal(np.isfinite(matrix.dots(x, x[0])), [True, True, False, True])
    gaps = matrix.sq_distances(x, np.array([[0, 1], [1, 2], [2, 3], [0, 3]]))
    np.testing.assert_array_equal(np.isfinite(gaps), [True, False, False, True])


def test_strides_empty_matrices_and_no_pairs() -> None:
    x = np.random.default_rng(0).normal(size=(6, 40))
    np.testing.assert_allclose(matrix.sq_norms(x[::2, 3:30]), (x[::2, 3:30] ** 2).sum(1), rtol=1e-13)
    assert matrix.sq_norms(np.empty((0, 5))).shape == (0,)
    assert matrix.sq_norms(np.empty((3, 0))).tolist() == [0.0] * 3
    assert matrix.dots(np.empty((3, 0)), np.empty(0)).tolist() == [0.0] * 3
    assert matrix.sq_distances(x, np.empty((0, 2), np.int64)).shape == (0,)
    assert matrix.weighted_sum(np.empty((0, 5)), np.empty(0)).tolist() == [0.0] * 5
    assert matrix.weighted_sum(np.empty((3, 0)), np.ones(3)).shape == (0,)
    weights = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(matrix.weighted_sum(x[::2, 3:30], weights), weights @ x[::2, 3:30], rtol=1e-12)


@pytest.mark.parametrize("n", [*range(1, 10), 50])
@pytest.mark.parametrize("width", [1, matrix.WIDE - 1, 3 * matrix.WIDE + 5])
@dtypes
def test_weighted_sums_are_exact_but_for_one_rounding(n: int, width: int, dtype: type) -> None:
    rng = np.random.default_rng(n)
    x, weights = rng.normal(size=(n, width)).astype(dtype), rng.normal(size=n)
    terms = weights[:, None] * x.astype(np.float64)
    exact = np.array([math.fsum(column) for column in terms.T])
    got = matrix.weighted_sum(x, weights)
    assert got.dtype == dtype
    bound = np.finfo(dtype).eps / 2 * np.abs(exact) + n * 2.0**-52 * np.abs(terms).sum(0)
    assert (np.abs(got - exact) <= bound).all()


def test_rows_of_weight_zero_are_not_read_and_change_no_bit() -> None:
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(9, 2000)).astype(np.float32), rng.normal(size=9)
    weights[[0, 4, 8]] = 0
    kept = matrix.weighted_sum(x[weights != 0], weights[weights != 0])
    x[weights == 0] = np.nan
    np.testing.assert_array_equal(matrix.weighted_sum(x, weights), kept)
    assert not matrix.weighted_sum(x, np.zeros(9)).any()
    x[3, 7] = np.nan
    assert np.flatnonzero(np.isnan(matrix.weighted_sum(x, weights))).tolist() == [7]


def test_the_number_of_threads_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(11, 5 * matrix.PIECE + 3)).astype(np.float32), rng.normal(size=11)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):  # type: ignore[attr-defined]
            numba.set_num_threads(threads)
            results.append([matrix.weighted_sum(x, weights), matrix.sq_norms(x), matrix.dots(x, x[0])])
    finally:
        numba.set_num_threads(before)
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)
