"""What a row of a leaderboard opens into: its four corners, its cells, and for each cell how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from fedsiege.report import words
from fedsiege.report.boards import Places
from fedsiege.report.cells import NONE, describe_seeds
from fedsiege.report.leaderboard_words import MISSING, chips, known, rate, score, unique

if TYPE_CHECKING:
    from fedsiege.arena.board import Board, Row, Score


def undefended(board: Board, row: Row | None = None) -> Row | None:
    """Return the row of plain averaging: that of the game of `row`, or of the card; None if it was not run."""
    game = (row.division, row.changes) if row is not None else ("closed", ())
    return next((r for r in board.rows if r.defense == NONE and (r.division, r.changes) == game), None)


def _repeat(mark: Score, metric: str, places: Places) -> str:
    """Return the link to the curve of a cell and the commands of its seeds."""
    place = next((places[run.path] for run in mark.records if run.path in places), None)
    link = ""
    if place is not None:
        link = (
            f'<a class="curve" href="#curves" data-group="{escape(place.group)}" data-metric="{escape(metric)}" '
            f'data-attack="{escape(place.attack)}" data-defense="{escape(place.defense)}">curve'
            f'<span class="sr"> of {escape(place.attack)} against {escape(place.defense)}</span></a>'
        )
    items = "".join(
        f'<li><span class="soft">seed {run.seed}</span> <code>{escape(run.command)}</code> '
        f'<button type="button" class="copy">Copy<span class="sr"> the command of seed {run.seed}</span></button></li>'
        for run in sorted(mark.records, key=lambda run: run.seed)
        if run.command
    )
    count = f"seed{'s' if len(mark.records) > 1 else ''} {describe_seeds([run.seed for run in mark.records])}"
    commands = f'<details class="commands"><summary>repeat {count}</summary><ol>{items}</ol></details>' if items else ""
    return f"{link} {commands}" if link or commands else MISSING


def _why(mark: Score) -> str:
    flags = unique(mark.flags)
    said = "".join(f"<li>{escape(flag.message)}</li>" for flag in flags)
    return f'{chips(flags)}<ul class="why">{said}</ul>' if flags else chips(flags)


def wins(row: Row, attack: str) -> bool:
    """Return whether a row is better under an attack (or none) than every other row by more than chance."""
    return attack in row.wins


def _judged(detection: Mapping[str, float], name: str, clients: str) -> str:
    """Return a rate over uploads and, of a defense that expels, below it that over clients at the end."""
    final = detection.get(f"{name}_final")
    return rate(detection.get(name)) + (f"<small>{rate(final)} {clients}</small>" if known(final) else "")


def _cells(board: Board, row: Row, places: Places) -> str:
    """Return every cell of a row as a table."""
    open_ = undefended(board, row)
    marks = [(NONE, row.clean), *((attack, row.scores[attack]) for attack in board.attacks if attack in row.scores)]
    seen = set()
    body = ""
    for attack, mark in marks:
        if attack in seen:
            continue
        seen.add(attack)
        without = None
        if open_ is not None and open_ is not row:
            without = open_.clean if attack == NONE else open_.scores.get(attack)
        metric = board.clean_metric if attack == NONE else board.metric
        own = f" ({escape(metric)})" if metric != board.metric else ""
        loss = words.change(mark.lost.mean) if mark.lost.n else ""
        bounds = words.change_range(mark.lost.low, mark.lost.high)
        worst = " <em>worst case</em>" if attack == row.worst else ""
        body += (
            f'<tr role="row"><th role="rowheader" scope="row">{escape(attack)}{own}{worst}</th>'
            f'<td role="cell" data-label="{escape(board.metric)}">{score(mark.value, wins(row, attack))}</td>'
            f'<td role="cell" data-label="change">{loss or MISSING}<small>{bounds}</small></td>'
            f'<td role="cell" data-label="no defense">{score(without.value) if without else MISSING}</td>'
            f'<td role="cell" data-label="honest rejected">{_judged(mark.detection, "FPR", "expelled")}</td>'
            f'<td role="cell" data-label="malicious accepted">{_judged(mark.detection, "FNR", "never expelled")}</td>'
            f'<td role="cell" data-label="flags">{_why(mark)}</td>'
            f'<td role="cell" data-label="again" class="again">{_repeat(mark, metric, places)}</td></tr>'
        )
    heads = ("attack", board.metric, "change", "no defense", "honest rejected", "malicious accepted", "flags", "again")
    head = "".join(f'<th role="columnheader" scope="col">{escape(text)}</th>' for text in heads)
    caption = f"{row.defense}: every attack of {board.card}"
    return (
        f'<table class="cells" role="table"><caption>{escape(caption)}</caption><thead role="rowgroup"><tr role="row">'
        f'{head}</tr></thead><tbody role="rowgroup">{body}</tbody></table>'
    )


def _corners(board: Board, row: Row) -> str:
    """Return the four corners: with and without the defense, with and without its worst attack."""
    if row.defense == NONE or not row.worst:
        return ""
    clean, defended, attacked, both = board.corners(row)
    grid = (
        (f"nobody attacks ({board.clean_metric})", clean, defended),
        (f"{row.worst} attacks ({board.metric})", attacked, both),
    )
    body = "".join(
        f'<tr><th scope="row">{escape(what)}</th><td>{score(left)}</td><td>{score(right)}</td></tr>'
        for what, left, right in grid
    )
    return (
        f'<table class="corners"><caption>Four corners</caption><thead><tr><td></td>'
        f'<th scope="col">no defense</th><th scope="col">{escape(row.defense)}</th></tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def seconds(mark: Score, base: Score | None = None) -> float:
    """Return the mean seconds of a round over a cell's runs, NaN if none was timed.

    With `base`, the cell of FedAvg, only runs that `Row.cost` compares count, so that both tell of the same machines;
    all where there are none.
    """
    timed = [run for run in mark.records if known(run.seconds_per_round)]
    if base is not None:
        there = {(run.seed, run.commit, run.hardware) for run in base.records if run.seconds_per_round > 0}
        timed = [run for run in timed if (run.seed, run.commit, run.hardware) in there] or timed
    return sum(run.seconds_per_round for run in timed) / len(timed) if timed else float("nan")


def _doubts(row: Row) -> str:
    """Return the messages of a row's flags, which a chip has only as its title."""
    said = "".join(f"<li>{escape(flag.message)}</li>" for flag in unique(row.flags))
    return f'<div class="doubts"><p>Reasons to doubt this row:</p><ul>{said}</ul></div>' if said else ""


def detail(board: Board, row: Row, places: Places) -> str:
    """Return what a row opens into."""
    about = ""
    if row.division == "open":
        items = "".join(f"<li><code>{escape(change)}</code></li>" for change in row.changes)
        about = f"<p>Open division; changed against the card:</p><ul>{items or '<li>not recorded</li>'}</ul>"
    return f'<div class="detail">{_doubts(row)}{_corners(board, row)}{about}{_cells(board, row, places)}</div>'
