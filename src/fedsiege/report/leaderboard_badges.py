"""The threat model of a leaderboard as badges: the game, who knows what, what defenses have, which division."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from fedsiege.arena.board_words import clean
from fedsiege.report.cells import NONE, describe_seeds
from fedsiege.report.labels import percent

if TYPE_CHECKING:
    from fedsiege.arena.board import Board, Row
    from fedsiege.arena.record import Record


def records(board: Board) -> list[Record]:
    """Return every stored run of a board."""
    found: list[Record] = []
    for row in board.rows:
        for score in (row.clean, *row.scores.values()):
            found += score.records
    return list({record.path: record for record in found}.values())


def _badge(key: str, value: str) -> str:
    return f"<li><b>{escape(key)}</b> {escape(value)}</li>"


def _told(board: Board) -> str:
    told = [row.defense for row in board.rows if row.told]
    if not told:
        return "not told how many attackers there are"
    if len(told) == len(board.rows):
        return "told how many attackers there are"
    return f"not told how many attackers there are, but for {', '.join(told)}"


def _division(board: Board) -> str:
    opened = [row.defense for row in board.rows if row.division == "open"]
    if not opened:
        return "closed: the card fixes everything but attack and defense"
    if len(opened) == len(board.rows):
        return "open: more was changed than attack and defense; each row says what"
    return f"closed, but for {', '.join(opened)} (open: those rows say what was changed)"


def game(board: Board, card: Any = None) -> str:
    """Return the badges of a board: game, seeds, division, and what each side knows.

    Parameters
    ----------
    board : fedsiege.arena.board.Board
        The leaderboard.
    card : fedsiege.arena.card.Card, optional
        Its card, if it is at hand.
    """
    runs = records(board)
    items = [_badge("card", f"{board.card} ({board.card_hash[:12]})" if board.card_hash else board.card)]
    if board.degree:
        items.append(_badge("degree", board.degree))
    items += [
        _badge(what, ", ".join(sorted({getattr(run, field) for run in runs})))
        for what, field in (("data", "dataset"), ("model", "model"))
        if runs
    ]
    # A run without an attack may have another coalition's share.
    shares = sorted({run.malicious for run in runs if run.attack != NONE})
    if shares:
        items.append(_badge("malicious", ", ".join(percent(share) for share in shares)))
    if runs:
        items.append(_badge("rounds", ", ".join(f"{n:,}" for n in sorted({run.rounds for run in runs}))))
    items.append(_badge("seeds", describe_seeds(board.seeds) if board.seeds else "none"))
    items.append(_badge("division", _division(board)))
    items.append(_badge("defenses", _told(board)))
    if given := clean(board):
        items.append(_badge("clean data on the server", given))
    if board.tuning:
        items.append(_badge("tuning", board.tuning))
    knows: Mapping[str, str] = board.knowledge
    items += [_badge(f"{attack} sees", knows[attack]) for attack in board.attacks if knows.get(attack)]
    return f'<ul class="badges" aria-label="Threat model of {escape(board.card)}">{"".join(items)}</ul>'


def row_badges(row: Row) -> str:
    """Return what sets a row apart from the closed division: open, with what was changed, and told; else nothing."""
    items = []
    if row.division == "open":
        changed = ", ".join(row.changes) or "not recorded"
        items.append(f'<li class="open" title="changed: {escape(changed)}">◇ open division</li>')
    if row.told:
        items.append('<li class="told" title="this defense is told the number of attackers">◉ told</li>')
    return f'<ul class="badges small">{"".join(items)}</ul>' if items else ""
