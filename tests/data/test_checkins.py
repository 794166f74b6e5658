from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsiege.data import load_checkins
from fedsiege.data.checkins import k_core
from fedsiege.errors import DataError

from .conftest import labelled


def line(user: object, minute: int, place: object) -> str:
    return f"{user}\t2010-10-19T23:{minute:02d}:27Z\t30.2359091167\t-97.7951395833\t{place}\n"


@pytest.mark.parametrize("name", ["x_totalCheckins.txt", "x_totalCheckins.txt.gz"])
def test_rows_are_in_order_of_time(write: Callable[..., Path], name: str) -> None:
    # As in the genuine file, the newest comes first.
    text = line(5, 9, "a") + line(5, 8, "b") + line(5, 1, "a") + line(2, 3, "b") + line(5, 0, "c")
    data = load_checkins(write(name, text), core=0)
    assert data.order == "time"
    assert data.user_labels.tolist() == [5, 2]
    assert labelled(data) == {5: ["c", "a", "b"], 2: ["b"]}
    repeats = load_checkins(write(name, text), core=0, keep_repeats=True)
    assert labelled(repeats) == {5: ["c", "a", "b", "a"], 2: ["b"]}


def naive_core(pairs: list[tuple[int, int]], core: int) -> set[tuple[int, int]]:
    left = set(pairs)
    while True:
        users, items = Counter(user for user, _ in left), Counter(item for _, item in left)
        stays = {pair for pair in left if users[pair[0]] >= core and items[pair[1]] >= core}
        if stays == left:
            return left
        left = stays


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60), st.integers(0, 4))
def test_core_equals_a_plain_loop(pairs: list[tuple[int, int]], core: int) -> None:
    users, items = np.array(pairs, np.int64).T
    expected = naive_core(pairs, core)
    assert k_core(users, items, 8, 8, core).tolist() == [pair in expected for pair in pairs]


def test_the_filter_cascades_and_counts_distinct_pairs(write: Callable[..., Path]) -> None:
    # User 3 has two visits to one place, which is one partner; without it place c falls, then user 2.
    text = "".join(
        line(user, minute, place)
        for minute, (user, place) in enumerate(
            [(3, "c"), (3, "c"), (2, "c"), (2, "b"), (0, "a"), (0, "b"), (1, "a"), (1, "b")]
        )
    )
    data = load_checkins(write("c_checkins.txt", text), core=2)
    assert labelled(data) == {0: ["a", "b"], 1: ["a", "b"]}
    with pytest.raises(DataError, match="no user or place has 3 partners"):
        load_checkins(write("c_checkins.txt", text), core=3)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("1\t2010-10-19 23:55\t1\t2\tx\n", "line 2: time is not a date: '2010-10-19 23:55'"),
        ("1\t2010-13-19T23:55:27Z\t1\t2\tx\n", "line 2: time is not a date"),
        ("1\t2010-10-19T23:55:27Z\tnorth\t2\tx\n", "line 2: latitude is not a finite number: 'north'"),
        ("1\t2010-10-19T23:55:27Z\t1\t\tx\n", "line 2: longitude is not a finite number: ''"),
        ("me\t2010-10-19T23:55:27Z\t1\t2\tx\n", "line 2: user is not an integer: 'me'"),
        ("1\t2010-10-19T23:55:27Z\t1\t2\t\n", "line 2: place is empty"),
        ("1\t2010-10-19T23:55:27Z\t1\t2\n", "line 2: 4 fields instead of 5"),
    ],
)
def test_bad_lines(write: Callable[..., Path], bad: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_checkins(write("x.txt", line(1, 2, 3) + bad), core=0)
