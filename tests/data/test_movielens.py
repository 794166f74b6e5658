from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedsiege.data import load, load_movielens
from fedsiege.data.cache import obtain
from fedsiege.errors import DataError

from .conftest import labelled, need

RECORDS = [(7, 10, 3, 50), (9, 10, 5, 40), (7, 11, 1, 20), (7, 12, 1, 50), (9, 12, 4, 40), (7, 10, 5, 10)]


@pytest.mark.parametrize(("name", "separator"), [("u.data", "\t"), ("ratings.dat", "::"), ("u.data.gz", "\t")])
def test_both_formats(write: Callable[..., Path], name: str, separator: str) -> None:
    text = "".join(separator.join(map(str, record)) + "\n" for record in RECORDS)
    data = load_movielens(write(name, text))
    assert data.order == "time"
    assert data.exact_last
    assert data.user_labels.tolist() == [7, 9]
    assert data.item_labels.tolist() == [10, 11, 12]
    # User 7 rated item 10 twice: the first time counts. Ties keep the order of the file.
    assert labelled(data) == {7: [10, 11, 12], 9: [10, 12]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\t2\t3", "line 2: 3 fields instead of 4"),
        ("1\t2\t3\t4\t5", "line 2: 5 fields instead of 4"),
        ("1\tx\t3\t4", "line 2: item is not an integer: 'x'"),
        ("1.5\t2\t3\t4", "line 2: user is not an integer: '1.5'"),
        ("1\t2\tgood\t4", "line 2: rating is not a finite number: 'good'"),
        ("1\t2\t3\t", "line 2: timestamp is not an integer: ''"),
        ("1::2::3::4", "line 2: 1 field instead of 4"),
    ],
)
def test_bad_lines(write: Callable[..., Path], line: str, message: str) -> None:
    path = write("u.data", f"1\t2\t3\t4\n{line}\n1\t3\t3\t4\n")
    with pytest.raises(DataError, match=message) as error:
        load_movielens(path)
    assert str(path) in str(error.value)


@pytest.mark.data
def test_the_real_100k() -> None:
    need("ml-100k")
    data = load("ml-100k")
    assert (data.num_users, data.num_items, data.info["interactions"]) == (943, 1682, 100_000)
    assert data.train.nnz == 100_000 - 2 * 943
    assert data.train.counts().min() >= 18
    # Against a plain loop over the file for some users.
    file = obtain("ml-100k").files[0]
    by_user: dict[str, list[tuple[int, int, str]]] = {}
    for place, line in enumerate(file.read_text().splitlines()):
        user, item, _, when = line.split("\t")
        by_user.setdefault(user, []).append((int(when), place, item))
    raw = load_movielens(file)
    for code, user in list(enumerate(by_user))[::50]:
        expected = [item for _, _, item in sorted(by_user[user])]
        assert raw.item_labels[raw.interactions.of(code)].astype(str).tolist() == expected
        assert str(raw.item_labels[data.test[code]]) == expected[-1]
        assert str(raw.item_labels[data.valid[code]]) == expected[-2]


@pytest.mark.data
def test_the_real_1m_loads_whole() -> None:
    need("ml-1m")
    data = load("ml-1m")
    assert (data.num_users, data.num_items, data.info["interactions"]) == (6040, 3706, 1_000_209)
    assert (data.test >= 0).all()
    assert (data.valid >= 0).all()
    assert data.info["exact_last"] == 1
    assert not np.array_equal(data.test, data.valid)
