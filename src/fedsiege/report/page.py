"""The HTML page of a board: one file that opens offline, for the eye, the screen reader and the sceptic."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from string import Template

import polars as pl

from fedsiege.errors import RunError
from fedsiege.report import tables, words
from fedsiege.report.boards import Leaderboards, leaderboards
from fedsiege.report.bundle import javascript
from fedsiege.report.cells import LOSS, cost, detection, keyed, orders, prices
from fedsiege.report.cells import cells as make_cells
from fedsiege.report.charts import Chart, charts
from fedsiege.report.collect import Board
from fedsiege.report.contest import Contest, contest
from fedsiege.report.fits import shown, sweeps, verdicts
from fedsiege.report.leaderboard import headings
from fedsiege.report.leaderboard import section as leaderboard
from fedsiege.report.page_texts import LEAD, LOOSE, SECTIONS, SHORT, introduction

SCRIPTS = ("page.js", "page.board.js")
LIVE = "page.live.js"
STYLES = ("page.css", "page.board.css", "page.print.css")


def _section(key: str, heading: str, content: str) -> str:
    return f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{escape(heading)}</h2>{content}</section>'


def _figure(key: str, more: str = "") -> str:
    heading, text, picture = SECTIONS[key]
    return (
        f'<figure data-chart="{key}" data-title="{escape(heading)}" aria-labelledby="{key}-h">'
        f"<figcaption>{escape(' '.join(filter(None, (text, more))))}</figcaption>"
        f'<div class="menus" role="group" aria-label="Choose what is drawn"></div>'
        f'<p class="hint soft">Scroll the picture sideways to see all of it.</p>'
        f'<div class="stage" tabindex="0" role="region" aria-label="{escape(picture)}">'
        f"<noscript>This chart needs JavaScript; the tables do not.</noscript></div></figure>"
    )


def _tables(board: Contest, cells: pl.DataFrame) -> dict[str, list[tuple[str, str]]]:
    """Return the tables that stand under charts, ``(summary, table)`` for each group."""
    caught, price, changes = detection(board), cost(board), prices(board)
    judged, priced = set(caught["group"]), set(price["group"])
    return {
        "grid": [(g, tables.grid(board, cells, g)) for g in board.groups],
        "detection": [(g, tables.detection(caught, g)) for g in board.groups if g in judged],
        "cost": [(g, tables.cost(price, changes, g, board.sticks[g].clean)) for g in board.groups if g in priced],
    }


def _fits(board: Contest) -> str:
    """Return what stands under the curves of reconstructions: verdicts at other thresholds and budgets, clients."""
    judged = verdicts(board)
    drawn = shown(judged)
    content = ""
    for number, sweep in enumerate(sweeps(board, judged)):
        name = f"{sweep.group}, {sweep.defense}"
        html = tables.thresholds(sweep)
        if number == 0:
            content += f"<h3>At which γ and budget who is rejected</h3>{html}"
        else:
            content += tables.folded(f"At which γ and budget who is rejected: {name}", html)
        content += tables.folded(f"Each client: {name}", tables.clients(drawn, sweep.group, sweep.defense))
    return content


def _glance(board: Contest, cells: pl.DataFrame) -> str:
    said = []
    for group in board.groups:
        sentences = words.findings(cells, group, board.sticks[group].metric, board.sticks[group].clean)
        if sentences:
            items = "".join(f"<li>{escape(text)}</li>" for text in sentences)
            said.append(f'<h3>{escape(group)}</h3><ul class="found">{items}</ul>')
    if not said:
        return ""
    shown = "".join(said[:4])
    return shown + (tables.folded(f"{len(said) - 4} more settings", "".join(said[4:])) if said[4:] else "")


def _boards(found: Leaderboards) -> list[tuple[str, str, str]]:
    """Return ``(key, heading, HTML)`` of a section for each leaderboard."""
    named = zip(found.boards, headings(found.boards, found.cards))
    parts = []
    for number, (board, heading) in enumerate(named, 1):
        card = found.cards.get(board.card_hash)
        parts.append((f"board{number}", heading, leaderboard(board, f"table{number}", found.places, card)))
    return parts


def _body(board: Board, found: Leaderboards) -> tuple[list[tuple[str, str, str]], list[Chart]]:
    """Return ``(key, heading, HTML)`` of all sections in order, and the charts in them."""
    seen = contest(board)
    cells = make_cells(seen)
    made = charts(seen, cells)
    intro = introduction(board.metrics)
    if board.warnings:
        intro += (
            f'<p class="warn" role="note">{len(board.warnings)} thing(s) could not be read: '
            f'see the <a href="#notes">notes</a>.</p>'
        )
    parts = [("about", "What am I looking at?", intro)]
    glance = _glance(seen, cells)
    if glance:
        parts.append(("glance", "In one look", glance))
    parts += _boards(found)
    parts.append(
        (
            "ran",
            "What was run",
            f"{tables.facts(board)}<h3>Threat model: who may know what</h3>{tables.badges(seen)}",
        )
    )
    under = _tables(seen, cells)
    loose = LOOSE if (cells["basis"] != LOSS).any() else ""
    for chart in made:
        content = _figure(chart.key, loose if chart.key == "grid" else chart.note)
        for group, html in under.get(chart.key, []):
            content += tables.folded(f"As a table: {group}", html)
        if chart.key == "fits":
            content += _fits(seen)
        parts.append((chart.key, SECTIONS[chart.key][0], content))
    every = keyed(board, orders(seen))
    repeat = "".join(tables.folded(g, tables.commands(every, g)) for g in board.groups)
    parts.append(
        ("repeat", "Repeat any of it", f"<p>The command that makes the first seed of each cell again.</p>{repeat}")
    )
    return parts, made


def _hash(script: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"


def _json(value: object) -> str:
    """Return JSON that cannot end the element that holds it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _release() -> str:
    try:
        return version("fedsiege")
    except PackageNotFoundError:
        return ""


def _links(parts: list[tuple[str, str, str]]) -> str:
    """Return the navigation: boards by their card, other sections by a short name."""
    items = "".join(
        f'<li><a href="#{key}">{escape(SHORT.get(key, heading.removeprefix("Leaderboard: ")))}</a></li>'
        for key, heading, _ in parts
    )
    return f'<nav aria-label="Sections"><ul>{items}</ul></nav>'


def render(board: Board, title: str, live: str | None = None) -> str:
    """Return the page of a board.

    Parameters
    ----------
    board : Board
        What to show; without runs the page says so.
    title : str
        Heading of the page.
    live : str, optional
        State of the store that the page shows, if a server keeps it up to date: then the page asks that server, and
        no other, whether there is more.
    """
    made: list[Chart] = []
    if board.runs.is_empty() or not board.metrics:
        why = (
            f"<p>No finished run was found under <code>{escape(str(board.root))}</code>. Start one with "
            f"<code>fedsiege run</code> or <code>fedsiege demo</code>, then make this report again.</p>"
        )
        parts = [("empty", "Nothing to show yet", why)]
    else:
        parts, made = _body(board, leaderboards(board))
    parts.append(("notes", "Notes and warnings", tables.notes(board)))
    home = files("fedsiege.report")
    read = {name: (home / name).read_text(encoding="utf-8") for name in (*SCRIPTS, LIVE, *STYLES, "page.theme.js")}
    bundle = javascript() if made else ""
    script = "".join(read[name] for name in (*SCRIPTS, *((LIVE,) if live is not None else ())))
    return Template((home / "page.html").read_text(encoding="utf-8")).substitute(
        hashes=" ".join(_hash(text) for text in (read["page.theme.js"], bundle, script)),
        connect="" if live is None else "; connect-src 'self'",
        title=escape(title),
        lead=escape(LEAD),
        css="".join(read[name] for name in STYLES),
        theme=read["page.theme.js"],
        live="" if live is None else f'<div id="live" role="status" data-state="{escape(live)}"></div>',
        nav=_links(parts),
        body="".join(_section(*part) for part in parts),
        version=escape(_release()),
        data=_json({chart.key: chart.payload() for chart in made}),
        bundle=bundle,
        script=script,
    )


def write_page(board: Board, path: Path, title: str = "Attacks against defenses") -> Path:
    """Write the page of a board and return its path; RunError if it cannot be written.

    The file holds everything that it shows: its content policy lets a browser load nothing else.
    """
    text = render(board, title)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write report {path}: {error.strerror or error}; choose another with --out") from error
    return path
