from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedsiege.data import describe, load, load_raw
from fedsiege.data.catalog import FORMATS, present, sniff
from fedsiege.errors import DataError

from .conftest import as_rows

INTER = "user_id:token\titem_id:token\na\tx\na\ty\na\tz\nb\tx\n"
DATA = "1\t5\t3\t100\n1\t6\t3\t90\n1\t7\t3\t80\n"
DAT = DATA.replace("\t", "::")
CHECKINS = "".join(f"{u}\t2010-10-19T23:55:{i:02d}Z\t1\t2\tp{i}\n" for u in range(10) for i in range(10))


def test_own_file(write: Callable[..., Path]) -> None:
    path = write("mine.inter", INTER)
    for spec in (path, str(path)):
        data = load(spec)
        assert data.name == "mine.inter"
        assert as_rows(data.train) == [[0], [0]]
        assert (data.valid.tolist(), data.test.tolist()) == ([1, -1], [2, -1])
        assert data.info == {
            "source": str(path),
            "format": "recbole",
            "sha256": hashlib.sha256(INTER.encode()).hexdigest(),
            "split": "leave-one-out by the order of the file",
            "order": "file",
            "exact_last": 0,
            "users": 2,
            "items": 3,
            "interactions": 4,
            "held_out": 1,
        }


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("a.inter", INTER, "recbole"),
        ("a.inter.gz", INTER, "recbole"),
        ("a.tsv", INTER, "recbole"),
        ("u.data", DATA, "movielens"),
        ("ratings.dat.gz", DAT, "movielens"),
        ("a.dat", DAT, "movielens"),
        ("a.tsv", DATA, "movielens"),
        ("Gowalla_totalCheckins.txt", CHECKINS, "checkins"),
        ("a.txt.gz", CHECKINS, "checkins"),
    ],
)
def test_formats_are_recognised(write: Callable[..., Path], name: str, content: str, format: str) -> None:
    path = write(name, content)
    assert sniff(path) == format
    assert load(path).info == load(path, format=format).info


def test_adjacency_lists_are_recognised(write: Callable[..., Path], tmp_path: Path) -> None:
    train, test = write("train.txt", "0 1 2\n1 2\n"), write("test.txt", "0 3\n1 1\n")
    for path in (tmp_path, train, test):
        data = load(path, seed=5)
        assert data.info["format"] == "lightgcn"
        assert data.info["split"] == "leave-one-out at random (seed 5)"
        assert str(data.info["sha256"]).startswith("train.txt=")
        assert " test.txt=" in str(data.info["sha256"])


def test_a_folder_of_no_known_format_names_the_file_to_give(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no data of a known format; expected train\.txt and test\.txt"):
        load(tmp_path)
    write("notes.md", "# mine")
    write("u.data", DATA)
    with pytest.raises(DataError, match=f"give the file {tmp_path / 'u.data'}$"):
        load(tmp_path)
    assert load(tmp_path / "u.data").num_users == 1
    write("train.txt", "0 1 2\n")
    with pytest.raises(DataError, match=r"has no test\.txt"):
        load(tmp_path)


def test_unknown_formats_are_refused(write: Callable[..., Path]) -> None:
    path = write("a.csv", "user,item\n1,2\n")
    with pytest.raises(DataError, match=r"no known format \(first line 'user,item'\); give format="):
        load(path)
    with pytest.raises(DataError, match="line 1: 1 field instead of 4"):
        load(path, format="movielens")
    with pytest.raises(DataError, match="did you mean 'movielens'"):
        load(path, format="movielense")
    with pytest.raises(DataError, match="has a format of its own"):
        load("synthetic", format="recbole")
    assert set(FORMATS) == {"movielens", "recbole", "lightgcn", "checkins"}


def test_absent_files_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; check the path"):
        load(tmp_path / "absent.inter")
    with pytest.raises(DataError, match="does not exist; check the path"):
        load("absent.inter")
    with pytest.raises(DataError, match="did you mean 'gowalla'"):
        load("gowala")


def test_nothing_to_hold_out(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="no user has 3 interactions"):
        load(write("u.data", "1\t2\t3\t4\n2\t2\t3\t4\n"))


def test_the_generated_set_is_the_same_at_every_seed() -> None:
    first, second = load("synthetic", seed=0), load("synthetic", seed=1)
    assert first.info == second.info
    assert first.info["source"] == "generated"
    assert first.order == "time"
    assert np.array_equal(first.test, second.test)
    assert present("synthetic") is None


def test_describe(write: Callable[..., Path]) -> None:
    path = write("gowalla", "user_id:token\titem_id:token\na\tx\na\ty\na\tz\nb\tx\nc\tx\nc\ty\n")
    about = describe(path)
    name, raw, info = load_raw(path)
    assert (about["name"], about["source"]) == (name, info["source"])
    # A file that happens to bear the name of a data set is not that data set.
    assert "paper" not in about
    assert (about["users"], about["items"], about["interactions"]) == (3, 3, raw.interactions.nnz)
    assert about["density"] == pytest.approx(6 / 9)
    assert about["mean_length"] == 2.0
    assert [about[f"length_{q}"] for q in ("min", "q25", "median", "q75", "max")] == [1, 1.5, 2, 2.5, 3]
    assert about["top1_share"] == 0.5


def test_describe_named() -> None:
    about = describe("synthetic")
    assert about["license"] == "Apache-2.0"
    assert 0.03 < about["top1_share"] < 0.15  # type: ignore[operator]
