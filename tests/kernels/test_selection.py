"""Networks that select ranks, and the coordinate-wise rules made of them, against NumPy's sort."""

from __future__ import annotations

import numpy as np
import pytest

from fedsiege.kernels import columns
from fedsiege.kernels.selection import WIDTH, comparators, select


def tiles(n: int, width: int, dtype: type, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng((n, width, seed))
    plain = rng.normal(size=(n, width))
    ties = rng.integers(-2, 3, (n, width))
    wild = plain * 10.0 ** rng.integers(-30, 30, plain.shape)
    infinite = np.where(rng.random(plain.shape) < 0.2, np.inf * np.sign(plain), plain)
    return [t.astype(dtype) for t in (plain, ties, wild, infinite, plain * 0)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [*range(1, 20), 31, 32, 33, 64, 65, 100])
def test_the_wanted_ranks_end_in_the_wanted_rows(n: int, dtype: type) -> None:
    ranges = {(trim, n - trim) for trim in range((n + 1) // 2)} if n < 20 else {(0, n), (n // 5, n - n // 5)}
    for low, high in ranges | {((n - 1) // 2, n // 2 + 1)}:
        pairs = comparators(n, low, high)
        for tile in tiles(n, WIDTH, dtype):
            got = tile.copy()
            select(got, pairs)
            ordered = np.sort(tile, axis=0)
            np.testing.assert_array_equal(np.sort(got[low:high], axis=0), ordered[low:high])
            np.testing.assert_array_equal(np.sort(got, axis=0), ordered)


def test_zeros_and_ones_decide_every_network_of_few_rows() -> None:
    """A network that selects right on all columns of zeros and ones selects right on everything."""
    for n in range(1, 13):
        every = (np.arange(2**n) >> np.arange(n)[:, None]) & 1
        for trim in range((n + 1) // 2):
            rows = every.copy()
            for a, b in comparators(n, trim, n - trim):
                rows[a], rows[b] = np.minimum(rows[a], rows[b]), np.maximum(rows[a], rows[b])
            np.testing.assert_array_equal(rows[trim : n - trim].sum(0), np.sort(every, axis=0)[trim : n - trim].sum(0))


def test_fewer_ranks_take_fewer_comparators() -> None:
    assert len(comparators(1, 0, 1)) == 0
    assert len(comparators(2, 0, 2)) == 0
    assert len(comparators(3, 1, 2)) == 3
    assert len(comparators(100, 49, 51)) < 900
    assert comparators(100, 0, 100).shape == (0, 2)


def test_nan_is_neither_lost_nor_doubled() -> None:
    rng = np.random.default_rng(0)
    tile = rng.normal(size=(9, WIDTH)).astype(np.float32)
    tile[rng.random(tile.shape) < 0.3] = np.nan
    got = tile.copy()
    select(got, comparators(9, 4, 5))
    np.testing.assert_array_equal(np.sort(got, axis=0), np.sort(tile, axis=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 63, 64, 65, 130, 5000])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 101])
def test_medians_and_trimmed_means_of_columns(n: int, width: int, dtype: type) -> None:
    for matrix in tiles(n, width, dtype):
        before = matrix.copy()
        ordered = np.sort(matrix, axis=0)
        with np.errstate(invalid="ignore"):
            middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
        for given in (matrix, np.asfortranarray(matrix)):
            got = columns.median(given)
            assert got.dtype == dtype
            np.testing.assert_array_equal(got, middle)
        for trim in {0, n // 5, (n - 1) // 2}:
            with np.errstate(invalid="ignore"):
                expected = ordered[trim : n - trim].astype(np.float64).mean(0)
            got = columns.trimmed_mean(matrix, trim)
            assert got.dtype == dtype
            known = np.isfinite(expected)
            np.testing.assert_array_equal(got[~known], expected[~known])
            largest = np.abs(ordered[trim : n - trim, known]).max(0, initial=0.0)
            off = np.abs(got[known] - expected[known])
            assert (off <= (1e-6 if dtype == np.float32 else 1e-14) * largest).all()
        np.testing.assert_array_equal(matrix, before)


def test_no_columns() -> None:
    assert columns.median(np.empty((3, 0), np.float32)).shape == (0,)
    assert columns.trimmed_mean(np.empty((3, 0), np.float32), 1).shape == (0,)
