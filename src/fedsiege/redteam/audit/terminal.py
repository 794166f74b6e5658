"""The score card in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from fedsiege.redteam.audit.plan import CLEAN, OWN
from fedsiege.redteam.audit.score import Card, Score
from fedsiege.redteam.audit.words import IMPORT, change, findings, footnote, number, row_name, stopped_by, title


def _cell(score: Score) -> Text:
    text = Text(number(score.value) if score.status == "ok" else change(score))
    if score.status == "ok":
        text.append(f"\n{change(score)}", style="bold red" if score.harmed else "dim")
    else:
        text.stylize("dim" if score.status == "refused" else "bold red")
    return text


def _grid(card: Card) -> Table:
    table = Table(title=Text(title(card), style="italic"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("attack")
    for name in (f"{card.strategy} (own)", *card.defenses):
        table.add_column(Text(name), justify="right", overflow="fold")
    table.add_column("stopped by", overflow="fold")
    for attack in (CLEAN, *card.attacks):
        cells = [_cell(card.scores[attack, d]) for d in (OWN, *card.defenses)]
        table.add_row(
            Text(row_name(attack)),
            *cells,
            Text(stopped_by(card, attack), style="green" if attack in card.harmful else "dim"),
        )
    return table


def _costs(card: Card) -> Table:
    table = Table(title="cost without an attack", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("defense", f"{card.metric.name} lost", "honest turned away", "ms a round", "more than own"):
        table.add_column(Text(name), justify="left" if name == "defense" else "right")
    for defense, cost in card.costs.items():
        share = "–" if cost.rejected != cost.rejected else f"{100 * cost.rejected:.0f}%"
        values = [number(cost.points), share, f"{cost.milliseconds:.1f}", f"{cost.extra:+.1f}"]
        table.add_row(Text(defense), *map(Text, values))
    return table


def score_card(card: Card) -> Iterator[Any]:
    """Yield the parts of the score card for a rich console."""
    yield _grid(card)
    if card.defenses:
        yield _costs(card)
    for sentence in findings(card):
        yield Text(f"• {sentence}")
    if card.best is not None:
        yield Text("\nTo add it, before strategy.start(...):\n")
        yield Text(f"    {IMPORT}\n    {card.line(card.best)}\n", style="bold")
    yield Text(footnote(card), style="dim")
