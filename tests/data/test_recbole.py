from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedsiege.data import load_recbole
from fedsiege.errors import DataError

from .conftest import labelled


@pytest.mark.parametrize("name", ["x.inter", "x.inter.gz"])
def test_without_time_the_order_of_the_file_counts(write: Callable[..., Path], name: str) -> None:
    data = load_recbole(write(name, "user_id:token\titem_id:token\nu2\tb\nu1\ta\nu2\ta\nu2\tb\n"))
    assert data.order == "file"
    assert not data.exact_last
    assert data.user_labels.tolist() == ["u2", "u1"]
    assert labelled(data) == {"u2": ["b", "a"], "u1": ["a"]}


def test_time_and_other_columns_in_any_place(write: Callable[..., Path]) -> None:
    text = (
        "rating:float\ttimestamp:float\titem_id:token\tuser_id:token\ttags:token_seq\n"
        "5\t9.7e8\tb\tu\tx y\n4\t3\ta\tu\t\n1\t4.5\tc\tu\tz\n"
    )
    data = load_recbole(write("x.inter", text))
    assert data.order == "time"
    assert labelled(data) == {"u": ["a", "c", "b"]}


def test_the_last_line_may_be_promised(write: Callable[..., Path]) -> None:
    path = write("x.inter", "user_id:token\titem_id:token\n1\t2\n")
    data = load_recbole(path, exact_last=True)
    assert (data.order, data.exact_last) == ("file", True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id\titem_id:token\n1\t2\n", "line 1: not a typed column: 'user_id'"),
        ("user_id:int\titem_id:token\n1\t2\n", "line 1: not a typed column: 'user_id:int'"),
        ("user_id:token\tuser_id:token\n1\t2\n", "line 1: a column named twice"),
        ("user_id:token\tx:token\n1\t2\n", "line 1: no item_id column"),
        ("item_id:token\n1\n", "line 1: no user_id column"),
        ("user_id:token\titem_id:token\n", "a header and nothing below"),
        ("user_id:token\titem_id:token\n1\t2\n1\t\n", "line 3: item_id is empty"),
        ("user_id:token\titem_id:token\n1\t2\n1\n", "line 3: 1 field instead of 2"),
        (
            "user_id:token\titem_id:token\ttimestamp:float\n1\t2\t5\n1\t2\tnoon\n",
            "line 3: timestamp is not a finite number: 'noon'",
        ),
    ],
)
def test_bad_files(write: Callable[..., Path], text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_recbole(write("x.inter", text))
