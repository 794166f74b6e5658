from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsiege.data import Interactions, RawInteractions, RecDataset
from fedsiege.errors import DataError

from .conftest import as_rows, table

ROWS = st.lists(st.lists(st.integers(0, 6), max_size=8), min_size=1, max_size=8)


@given(ROWS)
def test_views_agree_with_plain_lists(rows: list[list[int]]) -> None:
    data = table(rows, 7)
    assert (data.num_users, data.nnz) == (len(rows), sum(map(len, rows)))
    assert data.indptr.dtype == np.int64
    assert data.items.dtype == np.int32
    assert as_rows(data) == rows
    assert data.counts().tolist() == [len(row) for row in rows]
    assert data.users().tolist() == [user for user, row in enumerate(rows) for _ in row]
    assert as_rows(data.sorted_items()) == [sorted(row) for row in rows]
    flat = [item for row in rows for item in row]
    assert data.popularity().tolist() == [flat.count(item) for item in range(7)]


def test_sorting_leaves_the_original_alone() -> None:
    data = table([[3, 1], [2, 0]], 4)
    data.sorted_items()
    assert as_rows(data) == [[3, 1], [2, 0]]


@pytest.mark.parametrize(
    ("indptr", "items", "num_items", "message"),
    [
        ([0, 2, 1, 3], [0, 1, 2], 3, "falls at user 1: 2 to 1"),
        ([1, 3], [0, 1, 2], 3, "start with 0"),
        ([], [], 3, "start with 0"),
        ([0, 2], [0, 1, 2], 3, "ends at 2, yet there are 3"),
        ([0, 1, 3], [0, 1, 3], 3, "item 3 of user 1"),
        ([0, 1, 1, 3], [0, -1, 2], 3, "item -1 of user 2"),
        ([0, 1], [0], -1, "num_items"),
        ([0.0, 1.0], [0], 1, "integers"),
        ([[0, 1]], [0], 1, "one-dimensional"),
    ],
)
def test_bad_rows_are_refused(indptr: list, items: list, num_items: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Interactions(np.array(indptr), np.array(items), num_items)


def test_unknown_user_is_refused() -> None:
    for user in (-1, 2):
        with pytest.raises(DataError, match=r"outside \[0, 2\)"):
            table([[0], [1]], 2).of(user)


def test_raw_checks_labels_and_order() -> None:
    data = table([[0, 1]], 2)
    assert RawInteractions(data, "time", np.arange(1), np.arange(2)).exact_last
    assert not RawInteractions(data, "file", np.arange(1), np.arange(2)).exact_last
    with pytest.raises(DataError, match="order"):
        RawInteractions(data, "random", np.arange(1), np.arange(2))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="item_labels has 3"):
        RawInteractions(data, "none", np.arange(1), np.arange(3))


def test_dataset_checks_held_out_items() -> None:
    train = table([[0], [1]], 3)
    none = np.full(2, -1)
    assert RecDataset("x", train, none, none, "none").valid.dtype == np.int32
    with pytest.raises(DataError, match="valid has 1"):
        RecDataset("x", train, none[:1], none, "none")
    with pytest.raises(DataError, match="test must hold"):
        RecDataset("x", train, none, np.array([0, 3]), "none")
