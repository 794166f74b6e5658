from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsiege.data import draw_negatives, leave_one_out, synthetic_scale
from fedsiege.errors import DataError
from fedsiege.rng import client_keys

from .conftest import raw, table

MASK = (1 << 64) - 1


def naive(rows: list[list[int]], forbidden: list[np.ndarray], num_items: int, seed: int) -> list[int]:
    """The r-th untouched item in a plain list, r from SplitMix64 in Python integers."""
    keys = client_keys(seed, "negatives", 0, np.arange(len(rows)))
    out = []
    for user, row in enumerate(rows):
        touched = set(row) | {int(held[user]) for held in forbidden}
        free = [item for item in range(num_items) if item not in touched]
        for count in range(len(row)):
            z = (int(keys[user]) + (count + 1) * 0x9E3779B97F4A7C15) & MASK
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
            out.append(free[((z ^ (z >> 31)) * len(free)) >> 64])
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 11), max_size=9), min_size=1, max_size=8),
    st.integers(0, 3),
    st.integers(0, 2**40),
)
def test_equals_a_plain_loop(rows: list[list[int]], held_out: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    forbidden = [rng.integers(-1, 12, len(rows)).astype(np.int32) for _ in range(held_out)]
    free = [12 - len({*row, *(int(held[user]) for held in forbidden)} - {-1}) for user, row in enumerate(rows)]
    train = table(rows, 12)
    if any(not left and row for left, row in zip(free, rows)):
        with pytest.raises(DataError, match="touched all 12 items"):
            draw_negatives(train, forbidden, seed)
    else:
        assert draw_negatives(train, forbidden, seed).tolist() == naive(rows, forbidden, 12, seed)


def test_paper_spares_held_out_items_and_fair_does_not() -> None:
    train, valid, test = leave_one_out(raw([[0, 1, 2, 3]] * 2_000, 5), 0)
    assert set(draw_negatives(train, (valid, test), 0).tolist()) == {4}
    assert set(draw_negatives(train, (), 0).tolist()) == {2, 3, 4}


def test_draws_are_uniform_over_the_untouched() -> None:
    drawn = draw_negatives(table([[2, 5]] * 40_000, 8), (), 3)
    counts = np.bincount(drawn, minlength=8)
    assert counts[2] == counts[5] == 0
    chi2 = ((np.delete(counts, [2, 5]) - 80_000 / 6) ** 2 / (80_000 / 6)).sum()
    assert chi2 < 25  # 5 degrees of freedom: beyond the 0.9998 quantile.


def test_a_user_depends_on_the_seed_and_itself_alone() -> None:
    rows = [[user % 5, 7] for user in range(40)]
    first = draw_negatives(table(rows, 50), (), 9)
    changed = draw_negatives(table([[1, 2, 3], *rows[1:]], 50), (), 9)
    assert np.array_equal(first[2:], changed[3:])
    assert not np.array_equal(first, draw_negatives(table(rows, 50), (), 10))


def test_blocks_of_threads_change_nothing() -> None:
    # Above the threshold of on_blocks; the prefix of users alone is below it.
    data = synthetic_scale(4_000, 2_000, 130_000, seed=1).interactions
    small = table([data.of(user).tolist() for user in range(300)], 2_000)
    assert np.array_equal(draw_negatives(data, (), 5)[: small.nnz], draw_negatives(small, (), 5))


def test_a_user_who_knows_everything_is_an_error_not_a_hang() -> None:
    with pytest.raises(DataError, match="user 1 touched all 3 items"):
        draw_negatives(table([[0], [2, 0, 1], [1]], 3), (), 0)
    # A user without training items needs no negative.
    assert draw_negatives(table([[], [0]], 1 + 1), (np.array([0, -1]),), 0).tolist() == [1]


def test_forbidden_must_fit() -> None:
    with pytest.raises(DataError, match=r"forbidden\[0\] has shape \(1,\)"):
        draw_negatives(table([[0], [1]], 3), (np.array([0]),), 0)
    with pytest.raises(DataError, match=r"forbidden\[1\] holds an item outside"):
        draw_negatives(table([[0], [1]], 3), (np.array([-1, -1]), np.array([0, 3])), 0)


def test_large_rows_draw_nothing_forbidden() -> None:
    data = synthetic_scale(50_000, 50_000, 2_000_000, seed=0).interactions
    drawn = draw_negatives(data, (), 0)
    joint = np.sort(data.users().astype(np.int64) * 50_000 + data.items)
    mine = data.users().astype(np.int64) * 50_000 + drawn
    assert not (joint[np.searchsorted(joint, mine).clip(max=len(joint) - 1)] == mine).any()
