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
from fedsiege.report.bundle import javascript
from fedsiege.report.cells import cells as make_cells
from fedsiege.report.cells import cost, detection
from fedsiege.report.charts import Chart, charts
from fedsiege.report.collect import Board
from fedsiege.report.fits import shown, sweeps, verdicts

LEAD = (
    "Who wins when some participants of federated learning try to spoil the shared model: "
    "every attack against every defense, with the numbers behind it."
)

INTRO = """
<p>Imagine many phones that train one model together. Nobody’s data leaves the phone: in each round some phones
send the server a small suggested change of the model, an <em>upload</em>. A few of them lie. Their uploads are made
to spoil the model: that is a <em>poisoning attack</em>. What the server does with the uploads to limit the harm is a
<em>defense</em>. Here every attack was let loose on every defense, and the model was then put to the test.</p>
"""

SCORES = {
    "HR": (
        "For each honest person one item that they really chose was hidden. HR@5 is the share of people for whom it is "
        "among the model’s first five guesses; NDCG@5 also rewards a guess nearer the top. Higher is better."
    ),
    "TACC": "TACC is the share of test images that the model classifies rightly. Higher is better.",
    "ASR": (
        "ASR is how often an attacker gets the class that it wants: the share of test images taken for that class, "
        "with the attacker’s mark in them if there is one. Here lower is better for all but the attacker."
    ),
}
CHANGE = (
    "A <em>change</em> of −30% means that three tenths of the score are gone, compared with the same training without "
    "attack and defense."
)


def introduction(metrics: tuple[str, ...]) -> str:
    """Return what a reader must know first: what was done, and how the scores at hand are read."""
    kinds = {metric.partition("@")[0] for metric in metrics}
    said = " ".join(text for kind, text in SCORES.items() if kind in kinds)
    return f"{INTRO}<p><b>How to read a score.</b> {said} {CHANGE}</p>" if said else INTRO


# key: heading, what it shows, what the picture looks like to someone who cannot see it
SECTIONS = {
    "grid": (
        "What each attack takes from each defense",
        "Large: how much better (+) or worse (−) the model is than without attack and defense. Small: the 95% interval "
        "over seeds. Blue tiles gained, orange tiles lost; the darker or brighter, the more.",
        "Heat map with attacks as rows and defenses as columns; the table below holds the same numbers",
    ),
    "curves": (
        "How the model learns, round by round",
        "One panel for each defense, one line for each attack: the score on test data as training goes on. Dashed: "
        "where the model ends without attack and defense. Bands span the smallest and the largest seed.",
        "Line charts of test scores over rounds, one panel for each defense",
    ),
    "detection": (
        "Who was caught",
        "For defenses that throw uploads away. DACC: the share of uploads judged rightly. FPR: benign uploads thrown "
        "away. FNR: malicious uploads let in. AAR: in how many rounds a malicious client got in, on average.",
        "Dot plots of detection rates for each defense and attack; the table below holds the same numbers",
    ),
    "points": (
        "Where the uploads lie",
        "Each mark is one upload, drawn by its two main directions of difference (PCA) among the uploads of the round. "
        "Circles are benign, triangles malicious, a cross marks what the defense rejected. Where triangles hide among "
        "circles, the attack is hard to see. Each panel has its own scale.",
        "Scatter plots of uploads on two principal components, one panel for each round",
    ),
    "densities": (
        "What the defense saw",
        "How the scores that a defense gives to uploads are spread around the median of their round, for benign and "
        "malicious ones, in each third of the run. Each curve is scaled to its own highest point. Separation says how "
        "well the score tells the two apart within a round: 0.5 is guessing, 1 is certain.",
        "Density curves of scores of benign and malicious uploads, one panel for each third of the run",
    ),
    "fits": (
        "Whose upload training can reproduce",
        "FedREDefense trains a few invented samples until they reproduce a client’s upload. One line for each client, "
        "in the first round that judged it: the error that is left after so many iterations (at most 60 clients of "
        "one seed; errors far above γ are drawn at the upper edge). The dashed rule is the threshold γ. Whoever ends "
        "above it is rejected: a cross; at 0 it is an empty upload, which is not fitted. Above each panel: how many "
        "malicious and how many benign clients were rejected. A verdict belongs to the model, the budget of iterations "
        "and γ together: with another model, another budget or another γ it may be the opposite.",
        "Line charts of reconstruction error over iterations, one line for each client, one panel for each attack; "
        "the tables below hold the verdicts",
    ),
    "cost": (
        "What a defense costs when nobody attacks",
        "The score that is left with the defense in place and every client honest, and how long a round takes. Dashed: "
        "no defense. Lines span the 95% interval over seeds.",
        "Bar charts of the clean score and of the time of a round for each defense",
    ),
}  # fmt: skip


_SHORT = {
    "about": "About", "glance": "In one look", "ran": "What was run", "grid": "Heat map", "curves": "Learning",
    "detection": "Detection", "points": "Uploads", "densities": "Scores", "fits": "Reconstruction", "cost": "Cost",
    "repeat": "Repeat", "notes": "Notes",
}  # fmt: skip


def _section(key: str, heading: str, content: str) -> str:
    return f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{escape(heading)}</h2>{content}</section>'


def _figure(key: str) -> str:
    heading, text, picture = SECTIONS[key]
    return (
        f'<figure data-chart="{key}" data-title="{escape(heading)}" aria-labelledby="{key}-h">'
        f"<figcaption>{escape(text)}</figcaption>"
        f'<div class="menus" role="group" aria-label="Choose what is drawn"></div>'
        f'<p class="hint soft">Scroll the picture sideways to see all of it.</p>'
        f'<div class="stage" tabindex="0" role="region" aria-label="{escape(picture)}">'
        f"<noscript>This chart needs JavaScript; the tables do not.</noscript></div></figure>"
    )


def _tables(board: Board, cells: pl.DataFrame) -> dict[str, list[tuple[str, str]]]:
    """Return the tables that stand under charts, ``(summary, table)`` for each group."""
    metric = board.metrics[0]
    caught, price = detection(board), cost(board)
    judged, priced = set(caught["group"]), set(price["group"])
    return {
        "grid": [(g, tables.grid(board, cells, g, metric)) for g in board.groups],
        "detection": [(g, tables.detection(caught, g)) for g in board.groups if g in judged],
        "cost": [(g, tables.cost(price, g, metric)) for g in board.groups if g in priced],
    }


def _fits(board: Board) -> str:
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


def _glance(board: Board, cells: pl.DataFrame) -> str:
    said = []
    for group in board.groups:
        sentences = words.findings(cells, group, board.metrics[0])
        if sentences:
            items = "".join(f"<li>{escape(text)}</li>" for text in sentences)
            said.append(f'<h3>{escape(group)}</h3><ul class="found">{items}</ul>')
    if not said:
        return ""
    shown = "".join(said[:4])
    return shown + (tables.folded(f"{len(said) - 4} more settings", "".join(said[4:])) if said[4:] else "")


def _body(board: Board, made: list[Chart], cells: pl.DataFrame) -> list[tuple[str, str, str]]:
    """Return ``(key, heading, HTML)`` of all sections in order."""
    intro = introduction(board.metrics)
    if board.warnings:
        intro += (
            f'<p class="warn" role="note">{len(board.warnings)} thing(s) could not be read: '
            f'see the <a href="#notes">notes</a>.</p>'
        )
    parts = [("about", "What am I looking at?", intro)]
    glance = _glance(board, cells)
    if glance:
        parts.append(("glance", "In one look", glance))
    parts.append(
        (
            "ran",
            "What was run",
            f"{tables.facts(board)}<h3>Threat model: who may know what</h3>{tables.badges(board)}",
        )
    )
    under = _tables(board, cells)
    for chart in made:
        content = _figure(chart.key)
        for group, html in under.get(chart.key, []):
            content += tables.folded(f"As a table: {group}", html)
        if chart.key == "fits":
            content += _fits(board)
        parts.append((chart.key, SECTIONS[chart.key][0], content))
    repeat = "".join(tables.folded(g, tables.commands(board, cells, g)) for g in board.groups)
    parts.append(
        ("repeat", "Repeat any of it", f"<p>The command that makes the first seed of each cell again.</p>{repeat}")
    )
    return parts


def _hash(script: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"


def _json(value: object) -> str:
    """Return JSON that cannot end the element that holds it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def render(board: Board, title: str) -> str:
    """Return the page of a board.

    Parameters
    ----------
    board : Board
        What to show; without runs the page says so.
    title : str
        Heading of the page.
    """
    made: list[Chart] = []
    if board.runs.is_empty() or not board.metrics:
        why = (
            f"<p>No finished run was found under <code>{escape(str(board.root))}</code>. Start one with "
            f"<code>fedsiege run</code> or <code>fedsiege demo</code>, then make this report again.</p>"
        )
        parts = [("empty", "Nothing to show yet", why)]
    else:
        cells = make_cells(board)
        made = charts(board, cells)
        parts = _body(board, made, cells)
    parts.append(("notes", "Notes and warnings", tables.notes(board)))
    home = files("fedsiege.report")
    bundle = javascript() if made else ""
    script = (home / "page.js").read_text(encoding="utf-8")
    try:
        release = version("fedsiege")
    except PackageNotFoundError:
        release = ""
    links = "".join(f'<li><a href="#{key}">{escape(_SHORT.get(key, heading))}</a></li>' for key, heading, _ in parts)
    return Template((home / "page.html").read_text(encoding="utf-8")).substitute(
        hashes=f"{_hash(bundle)} {_hash(script)}",
        title=escape(title),
        lead=escape(LEAD),
        css=(home / "page.css").read_text(encoding="utf-8"),
        nav=f'<nav aria-label="Sections"><ul>{links}</ul></nav>',
        body="".join(_section(*part) for part in parts),
        version=escape(release),
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
