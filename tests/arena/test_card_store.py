"""Cards beside their runs: a card is known when its board is built, whatever became of its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fedsiege.arena.card_file import load, names
from fedsiege.arena.card_store import at_hand, keep, kept, restored, values
from tests.arena.games import tiny
from tests.arena.records import record


@pytest.mark.parametrize("name", names())
def test_a_card_comes_back_from_its_values(name: str) -> None:
    card = load(name)
    text = yaml.safe_dump(values(card))
    assert restored(yaml.safe_load(text), card.hash) == card


def test_what_is_not_the_game_of_that_hash_is_no_card() -> None:
    card = tiny()
    assert restored(values(card), "0" * 12) is None
    assert restored({**values(card), "model": {"name": "of-another-version"}}, card.hash) is None
    for damaged in (None, [], {"id": "x"}):
        assert restored(damaged, card.hash) is None


def test_a_card_is_found_from_its_runs_wherever_the_store_is_opened(tmp_path: Path) -> None:
    card = tiny(metric="HR@10")
    path = keep(card, tmp_path)
    assert path == tmp_path / f"tiny-v1-{card.hash[:6]}" / f"card-{card.hash}.yaml"
    run = record("lie", "median", 0, 0.5, card=card.id, card_hash=card.hash)
    inside = f"{card.folder}/all/lie/median/seed0-abc"
    for root, place in (
        (tmp_path, inside),
        (tmp_path.parent, f"{tmp_path.name}/{inside}"),
        (tmp_path / inside, "."),
        (tmp_path / inside, "seed0-abc"),  # what a report calls a single run
        (tmp_path / card.folder / "all", "lie/median/seed0-abc"),
    ):
        assert kept(root, [replace(run, path=place)]) == {card.hash: card}
    assert kept(tmp_path, [replace(run, path=inside, card_hash="another")]) == {}
    assert kept(tmp_path, [replace(run, path=inside, card_hash=None)]) == {}
    path.write_text("id: [", "utf-8")
    assert kept(tmp_path, [replace(run, path=inside)]) == {}


def test_the_newest_card_of_a_game_is_kept_and_an_older_game_stays(tmp_path: Path) -> None:
    first = keep(tiny(), tmp_path)
    before = first.stat().st_mtime_ns
    assert keep(tiny(), tmp_path) == first
    assert first.stat().st_mtime_ns == before
    assert keep(tiny(title="Better words"), tmp_path) == first
    assert yaml.safe_load(first.read_text("utf-8"))["title"] == "Better words"
    other = keep(tiny(metric="HR@10"), tmp_path)
    assert other != first
    assert first.exists()


def test_shipped_cards_need_no_file(tmp_path: Path) -> None:
    card = load("demo-v1")
    assert at_hand(tmp_path, [record("lie", "median", 0, 0.5, card=card.id, card_hash=card.hash)]) == {card.hash: card}
