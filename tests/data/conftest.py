"""Helpers of the data tests: small made files, made rows, and real data where it is present."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedsiege.data import Interactions, RawInteractions
from fedsiege.data.catalog import present
from fedsiege.errors import DataError


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write text (or bytes) to a file below a temporary folder; gzipped if the name says so."""

    def _write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return _write


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any data set; returns its cache folder."""
    monkeypatch.delenv("FEDSIEGE_DATA", raising=False)
    monkeypatch.setenv("FEDSIEGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def need(name: str) -> None:
    """Skip outside CI if a real data set is absent; in CI its absence is a failure."""
    try:
        there = present(name) is not None
    except DataError:
        there = True  # Present but wrong: let the test fail.
    if not there:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is absent in CI; set FEDSIEGE_DATA")
        pytest.skip(f"{name} is not on this machine")


def table(rows: list[list[int]], num_items: int) -> Interactions:
    indptr = np.cumsum([0, *map(len, rows)])
    items = np.array([item for row in rows for item in row], dtype=np.int32)
    return Interactions(indptr, items, num_items)


def raw(rows: list[list[int]], num_items: int, order: str = "time") -> RawInteractions:
    return RawInteractions(table(rows, num_items), order, np.arange(len(rows)), np.arange(num_items))


def as_rows(interactions: Interactions) -> list[list[int]]:
    return [interactions.of(user).tolist() for user in range(interactions.num_users)]


def labelled(data: RawInteractions) -> dict[object, list[object]]:
    """The rows in the file's own ids."""
    return {
        data.user_labels[user]: [data.item_labels[item] for item in row]
        for user, row in enumerate(as_rows(data.interactions))
    }
