"""The sorting network and the two readings of a column with implicit zeros, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from fedsiege.kernels.network import ranked, sort_rows, trimmed_column

WIDTH = 17


def tiles(n: int, dtype: type) -> list[np.ndarray]:
    rng = np.random.default_rng(n)
    plain = rng.normal(size=(n + 2, WIDTH))
    ties = rng.integers(-2, 3, (n + 2, WIDTH))
    wild = plain * 10.0 ** rng.integers(-30, 30, plain.shape)
    infinite = np.where(rng.random(plain.shape) < 0.2, np.inf * np.sign(plain), plain)
    return [t.astype(dtype) for t in (plain, ties, wild, infinite, plain * 0)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", range(71))
def test_sort_rows(n: int, dtype: type) -> None:
    for tile in tiles(n, dtype):
        got = tile.copy()
        sort_rows(got, n, WIDTH - 2)
        np.testing.assert_array_equal(got[:n, : WIDTH - 2], np.sort(tile[:n, : WIDTH - 2], axis=0))
        # Rows beyond n and columns beyond the width are not touched.
        np.testing.assert_array_equal(got[n:], tile[n:])
        np.testing.assert_array_equal(got[:, WIDTH - 2 :], tile[:, WIDTH - 2 :])


@pytest.mark.parametrize("zeros", [0, 1, 2, 7])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("shift", [-5.0, -0.5, 0.0, 5.0])
def test_columns_with_implicit_zeros(count: int, zeros: int, shift: float) -> None:
    rng = np.random.default_rng(count * 10 + zeros)
    for values in (rng.normal(size=(count, 4)) + shift, rng.integers(-1, 2, (count, 4)) + shift):
        tile = np.sort(values, axis=0)
        n = count + zeros
        for j in range(4):
            whole = np.sort(np.concatenate([values[:, j], np.zeros(zeros)]))
            for rank in range(n):
                assert ranked(tile, count, zeros, rank, j) == whole[rank]
            for trim in range((n + 1) // 2):
                got = trimmed_column(tile, count, zeros, trim, j)
                assert got == pytest.approx(whole[trim : n - trim].mean(), rel=1e-12, abs=1e-15)
