"""Adjacency lists as published with NGCF and LightGCN: one line per user, ``user item item ...``.

Sources: X. Wang et al., Neural Graph Collaborative Filtering, SIGIR 2019; X. He et al., LightGCN, SIGIR 2020.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsiege.data._build import first_seen, rows
from fedsiege.data._text import read_lines
from fedsiege.data.interactions import Interactions, RawInteractions
from fedsiege.errors import DataError


def load_lightgcn(path: Path | str) -> RawInteractions:
    """Return the interactions of both files, training and test, merged.

    Parameters
    ----------
    path : Path
        The folder that holds ``train.txt`` and ``test.txt`` (either may be ``.gz``), or one of the two files.

    Returns
    -------
    RawInteractions
        Order "none": the files have no order of time. A user whose line holds the id alone is a user without
        interactions in that file. Pairs in both files are kept once.

    Raises
    ------
    DataError
        With file, line number and value of the first bad record.
    """
    users, items, _, user_labels, item_labels = _read(Path(path))
    table = rows(users, items, None, len(user_labels), len(item_labels))
    return RawInteractions(table, "none", user_labels, item_labels)


def original_split(path: Path | str) -> tuple[Interactions, Interactions]:
    """Return the published split as it is: training and test rows over the same users and items.

    Ids are those of `load_lightgcn`. In the public Gowalla files each user has 80 % for training.
    """
    users, items, in_train, user_labels, item_labels = _read(Path(path))
    first, second = (
        rows(users[part], items[part], None, len(user_labels), len(item_labels)) for part in (in_train, ~in_train)
    )
    return first, second


def pair(path: Path) -> tuple[Path, Path]:
    """Return the training and the test file that belong to a folder or to one of the two files."""
    if not path.is_dir() and path.name.removesuffix(".gz") not in ("train.txt", "test.txt"):
        raise DataError(
            f"{path} is neither a folder nor named train.txt or test.txt (.gz); adjacency lists come as both"
        )
    folder = path if path.is_dir() else path.parent
    found = []
    for name in ("train.txt", "test.txt"):
        choices = [folder / name, folder / f"{name}.gz"]
        if not path.is_dir() and path in choices:
            choices = [path]
        there = [choice for choice in choices if choice.is_file()]
        if not there:
            raise DataError(f"{folder} has no {name} or {name}.gz; adjacency lists come as both files together")
        found.append(there[0])
    return found[0], found[1]


def _read(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray, NDArray]:
    """Return user codes, item codes and "is training" of each pair, and the labels."""
    parts = [_adjacency(file) for file in pair(path)]
    owners = np.concatenate([part[0] for part in parts])
    # Users are numbered over all lines, also those without items, then spread over their items.
    codes, user_labels = first_seen(owners)
    if not sum(len(part[2]) for part in parts):
        raise DataError(f"{path} holds users and not a single item; check the files")
    items, item_labels = first_seen(np.concatenate([part[2] for part in parts]))
    lengths = np.concatenate([part[1] for part in parts])
    in_train = np.repeat([True, False], [len(part[2]) for part in parts])
    return np.repeat(codes, lengths), items, in_train, user_labels, item_labels


def _adjacency(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the user of each line, the number of items of each line, and all items in order."""
    import polars as pl

    lines = read_lines(path)
    tokens = lines.text.str.strip_chars().str.split(" ")
    sizes = tokens.list.len().to_numpy().astype(np.int64)
    numbers = tokens.explode().cast(pl.Int64, strict=False)
    wrong = numbers.is_null() | (numbers < 0).fill_null(False)
    if wrong.any():
        place = int(wrong.arg_true()[0])
        row = int(np.searchsorted(np.cumsum(sizes), place, side="right"))
        value = tokens.explode()[place]
        raise lines.error(
            row,
            f"{value!r} is not an id",
            "each line must be 'user item item ...' with ids from 0, one space apart",
        )
    flat = numbers.to_numpy()
    starts = np.cumsum(sizes) - sizes
    is_user = np.zeros(len(flat), bool)
    is_user[starts] = True
    owners = flat[is_user]
    codes, labels = first_seen(owners)
    if len(labels) < len(owners):
        # Codes are numbered in first-seen order, so a code that does not exceed all before it was seen
        # before.
        row = int(np.flatnonzero(codes[1:] <= np.maximum.accumulate(codes)[:-1])[0]) + 1
        raise lines.error(row, f"a second line of user {int(owners[row])}", "join the lines of each user")
    return owners, sizes - 1, flat[~is_user]
