"""Every operation of row-sparse and dense blocks against loops in float64."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsiege.kernels.matrix import WIDE
from fedsiege.updates import DenseBlock, RowBlock
from fedsiege.updates.block import Block

ROWS, DIM = 9, 3


def sparse(n: int, seed: int, dtype: torch.dtype = torch.float64, density: float = 0.4, ties: bool = False) -> RowBlock:
    """Random uploads; some may be empty, some rows touched by nobody, values may tie and be zero."""
    rng = np.random.default_rng(seed)
    touched = rng.random((n, ROWS)) < density
    touched[:, ROWS - 1] = False
    if n:
        touched[0] = False
    indptr = np.concatenate([[0], np.cumsum(touched.sum(1))]).astype(np.int64)
    values = rng.integers(-2, 3, (indptr[-1], DIM)) if ties else rng.normal(size=(indptr[-1], DIM))
    return RowBlock(
        torch.from_numpy(indptr),
        torch.from_numpy(np.nonzero(touched)[1].astype(np.int64)),
        torch.from_numpy(values.astype(np.float64)).to(dtype),
        ROWS,
    )


def both(n: int, seed: int, **kwargs: object) -> list[Block]:
    block = sparse(n, seed, **kwargs)  # type: ignore[arg-type]
    return [block, DenseBlock(block.dense())]


def matrix(block: Block) -> np.ndarray:
    """Return the uploads as float64 ``(n, size)``."""
    return block.dense().double().numpy().reshape(block.n, -1)


def check_well_formed(block: Block) -> None:
    if isinstance(block, RowBlock):
        indptr, rows, values = block.arrays
        assert indptr[0] == 0
        assert indptr[-1] == rows.size == values.shape[0]
        for a, b in pairwise(indptr):
            assert (np.diff(rows[a:b]) > 0).all()


def naive_median(column: np.ndarray) -> float:
    ordered = sorted(column.tolist())
    n = len(ordered)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def naive_trimmed(column: np.ndarray, trim: int) -> float:
    kept = sorted(column.tolist())[trim : len(column) - trim]
    return sum(kept) / len(kept)


cases = pytest.mark.parametrize(("n", "seed"), [(1, 0), (2, 1), (3, 2), (7, 3), (12, 4), (33, 5)])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
tied = pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 1e-12, "atol": 1e-13} if dtype == torch.float64 else {"rtol": 2e-6, "atol": 1e-6}


@cases
def test_dense_of_sparse_places_rows(n: int, seed: int) -> None:
    block = sparse(n, seed)
    expected = np.zeros((n, ROWS, DIM))
    indptr, rows, values = block.arrays
    for i in range(n):
        for e in range(indptr[i], indptr[i + 1]):
            expected[i, rows[e]] = values[e]
    np.testing.assert_array_equal(block.dense().numpy(), expected)
    assert block.shape == (ROWS, DIM)


@cases
@dtypes
def test_select_replace_scale_add(n: int, seed: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(seed)
    index = rng.integers(0, n, 2 * n)
    places = rng.permutation(n)[: (n + 1) // 2]
    factors = rng.normal(size=n)
    for block, other in zip(both(n, seed, dtype=dtype), both(n, seed + 50, dtype=dtype)):
        some = block.select(index)
        np.testing.assert_array_equal(matrix(some), matrix(block)[index])
        new = other.select(np.arange(places.size))
        expected = matrix(block)
        expected[places] = matrix(new)
        before = matrix(block)
        replaced = block.replace(places, new)
        np.testing.assert_array_equal(matrix(replaced), expected)
        np.testing.assert_array_equal(matrix(block), before)
        scaled = block.scale(factors)
        np.testing.assert_allclose(matrix(scaled), before * factors[:, None], **tolerance(dtype))
        total = block.add(other)
        np.testing.assert_allclose(matrix(total), before + matrix(other), **tolerance(dtype))
        for made in (some, replaced, scaled, total):
            check_well_formed(made)
            assert made.dtype == dtype


@cases
@dtypes
def test_norms_products_and_distances(n: int, seed: int, dtype: torch.dtype) -> None:
    for block in both(n, seed, dtype=dtype):
        x = matrix(block)
        gram = np.array([[sum(a * b) for b in x] for a in x])
        np.testing.assert_allclose(block.sq_norms(), np.diag(gram), **tolerance(dtype))
        got = block.gram()
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, gram, **tolerance(dtype))
        np.testing.assert_array_equal(got, got.T)
        for a in range(min(n, 5)):
            for b in range(min(n, 5)):
                exact = float(((x[a] - x[b]) ** 2).sum())
                assert block.sq_distance(a, b) == pytest.approx(exact, rel=1e-12)
        pairs = np.array([(a, b) for a in range(n) for b in range(n)])
        one_by_one = [block.sq_distance(int(a), int(b)) for a, b in pairs]
        np.testing.assert_array_equal(block.sq_distances(pairs), one_by_one)
        assert block.sq_distances(pairs[:0]).shape == (0,)


@cases
@dtypes
@pytest.mark.parametrize("wide", [False, True], ids=["mapped", "merged"])
def test_products_of_some_uploads_with_all(n: int, seed: int, dtype: torch.dtype, wide: bool) -> None:
    rng = np.random.default_rng(seed)
    for block in both(n, seed, dtype=dtype):
        if isinstance(block, RowBlock) and wide:
            block = RowBlock(block.indptr, block.rows * 1000, block.values, 1000 * ROWS)
        x = matrix(block)
        for index in (np.arange(n), rng.permutation(n)[: (n + 1) // 2], np.array([], np.int64)):
            got = block.products_with(index)
            assert got.dtype == np.float64
            assert got.shape == (index.size, n)
            naive = np.array([[sum(x[a] * b) for b in x] for a in index]).reshape(index.size, n)
            np.testing.assert_allclose(got, naive, **tolerance(dtype))
            np.testing.assert_array_equal(got[:, index], got[:, index].T)


def test_products_with_an_upload_that_is_not_finite_are_not_finite_alone() -> None:
    for block in both(7, 3):
        block = block.scale(np.array([1.0, np.nan, *[1.0] * 5]))
        got = block.products_with(np.array([1, 2]))
        assert np.isnan(got[1, 1])
        assert np.isfinite(np.delete(got[1], 1)).all()


@cases
@dtypes
def test_weighted_sum_reads_no_upload_of_weight_zero(n: int, seed: int, dtype: torch.dtype) -> None:
    weights = np.random.default_rng(seed).normal(size=n)
    weights[::3] = 0.0
    for block in both(n, seed, dtype=dtype):
        x = matrix(block)
        np.testing.assert_allclose(matrix(block.weighted_sum(weights))[0], weights @ x, **tolerance(dtype))
        poisoned = block.scale(np.where(weights == 0, np.nan, 1.0))
        np.testing.assert_allclose(matrix(poisoned.weighted_sum(weights))[0], weights @ x, **tolerance(dtype))


@cases
@dtypes
@tied
def test_moments_median_and_trimmed_mean(n: int, seed: int, dtype: torch.dtype, ties: bool) -> None:
    for block in both(n, seed, dtype=dtype, ties=ties, density=0.7):
        x = matrix(block)
        mean = np.array([sum(c) / n for c in x.T])
        std = np.sqrt([sum((c - m) ** 2) / n for c, m in zip(x.T, mean)])
        got_mean, got_std = block.moments()
        np.testing.assert_allclose(matrix(got_mean)[0], mean, **tolerance(dtype))
        np.testing.assert_allclose(matrix(got_std)[0], std, **tolerance(dtype))
        middle = block.median()
        np.testing.assert_allclose(matrix(middle)[0], [naive_median(c) for c in x.T], **tolerance(dtype))
        for trim in range((n + 1) // 2):
            got = block.trimmed_mean(trim)
            expected = [naive_trimmed(c, trim) for c in x.T]
            np.testing.assert_allclose(matrix(got)[0], expected, **tolerance(dtype))
            assert got.n == 1
            check_well_formed(got)
        for made in (got_mean, got_std, middle):
            assert (made.n, made.shape, made.dtype) == (1, block.shape, dtype)


@given(
    n=st.integers(1, 40),
    seed=st.integers(0, 10_000),
    density=st.floats(0, 1),
    ties=st.booleans(),
    data=st.data(),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_sparse_rules_equal_dense_ones(n: int, seed: int, density: float, ties: bool, data: st.DataObject) -> None:
    trim = data.draw(st.integers(0, (n - 1) // 2))
    rows, dense = both(n, seed, density=density, ties=ties)
    close = {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_array_equal(matrix(rows.median()), matrix(dense.median()))
    np.testing.assert_allclose(matrix(rows.trimmed_mean(trim)), matrix(dense.trimmed_mean(trim)), **close)
    np.testing.assert_allclose(rows.gram(), dense.gram(), **close)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_finite_tells_which_upload(bad: float) -> None:
    for block in both(6, 8, density=0.9):
        values = block.values.clone()  # type: ignore[attr-defined]
        place = 2 if isinstance(block, DenseBlock) else int(block.arrays[0][2])  # type: ignore[attr-defined]
        values[place, ..., DIM - 1] = bad
        changed = (
            DenseBlock(values) if isinstance(block, DenseBlock) else RowBlock(block.indptr, block.rows, values, ROWS)  # type: ignore[attr-defined]
        )
        np.testing.assert_array_equal(changed.finite(), np.arange(6) != 2)
        assert block.finite().all()


def test_no_uploads_at_all() -> None:
    none = np.array([], np.int64)
    for block in both(4, 1):
        empty = block.select(none)
        assert empty.n == 0
        assert empty.shape == block.shape
        assert empty.sq_norms().shape == empty.finite().shape == (0,)
        assert empty.gram().shape == (0, 0)
        assert empty.scale(np.empty(0)).n == empty.add(empty).n == 0
        assert empty.dense().shape == (0, ROWS, DIM)
        assert matrix(block.replace(none, empty)).tolist() == matrix(block).tolist()
        np.testing.assert_array_equal(matrix(empty.weighted_sum(np.empty(0))), np.zeros((1, ROWS * DIM)))


def test_uploads_that_touch_nothing() -> None:
    empty = RowBlock(torch.zeros(4, dtype=torch.int64), torch.empty(0, dtype=torch.int64), torch.empty(0, DIM), ROWS)
    assert empty.n == 3
    assert empty.finite().all()
    np.testing.assert_array_equal(empty.gram(), np.zeros((3, 3)))
    for one in (empty.median(), empty.trimmed_mean(1), empty.weighted_sum(np.ones(3)), *empty.moments()):
        assert one.n == 1
        assert not one.dense().any()
    full = sparse(3, 4, torch.float32, density=1.0)
    np.testing.assert_array_equal(matrix(empty.add(full)), matrix(full))
    np.testing.assert_array_equal(matrix(full.add(empty)), matrix(full))


def test_the_two_groupings_agree() -> None:
    # A small table is grouped by counting, a huge one by sorting.
    small = sparse(8, 6, torch.float64)
    huge = RowBlock(small.indptr, small.rows, small.values, 10**7)
    for name in ("unique", "starts", "order", "owner"):
        np.testing.assert_array_equal(getattr(small.grouping, name), getattr(huge.grouping, name))
    np.testing.assert_array_equal(small.median().values.numpy(), huge.median().values.numpy())


def test_from_dense_lists_the_same_rows_for_all() -> None:
    table = torch.randn(3, 4, DIM, generator=torch.Generator().manual_seed(0))
    whole = RowBlock.from_dense(table)
    np.testing.assert_array_equal(whole.dense().numpy(), table.numpy())
    some = RowBlock.from_dense(table, torch.tensor([1, 2, 5, 8]), ROWS)
    assert some.shape == (ROWS, DIM)
    np.testing.assert_array_equal(some.dense()[:, [1, 2, 5, 8]].numpy(), table.numpy())
    assert some.dense()[:, [0, 3, 4, 6, 7]].abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("size", [40, WIDE, 2 * WIDE + 3])
def test_wide_dense_blocks(size: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(size)
    block = DenseBlock(torch.from_numpy(rng.normal(size=(6, size))).to(dtype))
    x, weights = matrix(block), np.array([0.0, 0.5, 0.25, 0.0, 0.125, -1.0])
    close = {"rtol": 1e-2, "atol": 1e-2} if dtype == torch.float16 else tolerance(dtype)
    total = block.weighted_sum(weights)
    np.testing.assert_allclose(matrix(total)[0], weights @ x, **close)
    if block.compiled:
        # Float64 sums, rounded once: half a step of the dtype from the exact sum, and the sum's own rounding.
        terms = weights[:, None] * x
        exact = np.array([math.fsum(column) for column in terms.T])
        bound = torch.finfo(dtype).eps / 2 * np.abs(exact) + 6 * 2.0**-52 * np.abs(terms).sum(0)
        assert (np.abs(matrix(total)[0] - exact) <= bound).all()
    poisoned = block.scale(np.where(weights == 0, np.nan, 1.0))
    assert torch.equal(poisoned.weighted_sum(weights).values, total.values)
    param = torch.from_numpy(rng.normal(size=size)).float()
    np.testing.assert_allclose(block.products(param), x @ param.double().numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(block.sq_norms(), (x**2).sum(1), rtol=1e-12)
    pairs = np.array([[0, 1], [4, 2], [3, 3]])
    np.testing.assert_allclose(block.sq_distances(pairs), ((x[pairs[:, 0]] - x[pairs[:, 1]]) ** 2).sum(1), rtol=1e-12)
    assert block.finite().all()
    np.testing.assert_allclose(matrix(block.median())[0], np.median(x, axis=0), **close)
    np.testing.assert_allclose(matrix(block.trimmed_mean(2))[0], np.sort(x, axis=0)[2:4].mean(0), **close)


def test_finite_values_whose_squares_overflow_are_finite() -> None:
    block = DenseBlock(torch.tensor([[1e200, 1.0], [np.inf, 1.0], [1.0, 2.0]], dtype=torch.float64))
    assert np.isinf(block.sq_norms()[0])
    assert block.finite().tolist() == [True, False, True]
