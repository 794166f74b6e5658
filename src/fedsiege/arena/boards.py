"""The leaderboards of stored runs: one for each card and degree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fedsiege.arena.board_build import build
from fedsiege.arena.card_file import load, names
from fedsiege.errors import ConfigError

if TYPE_CHECKING:
    from fedsiege.arena.board import Board
    from fedsiege.arena.card import Card
    from fedsiege.arena.record import Record


def shipped(records: Iterable[Record]) -> dict[str, Card]:
    """Return the shipped cards that `records` name, by hash; a card of another version is not among them."""
    found = {}
    for id_ in sorted({record.card for record in records if record.card} & set(names())):
        try:
            card = load(id_)
        except ConfigError:
            continue
        found[card.hash] = card
    return found


def boards(records: Iterable[Record], cards: Mapping[str, Card] | None = None) -> list[Board]:
    """Return a board for each card hash and degree, in the order of card, hash and degree.

    The order of `records` does not matter. Runs without a card are in no board.

    Parameters
    ----------
    records : iterable of Record
        Stored runs, finished or not: the others are among what is missing.
    cards : mapping, optional
        Cards by any name; they are found by their hash. Default: the shipped ones; `card_store.at_hand` knows those
        beside the runs too. Without its card a board has no bands, its seeds are those that occur, and its metric is
        that of its runs.
    """
    every = list(records)
    known = shipped(every) if cards is None else {card.hash: card for card in cards.values()}
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in every:
        if record.card:
            groups.setdefault((record.card, record.card_hash or "", record.degree), []).append(record)
    return [build(group, *key, known.get(key[1])) for key, group in sorted(groups.items())]
