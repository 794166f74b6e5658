from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedsiege.data import load, load_lightgcn, original_split
from fedsiege.data.cache import locate
from fedsiege.errors import DataError

from .conftest import as_rows, labelled, need


@pytest.mark.parametrize("end", ["", ".gz"])
def test_both_files_are_merged(write: Callable[..., Path], tmp_path: Path, end: str) -> None:
    train = write(f"train.txt{end}", "0 5 3 8\n2\n1 3 5 \n")
    test = write(f"test.txt{end}", "0 1 3\n1\n2 8\n4\n")
    for path in (tmp_path, train, test):
        data = load_lightgcn(path)
        assert data.order == "none"
        assert data.user_labels.tolist() == [0, 2, 1, 4]
        assert data.item_labels.tolist() == [5, 3, 8, 1]
        assert labelled(data) == {0: [5, 3, 8, 1], 2: [8], 1: [3, 5], 4: []}


def test_the_published_split(write: Callable[..., Path], tmp_path: Path) -> None:
    write("train.txt", "0 5 3\n1 3\n")
    write("test.txt", "0 7\n1\n")
    train, test = original_split(tmp_path)
    assert as_rows(train) == [[0, 1], [1]]
    assert as_rows(test) == [[2], []]
    assert train.num_items == test.num_items == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1\n1 x 2\n", "train.txt, line 2: 'x' is not an id"),
        ("0 1\n1 2 -3\n", "line 2: '-3' is not an id"),
        ("0 1\n\n1 2\n", "line 2: a blank line"),
        ("0  1\n", "line 1: '' is not an id"),
        ("1 5\n2 5\n2 6\n1 7\n", "line 3: a second line of user 2"),
        ("1 5\n2 5\n3 6\n1 7\n", "line 4: a second line of user 1"),
        ("0 1.5\n", "line 1: '1.5' is not an id"),
    ],
)
def test_bad_files(write: Callable[..., Path], tmp_path: Path, text: str, message: str) -> None:
    write("train.txt", text)
    write("test.txt", "0 1\n")
    with pytest.raises(DataError, match=message):
        load_lightgcn(tmp_path)


def test_files_come_in_pairs(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("train.txt", "0\n")
    with pytest.raises(DataError, match=r"has no test\.txt"):
        load_lightgcn(path)
    write("test.txt", "1\n")
    with pytest.raises(DataError, match="not a single item"):
        load_lightgcn(tmp_path)
    with pytest.raises(DataError, match="neither a folder nor named"):
        load_lightgcn(write("mine.txt", "0 1\n"))


@pytest.mark.data
def test_the_real_gowalla() -> None:
    need("gowalla")
    data = load("gowalla", seed=3)
    assert (data.num_users, data.num_items, data.info["interactions"]) == (29_858, 40_981, 1_027_370)
    assert data.order == "none"
    assert (data.test >= 0).all()
    path = locate("gowalla")
    if path.is_dir():
        train, test = original_split(path)
        assert (train.nnz, test.nnz) == (810_128, 217_242)
