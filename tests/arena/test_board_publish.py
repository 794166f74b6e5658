"""Published leaderboards: what is written comes back, grows, and is all that the page needs."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from fedsiege.arena import board_publish
from fedsiege.arena.board_publish import from_json, publish, render, to_json
from fedsiege.arena.record import Record
from fedsiege.errors import RunError
from tests.arena.records import record, toy

BOARDS = Path(__file__).parents[2] / "docs" / "boards"


def same(a: Record, b: Record) -> bool:
    """Equality that takes NaN for itself."""
    return all(repr(getattr(a, f.name)) == repr(getattr(b, f.name)) for f in fields(Record))


class FakeStore:
    """Gives the records of a test for those of a folder."""

    held: list[Record]

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> FakeStore:
        return self

    def __exit__(self, *_: object) -> None: ...

    def records(self, card: str) -> list[Record]:
        return [r for r in self.held if r.card == card]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> type[FakeStore]:
    monkeypatch.setattr(board_publish, "Store", FakeStore)
    FakeStore.held = []
    return FakeStore


def hashed(records: list[Record]) -> list[Record]:
    return [replace(r, config_hash=f"{r.attack}-{r.defense}-{r.seed}") for r in records]


def test_records_come_back() -> None:
    odd = record(
        "lie", "krum", 3, 0.25, tail=(0.1, math.nan), detection={"FPR": math.nan, "DACC": 0.5}, changes=("a.b", "c"),
        versions={"torch": "2"}, hardware="one", told=3, peak_bytes=7.0, warnings=("w",), attack_label="lie (z=0.3)",
    )  # fmt: skip
    data = json.loads(json.dumps(to_json("toy-v1", [odd, *toy()]), allow_nan=False))
    found = from_json(data)
    assert len(found) == len(toy()) + 1
    assert sum(same(odd, r) for r in found) == 1
    assert all(any(same(r, f) for f in found) for r in toy())
    assert len(data["origins"]) == 2


def test_the_order_of_runs_does_not_matter() -> None:
    assert to_json("toy-v1", toy()) == to_json("toy-v1", toy()[::-1])


def test_a_board_grows(store: type[FakeStore], tmp_path: Path) -> None:
    every = hashed(toy())
    store.held = every[:20]
    publish("toy-v1", tmp_path, tmp_path / "boards")
    store.held = [replace(every[0], value=0.123), *every[20:]]
    written = publish("toy-v1", tmp_path, tmp_path / "boards")
    assert [path.name for path in written] == ["toy-v1.json", "toy-v1.md"]
    data = json.loads(written[0].read_text("utf-8"))
    found = {r.config_hash: r for r in from_json(data)}
    assert found.keys() == {r.config_hash for r in every}
    assert found[every[0].config_hash].value == 0.123
    page = written[1].read_text("utf-8")
    assert page == render(data)
    assert f"{len(every)} runs" in page
    assert "fedsiege arena --card toy-v1 --attacks" in page


def test_nothing_to_publish_and_a_damaged_page_are_named(store: type[FakeStore], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished run of toy-v1"):
        publish("toy-v1", tmp_path, tmp_path / "boards")
    store.held = hashed(toy())
    (tmp_path / "toy-v1.json").write_text("{}")
    with pytest.raises(RunError, match=r"toy-v1.json is no published leaderboard"):
        publish("toy-v1", tmp_path, tmp_path)


@pytest.mark.parametrize("path", sorted(BOARDS.glob("*.json")), ids=lambda path: path.stem)
def test_stored_pages_are_those_of_their_data(path: Path) -> None:
    assert path.with_suffix(".md").read_text("utf-8") == render(json.loads(path.read_text("utf-8")))
