"""Cards beside their runs: what a grid played is kept with it, so that a board knows a card of one's own as well.

A grid writes ``<id>-<hash>/card-<hash>.yaml`` next to its runs, fully resolved: without a base, and with the hash in
its name, so that a card file that was edited later, or lost, does not take the meaning of old runs with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fedsiege.arena.boards import shipped
from fedsiege.arena.card import Card
from fedsiege.arena.card_ref import kept_name
from fedsiege.arena.validate import plain
from fedsiege.errors import ConfigError
from fedsiege.files import make_folder, write_atomic

if TYPE_CHECKING:
    from fedsiege.arena.record import Record

ABOVE = 5
"""So many folders above a run its card may lie: degree, attack, defense and seed are between them."""


def values(card: Card) -> dict[str, Any]:
    """Return a card as plain values, from which `restored` makes it again."""
    return {field.name: plain(getattr(card, field.name)) for field in dataclasses.fields(Card)}


def restored(found: Any, hash_: str) -> Card | None:
    """Return the card of plain values; None if it cannot be read here, or is not the game with that hash."""
    from fedsiege.arena.card_file import parse

    try:
        card = parse(found, f"card {hash_}")
        return card if card.hash == hash_ else None
    except ConfigError:
        return None


def keep(card: Card, root: Path) -> Path:
    """Write a card beside the runs of a grid that starts under `root`, and return the path.

    The file is the newest with this hash: bands, words and entrants may have changed since the last start. RunError if
    it cannot be written.
    """
    path = root / card.folder / kept_name(card.hash)
    text = yaml.safe_dump(values(card), sort_keys=False, allow_unicode=True, width=120)
    make_folder(path.parent)
    try:
        current = path.read_bytes() == text.encode()
    except OSError:
        current = False
    if not current:
        write_atomic(path, text.encode())
    return path


def kept(root: Path, records: Iterable[Record]) -> dict[str, Card]:
    """Return the cards that lie beside stored runs, by hash.

    Parameters
    ----------
    root : Path
        Folder to which the paths of the records refer.
    records : iterable of Record
        Stored runs.
    """
    looked: set[Path] = set()
    found: dict[str, Card] = {}
    for record in records:
        if not record.card_hash or record.card_hash in found:
            continue
        for above in list((root.resolve() / record.path).parents)[:ABOVE]:
            path = above / kept_name(record.card_hash)
            if path in looked:
                continue
            looked.add(path)
            if path.is_file() and (card := read(path, record.card_hash)) is not None:
                found[record.card_hash] = card
                break
    return found


def read(path: Path, hash_: str) -> Card | None:
    """Return the card that was kept in a file; None if there is none, or not the game with that hash."""
    try:
        return restored(yaml.safe_load(path.read_text(encoding="utf-8")), hash_)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def at_hand(root: Path, records: Iterable[Record]) -> dict[str, Card]:
    """Return the cards of stored runs by hash: the shipped ones, then those that lie beside the runs."""
    every = list(records)
    known = shipped(every)
    return {**known, **kept(root, [record for record in every if record.card_hash not in known])}


def published(records: Iterable[Record], cards: Mapping[str, Any]) -> dict[str, Card]:
    """Return the cards of published runs by hash: the shipped ones, then those whose values are published too."""
    known = shipped(records)
    own = {hash_: restored(found, hash_) for hash_, found in cards.items() if hash_ not in known}
    return {**known, **{hash_: card for hash_, card in own.items() if card is not None}}
