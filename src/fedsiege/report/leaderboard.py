"""The leaderboard of a threat-model card: defenses ranked by their worst case, with price, doubt and cost beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from fedsiege.report import words
from fedsiege.report.boards import Places
from fedsiege.report.cells import NONE
from fedsiege.report.leaderboard_badges import game, row_badges
from fedsiege.report.leaderboard_detail import detail, seconds, undefended, wins
from fedsiege.report.leaderboard_words import MISSING, chips, interval, key, known, legend, price, score, span

if TYPE_CHECKING:
    from fedsiege.arena.board import Board, Flag, Row

LEAD = (
    "A defense is worth what is left in its worst case over the attacks of the card; what it takes when nobody attacks "
    "is its price, below zero where it gives. A bold score with a star is better than every other row’s by more than "
    "chance: the intervals of the difference, paired by seed, exclude zero, the bootstrap’s and Student’s. Nothing is "
    "bold where a compared cell lacks a seed of the card, or where these are fewer than five. [Brackets] hold 95% "
    "intervals over seeds; a signed percentage is the change against the run without attack and defense."
)
PICTURE = (
    "Picture in each row: ● worst case with its interval, ◆ the clean score with the defense, dashed: neither attack "
    "nor defense."
)


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard: its heading, and in which direction the first press sorts it."""

    label: str
    first: str = "descending"


def columns(board: Board) -> tuple[Column, ...]:
    """Return the sortable columns of a board in order."""
    better = "descending" if board.higher_is_better else "ascending"
    return (
        Column("#", "ascending"),
        Column("defense", "ascending"),
        Column(f"worst case ({board.metric})", better),
        Column(f"clean ({board.clean_metric})"),
        Column("price", "ascending"),
        Column("adaptive", better),
        Column("time", "ascending"),
        Column("flags", "ascending"),
    )


def flags(board: Board) -> list[Flag]:
    """Return every flag of a board, of its rows and of their scores."""
    found: list[Flag] = list(board.flags)
    for row in board.rows:
        found += row.flags
        for mark in (row.clean, *row.scores.values()):
            found += mark.flags
    return found


def _head(board: Board) -> str:
    """Return headings that are buttons; the page's script sorts by them, without it they are plain text."""
    cells = ""
    for number, column in enumerate(columns(board)):
        order = ' aria-sort="ascending"' if number == 0 else ""
        cells += (
            f'<th role="columnheader" scope="col"{order}><button type="button" class="sort" data-column="{number}" '
            f'data-first="{column.first}">{escape(column.label)}<span class="arrow" aria-hidden="true"></span>'
            f"</button></th>"
        )
    return f'<thead role="rowgroup"><tr role="row">{cells}</tr></thead>'


def _time(row: Row, base: Row | None) -> str:
    took = seconds(row.clean, base.clean if base is not None else None)
    absolute = words.milliseconds(1000 * took) if known(took) else ""
    if not known(row.cost.mean):
        return absolute or MISSING
    return f'{row.cost.mean:.2f} ×<small class="ci">{interval(row.cost, 2)}</small><small>{absolute}</small>'


def _adaptive(row: Row) -> tuple[str, float | None]:
    if row.defense == NONE and row.adaptive is None:
        return '<span class="soft">no defense to adapt to</span>', None
    if row.adaptive is None:
        return '<span class="soft">never faced one</span>', None
    return f"{score(row.adaptive.value)}<small>{escape(row.adaptive.attack)}</small>", row.adaptive.value.mean


def _row(board: Board, row: Row, rank: int, name: str, top: float, places: Places) -> str:
    open_ = undefended(board, row)
    reference = open_.clean.value.mean if open_ is not None else float("nan")
    worst = row.worst_score
    told = MISSING
    if row.worst:
        alike = board.clean_metric == board.metric
        clean = (row.clean.value.mean, reference) if alike else (float("nan"), float("nan"))
        lost = f" · {change}" if (change := words.change(worst.lost.mean)) else ""
        partly = "" if row.complete else f"<small>faced {row.faced} of {row.due} attacks</small>"
        told = (
            f"{score(worst.value, row.best)}<small>under {escape(row.worst)}{lost}</small>{partly}"
            f"{span(worst.value, *clean, top)}"
        )
    facing, facing_key = _adaptive(row)
    more = f"{name}-more"
    cells = (
        ("rank", f' data-v="{rank}"', str(rank)),
        ("worst case", key(worst.value.mean), told),
        ("clean", key(row.clean.value.mean), score(row.clean.value, wins(row, NONE))),
        ("price", key(row.price.mean), "none by definition" if row is open_ else price(row.price, row.clean.lost)),
        ("adaptive", key(facing_key), facing),
        ("time", key(row.cost.mean), _time(row, open_)),
        ("flags", key(float(len(row.flags))), chips(row.flags)),
    )
    made = [f'<td role="cell" data-label="{label}"{attribute}>{html}</td>' for label, attribute, html in cells]
    head = (
        f'<th role="rowheader" scope="row" data-v="{escape(row.defense)}"><button type="button" class="open" '
        f'aria-expanded="false" aria-controls="{more}"><span class="turn" aria-hidden="true"></span>'
        f"{escape(row.defense)}{' (FedAvg)' * (row.defense == NONE)}</button>{row_badges(row)}</th>"
    )
    return (
        f'<tbody role="rowgroup" class="entry"><tr role="row">{made[0]}{head}{"".join(made[1:])}</tr>'
        f'<tr role="row" class="more" id="{more}"><td role="cell" colspan="{len(columns(board))}">'
        f"{detail(board, row, places)}</td></tr></tbody>"
    )


def _id(row: Row) -> str:
    """Return a row's name in the page, which stays when its rank changes."""
    said = "\n".join((row.defense, row.division, *row.changes))
    return hashlib.sha256(said.encode()).hexdigest()[:10]


def table(board: Board, name: str, places: Places) -> str:
    """Return the leaderboard of a board as one sortable table; `name` is its id on the page."""
    open_ = undefended(board)
    ends = [0.0]
    for row in board.rows:
        ends += [x for mark in (row.clean, row.worst_score) for x in (mark.value.mean, mark.value.high) if known(x)]
    body = "".join(
        _row(board, row, rank, f"{name}-{_id(row)}", max(ends), places) for rank, row in enumerate(board.rows, 1)
    )
    reference = ""
    if open_ is not None and known(open_.clean.value.mean):
        reference = f"; without attack and defense {open_.clean.value.mean:.4f}"
    caption = f"{board.metric} on test data after the last round, {_title(board)}{reference}"
    options = "".join(
        f'<option value="{number}">{escape(column.label.replace("#", "rank"))}</option>'
        for number, column in enumerate(columns(board))
    )
    return (
        f'<div class="tools"><label class="sorter">Sort by<select aria-controls="{name}">{options}</select></label>'
        f'<button type="button" class="every" aria-controls="{name}" aria-pressed="false">Open all rows</button></div>'
        f'<div class="scrolls" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="board" role="table" id="{name}"><caption>{escape(caption)}</caption>{_head(board)}{body}'
        f"</table></div>"
    )


def _title(board: Board) -> str:
    return f"{board.card} · {board.degree}" if board.degree else board.card


def _missing(board: Board) -> str:
    notes = "".join(f"<li>{escape(text)}</li>" for text in board.notes)
    said = f'<ul class="found">{notes}</ul>' if notes else ""
    if not board.missing:
        return said
    items = "".join(f"<li>{escape(text)}</li>" for text in board.missing)
    return (
        f'{said}<details class="missing"><summary>{words.counted(len(board.missing), "gap")} in this board</summary>'
        f"<ul>{items}</ul></details>"
    )


def section(board: Board, name: str, places: Places, card: Any = None) -> str:
    """Return the content of a leaderboard's section.

    Parameters
    ----------
    board : fedsiege.arena.board.Board
        What to show.
    name : str
        Id of its table on the page.
    places : mapping of str to Place
        Where the curve of each run is drawn, by the run's path.
    card : fedsiege.arena.card.Card, optional
        Its card, for what the game is about.
    """
    about = f"<p>{escape(card.about)}</p>" if card is not None and card.about else ""
    return (
        f'{about}{game(board, card)}<p class="soft">{LEAD} {PICTURE}</p>{table(board, name, places)}'
        f"<h3>Flags</h3>{legend(flags(board))}<h3>Notes on this board</h3>{_missing(board)}"
    )


def headings(boards: Sequence[Board], cards: Any = None) -> list[str]:
    """Return the heading of each board's section: the card's title, and its degree."""
    found = []
    for board in boards:
        card = (cards or {}).get(board.card_hash)
        title = getattr(card, "title", "") or board.card
        found.append(f"Leaderboard: {title}" + (f" · {board.degree}" if board.degree else ""))
    return found
