from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsiege.data import leave_one_out

from .conftest import as_rows, raw

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=9), min_size=1, max_size=9)


@given(ROWS, st.sampled_from(["time", "file"]))
def test_last_two_are_held_out(rows: list[list[int]], order: str) -> None:
    train, valid, test = leave_one_out(raw(rows, 10, order), seed=0)
    assert valid.dtype == test.dtype == np.int32
    for user, row in enumerate(rows):
        if len(row) < 3:
            assert (as_rows(train)[user], valid[user], test[user]) == (row, -1, -1)
        else:
            assert (as_rows(train)[user], valid[user], test[user]) == (row[:-2], row[-2], row[-1])


@given(ROWS, st.integers(0, 2**31))
def test_without_order_two_places_are_held_out(rows: list[list[int]], seed: int) -> None:
    # Distinct items per user, so that places can be told from items.
    rows = [list(dict.fromkeys(row)) for row in rows]
    train, valid, test = leave_one_out(raw(rows, 10, "none"), seed)
    for user, row in enumerate(rows):
        kept = as_rows(train)[user]
        assert kept == [item for item in row if item in kept]
        if len(row) >= 3:
            assert sorted([*kept, int(valid[user]), int(test[user])]) == sorted(row)
        else:
            assert (kept, valid[user], test[user]) == (row, -1, -1)


def test_random_places_depend_on_seed_and_user_alone() -> None:
    rows = [list(range(5 + user % 7)) for user in range(50)]
    _, _, first = leave_one_out(raw(rows, 20, "none"), 1)
    _, _, again = leave_one_out(raw(rows[:20], 20, "none"), 1)
    _, _, other = leave_one_out(raw(rows, 20, "none"), 2)
    assert np.array_equal(first[:20], again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("which", [1, 2])
def test_random_places_are_uniform(which: int) -> None:
    held = leave_one_out(raw([list(range(5))] * 20_000, 5, "none"), 0)[which]
    shares = np.bincount(held, minlength=5) / len(held)
    assert np.abs(shares - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 20_000)


def test_random_pairs_are_uniform() -> None:
    _, valid, test = leave_one_out(raw([[0, 1, 2]] * 30_000, 3, "none"), 0)
    joint = np.bincount(3 * test + valid, minlength=9).reshape(3, 3)
    assert (np.diag(joint) == 0).all()
    off = joint[~np.eye(3, dtype=bool)] / 30_000
    assert np.abs(off - 1 / 6).max() < 5 * np.sqrt(1 / 6 * 5 / 6 / 30_000)
