"""Every kind of data set tells the SHA-256 of its data, and other data have another one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedsiege.arena.config import DatasetConfig
from fedsiege.arena.data import load_dataset


def known(seed: int = 0, **given: Any) -> str:
    return str(load_dataset(DatasetConfig(**given), seed).info["sha256"])


def test_generated_interactions() -> None:
    sizes = {"name": "synthetic", "users": 60, "items": 80, "interactions": 1200}
    data = load_dataset(DatasetConfig(**sizes), 0)
    first = known(**sizes)
    assert len(first) == 64
    assert known(**sizes) == known(seed=1, **sizes) == first
    assert known(**{**sizes, "interactions": 1201}) != first
    # What is held out and what is left are the interactions whose sum is told.
    rows = []
    for user in range(60):
        row = data.train.items[data.train.indptr[user] : data.train.indptr[user + 1]].tolist()
        rows.append([*row, *(int(part[user]) for part in (data.valid, data.test) if part[user] >= 0)])
    ends = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    items = np.array([item for row in rows for item in row], data.train.items.dtype)
    assert hashlib.sha256(ends.tobytes() + items.tobytes()).hexdigest() == first


def test_the_named_generated_set_is_that_of_its_sizes() -> None:
    assert len(known(name="synthetic")) == 64


def test_files_of_interactions(tmp_path: Path) -> None:
    path = tmp_path / "mine.inter"
    lines = [f"u{u}\ti{(u * 7 + k) % 30}\t{k}" for u in range(20) for k in range(6)]
    path.write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *lines]) + "\n")
    assert known(path=str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("change", [0, 1])
def test_images(tmp_path: Path, change: int) -> None:
    assert len(known(name="digits", clients=5, partition="iid")) == 64
    for part in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(4):
                pixels = np.full((8, 8), 10 * number + (label == "b") * 100, np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / label / f"{number}.png")
    first = known(path=str(tmp_path), clients=2, partition="iid")
    assert first
    if change:
        Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "train" / "a" / "0.png")
        assert known(path=str(tmp_path), clients=2, partition="iid") != first
