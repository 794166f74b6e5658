"""The score card as one self-contained HTML file: no script, no network, light and dark."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

from fedsiege import __version__
from fedsiege.files import write_atomic
from fedsiege.redteam.audit.plan import CLEAN, OWN
from fedsiege.redteam.audit.score import Card, Score
from fedsiege.redteam.audit.words import IMPORT, about, change, findings, footnote, number, row_name, stopped_by, title

STYLE = """
:root { color-scheme: light dark; --bg: #f7f7f5; --card: #fff; --ink: #1d2329; --soft: #566069; --line: #dcdfe2;
  --accent: #0b62a8; --bad: #b3261e; --bad-soft: #fbe6e4; --good: #1c6b3a; --good-soft: #e3f3e8; --code: #f0f2f4; }
@media (prefers-color-scheme: dark) { :root { --bg: #12161b; --card: #1a2027; --ink: #e6eaee; --soft: #a3afba;
  --line: #323b45; --accent: #7cc0f5; --bad: #ff9b92; --bad-soft: #40201e; --good: #86d9a3; --good-soft: #173323;
  --code: #242c35; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { margin: 0 0 .2em; font-size: clamp(1.5rem, 4vw, 2.1rem); overflow-wrap: anywhere; }
h2 { margin: 0 0 .4em; font-size: 1.25rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; margin: 18px 0;
  padding: 18px 22px; }
.soft { color: var(--soft); font-size: .93rem; max-width: 56em; }
.brand { color: var(--accent); font-weight: 650; margin: 0; }
.big { font-size: 1.1rem; margin: .3em 0; max-width: 52em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: 7px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 600; font-size: .9rem; }
tbody th { color: var(--ink); font-size: 1rem; font-weight: 600; }
td small, th small { display: block; color: var(--soft); font-weight: 400; font-size: .83rem; }
td.bad { background: var(--bad-soft); } td.bad .change { color: var(--bad); font-weight: 650; }
td.good { background: var(--good-soft); } td.good .change { color: var(--good); font-weight: 650; }
pre { background: var(--code); border-radius: 8px; padding: 12px 14px; overflow-x: auto; }
svg { width: 100%; height: auto; max-width: 420px; } svg text { fill: var(--soft); font-size: 11px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); gap: 14px 22px; }
figure { margin: 0; } figcaption { font-weight: 600; }
.own { stroke: var(--bad); fill: var(--bad); } .with { stroke: var(--good); fill: var(--good); }
.clean { stroke: var(--soft); fill: var(--soft); stroke-dasharray: 2 4; }
polyline.with { stroke-dasharray: 9 4; }
polyline { fill: none !important; stroke-width: 2; }
.key span { margin-right: 1.2em; white-space: nowrap; } .key svg { width: 26px; vertical-align: middle; }
"""
WIDTH, HEIGHT, LEFT, BOTTOM = 300, 150, 38, 20


def _td(score: Score, shown: bool) -> str:
    kind = "" if score.status == "refused" else "bad" if score.harmed else "good" if shown else ""
    value = number(score.value) if score.status == "ok" else "–"
    note = f"<small>{escape(score.note)}</small>" if score.note else ""
    return f'<td class="{kind}">{value}<small class="change">{escape(change(score))}</small>{note}</td>'


def _scroll(name: str) -> str:
    """Return the start of what holds a wide table: with a name, and in reach of the keyboard, which then scrolls it."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">'


def _grid(card: Card) -> str:
    heads = "".join(f'<th scope="col">{escape(d)}</th>' for d in card.defenses)
    rows = []
    for attack in (CLEAN, *card.attacks):
        harmful = attack in card.harmful
        cells = "".join(_td(card.scores[attack, d], harmful and d != OWN) for d in (OWN, *card.defenses))
        what = "" if attack == CLEAN else f"<small>{escape(about(attack))}</small>"
        stop = escape(stopped_by(card, attack))
        rows.append(f'<tr><th scope="row">{escape(row_name(attack))}{what}</th>{cells}<td>{stop}</td></tr>')
    return (
        f'{_scroll(f"{card.metric.name} under attack")}<table><thead><tr><th scope="col">attack</th>'
        f'<th scope="col">{escape(card.strategy)}<small>your own</small></th>{heads}<th scope="col">stopped by</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _costs(card: Card) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(d)}</th><td>{number(c.points)}</td>'
        f"<td>{'–' if math.isnan(c.rejected) else f'{100 * c.rejected:.0f}%'}</td>"
        f"<td>{c.milliseconds:.1f}</td><td>{c.extra:+.1f}</td></tr>"
        for d, c in card.costs.items()
    )
    names = ("defense", f"{card.metric.name} lost", "honest uploads turned away", "ms a round", "more than your own")
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return f"{_scroll('cost of defenses')}<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"


def _mark(name: str, x: float, y: float) -> str:
    """Return a point of a curve: a square with a defense, a circle without, so that none needs its color."""
    if name == "with":
        return f'<rect class="{name}" x="{x - 2.5:.1f}" y="{y - 2.5:.1f}" width="5" height="5"/>'
    return f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>'


def _chart(card: Card, attack: str, defense: str | None) -> str:
    """Return the metric by round under one attack: own strategy, best defense, and the clean run."""
    series = [("clean", CLEAN, OWN), ("own", attack, OWN)]
    if defense is not None:
        series.append(("with", attack, defense))
    curves = {
        name: [(r, v) for r, v in card.metric.curve(card.results.get((a, d))) if math.isfinite(v)]
        for name, a, d in series
    }
    points = [p for curve in curves.values() for p in curve]
    if not points:
        return ""
    rounds, values = [r for r, _ in points], [v for _, v in points]
    # A diverging loss would press everything else to the ground: three times the clean range is enough.
    clean = [v for _, v in curves["clean"]] or values
    low, high = min(values), max(values)
    if card.metric.lower and high > 3 * max(clean):
        high = 3 * max(clean)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    first, last = min(rounds), max(max(rounds), min(rounds) + 1)

    def at(r: int, v: float) -> tuple[float, float]:
        x = LEFT + (r - first) / (last - first) * (WIDTH - LEFT - 8)
        return x, 8 + (high - min(max(v, low), high)) / (high - low) * (HEIGHT - BOTTOM - 8)

    marks = []
    for name, curve in curves.items():
        places = [at(r, v) for r, v in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        marks.append(f'<polyline class="{name}" points="{line}"/>')
        if name != "clean":
            marks += [_mark(name, x, y) for x, y in places]
    axis = (
        f'<text x="{LEFT - 5}" y="13" text-anchor="end">{number(high)}</text>'
        f'<text x="{LEFT - 5}" y="{HEIGHT - BOTTOM + 3}" text-anchor="end">{number(low)}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 4}">round {first}</text>'
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 4}" text-anchor="end">{last}</text>'
    )
    status = card.scores[attack, OWN]
    ended = f" — {escape(change(status))} with your own strategy" if status.status != "ok" else ""
    label = f"{card.metric.name} by round under {attack}"
    return (
        f"<figure><figcaption>{escape(attack)}{ended}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{axis}{"".join(marks)}</svg>'
        "</figure>"
    )


def _key(defense: str | None) -> str:
    def item(name: str, words: str) -> str:
        mark = "" if name == "clean" else _mark(name, 13, 4)
        line = f'<svg viewBox="0 0 26 8" aria-hidden="true"><polyline class="{name}" points="1,4 25,4"/>{mark}</svg>'
        return f"<span>{line} {escape(words)}</span>"

    parts = [item("clean", "without an attack"), item("own", "your own strategy")]
    return f'<p class="key soft">{"".join(parts + ([item("with", f"with {defense}")] if defense else []))}</p>'


def page(card: Card, name: str) -> str:
    """Return the page of an app's score card."""
    said = "".join(f'<p class="big">{escape(sentence)}</p>' for sentence in findings(card))
    best = card.best
    add = ""
    if best is not None:
        code = escape(f"{IMPORT}\n\n{card.line(best)}  # before strategy.start(...)")
        add = f"<section><h2>Add it</h2><pre><code>{code}</code></pre></section>"
    charts = "".join(_chart(card, attack, best) for attack in card.attacks)
    cost = f"<section><h2>What a defense costs without an attack</h2>{_costs(card)}</section>" if card.defenses else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: audit</title><style>{STYLE}</style></head><body><main>"
        f'<p class="brand">FedSiege audit</p><h1>{escape(name)}</h1>'
        f'<p class="soft">{card.nodes} nodes, {card.malicious} of them malicious; strategy {escape(card.strategy)}.</p>'
        f"<section><h2>In short</h2>{said}</section>{add}"
        f"<section><h2>{escape(title(card))}</h2>{_grid(card)}"
        f'<p class="soft">{escape(footnote(card))}</p></section>{cost}'
        f'<section><h2>Round by round</h2>{_key(best)}<div class="charts">{charts}</div></section>'
        f'<p class="soft">Made by fedsiege {escape(__version__)}.</p></main></body></html>\n'
    )


def write_page(path: Path, card: Card, name: str) -> Path:
    """Write the page of an app's score card and return its path."""
    write_atomic(path, page(card, name).encode("utf-8"))
    return path
