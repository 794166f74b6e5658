from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsiege.data._build import assemble, first_seen, rows
from fedsiege.errors import DataError

from .conftest import as_rows


@given(st.lists(st.one_of(st.integers(-5, 40), st.integers(-(2**62), 2**62)), max_size=40))
def test_integers_are_numbered_as_first_seen(values: list[int]) -> None:
    codes, labels = first_seen(np.array(values, np.int64))
    expected = list(dict.fromkeys(values))
    assert labels.tolist() == expected
    assert codes.tolist() == [expected.index(value) for value in values]


@given(st.lists(st.integers(-3, 30), max_size=40))
def test_dense_integers_take_the_table(values: list[int]) -> None:
    codes, labels = first_seen(np.array(values, np.int64))
    assert labels.tolist() == list(dict.fromkeys(values))
    assert labels[codes].tolist() == values


@given(st.lists(st.text("ab7é", min_size=1, max_size=3), min_size=1, max_size=40))
def test_strings_are_numbered_as_first_seen(values: list[str]) -> None:
    codes, labels = first_seen(pl.Series(values, dtype=pl.String))
    expected = list(dict.fromkeys(values))
    assert labels.tolist() == expected
    assert codes.tolist() == [expected.index(value) for value in values]


RECORDS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)), max_size=30)


@given(RECORDS, st.booleans(), st.booleans())
def test_rows_equal_a_plain_loop(records: list[tuple[int, int, int]], timed: bool, repeats: bool) -> None:
    expected: list[list[int]] = [[] for _ in range(4)]
    for user, item, _ in sorted(records, key=lambda record: record[2]) if timed else records:
        if repeats or item not in expected[user]:
            expected[user].append(item)
    columns = np.array(records, np.int64).reshape(-1, 3).T
    built = rows(columns[0], columns[1], columns[2] if timed else None, 4, 5, repeats)
    assert as_rows(built) == expected


def test_nothing_to_build_from_is_an_error() -> None:
    none = np.zeros(0, np.int64)
    with pytest.raises(DataError, match="no interaction"):
        assemble(none, none, None, order="file")
