"""Leaderboards of the runs of a report: their records, their cards, and where the page draws their curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from fedsiege.arena.board import Board as Leaderboard
    from fedsiege.arena.record import Record
    from fedsiege.report.collect import Board


@dataclass(frozen=True)
class Place:
    """Where the page draws the curve of a run: the setting, the line and the panel of the chart of curves."""

    group: str
    attack: str
    defense: str


Places = Mapping[str, Place]
"""Path of a run, relative to the store, to its place."""


@dataclass(frozen=True)
class Leaderboards:
    """The leaderboards of a report.

    Parameters
    ----------
    boards : tuple of fedsiege.arena.board.Board
        One for each card and degree; none if no run has a card.
    cards : mapping of str to fedsiege.arena.card.Card
        Those cards, by hash, that are at hand in the version that made the runs.
    places : mapping of str to Place
        Where the page draws the curve of each run.
    """

    boards: tuple[Leaderboard, ...] = ()
    cards: Mapping[str, Any] = field(default_factory=dict)
    places: Places = field(default_factory=dict)


def stored(root: Path) -> list[Record]:
    """Return every run under a folder, finished or not, by way of the folder's index."""
    from fedsiege.arena.store import Store

    store = Store(root, say=lambda line: None)  # an index that cannot be written is no loss here
    try:
        found = store.records(status=None)
    finally:
        store.close()
    # A single run goes by the name of its folder, here as in the rest of the report.
    return [replace(record, path=root.name) if record.path == "." else record for record in found]


def places(board: Board) -> dict[str, Place]:
    """Return where the curve of each run is drawn, by the run's path."""
    rows = board.runs.select("path", "group", "attack", "defense").rows()
    shown = set(board.groups)
    return {path: Place(group, attack, defense) for path, group, attack, defense in rows if group in shown}


def cards(root: Path, records: Iterable[Record]) -> dict[str, Any]:
    """Return the cards of stored runs under a folder by hash: shipped ones, and one's own, kept beside the runs."""
    from fedsiege.arena.card_store import at_hand

    return at_hand(root, records)


def leaderboards(board: Board) -> Leaderboards:
    """Return the leaderboards of a report's runs; none if no run has a card."""
    if board.runs.is_empty() or board.runs["card"].null_count() == board.runs.height:
        return Leaderboards()
    from fedsiege.arena.boards import boards

    found = [record for record in stored(board.root) if record.card]
    known = cards(board.root, found)
    return Leaderboards(tuple(boards(found, known)), known, places(board))
