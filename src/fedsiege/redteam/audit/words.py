"""How a score card speaks, in the terminal and on the page."""

from __future__ import annotations

import math

from fedsiege.redteam.audit.metric import SOURCES
from fedsiege.redteam.audit.plan import CLEAN, OWN
from fedsiege.redteam.audit.score import HARM, Card, Score, harm_limit
from fedsiege.redteam.choose import attack_of
from fedsiege.redteam.hostile import HOSTILE

IMPORT = "from fedsiege.flower.strategy import DefendedStrategy"
"""The line that comes with the one of `Card.line`."""


def number(value: float) -> str:
    """Return a number for people."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def about(attack: str) -> str:
    """Return what an attack does, in one line."""
    if attack in HOSTILE:
        return HOSTILE[attack].summary
    doc = (attack_of(attack).__doc__ or "").strip().splitlines()
    return doc[0].partition(": ")[2].rstrip(".") if doc else ""


def change(score: Score) -> str:
    """Return how far a score is from the clean one."""
    if score.status == "refused":
        return "not possible"
    if score.status != "ok":
        return {"crashed": "run ended", "timeout": "timed out"}[score.status]
    if not math.isfinite(score.value):
        return "not a number"
    return f"{-100 * score.harm:+.0f}%" if abs(score.harm) >= 0.005 else "±0%"


def findings(card: Card) -> list[str]:
    """Return what the card says, in sentences, most important first."""
    m, harmful = card.metric, card.harmful
    out = []
    who = f"{card.malicious} malicious node{'s' if card.malicious > 1 else ''} of {card.nodes}"
    mounted = len(card.attacks) - len(card.refused)
    if not mounted:
        out.append(f"No attack could be mounted, so nothing is known of {card.strategy}.")
    elif not harmful:
        out.append(f"None of {mounted} attacks by {who} did measurable harm to {card.strategy}.")
    else:
        ended = [a for a in harmful if card.scores[a, OWN].status != "ok"]
        out.append(
            f"{len(harmful)} of {mounted} attacks by {who} harm {card.strategy} as it is"
            + (f"; {', '.join(ended)} ended the whole run." if ended else ".")
        )
    if card.refused:
        why = card.scores[card.refused[0], OWN].note
        out.append(f"{', '.join(card.refused)} could not be mounted: {why}.")
    best = card.best
    if best is not None:
        stopped = [a for a in harmful if best in card.stoppers(a)]
        left = [a for a in harmful if a not in stopped]
        cost = card.costs[best]
        gain = "costs" if cost.points > 0 else "gains"
        out.append(
            f"{best} would have stopped {len(stopped)} of these {len(harmful)}"
            + (f" (not {', '.join(left)})" if left else "")
            + f"; without an attack it {gain} {number(abs(cost.points))} of {m.name} and takes "
            f"{max(cost.extra, 0):.0f} ms more a round."
        )
        none = [a for a in left if not card.stoppers(a)]
        if none:
            out.append(f"Nothing in this battery stopped {', '.join(none)}; try other defenses with --defenses.")
    elif harmful and card.defenses:
        out.append("None of the defenses tried stops any of them; try others with --defenses.")
    if math.isnan(card.chance):
        out.append(
            "The clean run with another seed did not end well, so how much of a difference is chance is not known: run "
            "the audit again."
        )
    elif card.chance > HARM:
        out.append(
            f"Another seed alone changes {m.name} by {100 * card.chance:.0f}%, so small differences mean nothing here; "
            "more rounds would tell more."
        )
    return out


def title(card: Card) -> str:
    """Return what the figures of a card are, and which way they are read."""
    return f"{card.metric.name} under attack ({'lower' if card.metric.lower else 'higher'} is better)"


def footnote(card: Card) -> str:
    """Return how the figures are meant."""
    m = card.metric
    better, other = ("lower", "higher") if m.lower else ("higher", "lower")
    taken = "" if m.stated else f", going by its name (if not: --better {other})"
    nodes = f"{card.told} node{'s' if card.told > 1 else ''}"
    told = f" Told that {nodes} of a round may be malicious: {', '.join(card.heeding)}." if card.heeding else ""
    chance = "is not known" if math.isnan(card.chance) else f"differs by {100 * card.chance:.1f}%"
    return (
        f"{m.name} after the last round, {SOURCES[m.source]}; {better} is better{taken}. "
        f"Clean: {number(card.clean)}; another seed {chance}. An attack counts as harmful if it takes more than "
        f"{100 * harm_limit(card.chance):.0f}% of the clean score or ends the run. One run each.{told}"
    )


def stopped_by(card: Card, attack: str) -> str:
    """Return which defenses stop an attack, or why none has to."""
    if attack in card.refused:
        return "not possible"
    if attack not in card.harmful:
        return "" if attack == CLEAN else "harmless here"
    return ", ".join(card.stoppers(attack)) or "nothing tried"


def row_name(attack: str) -> str:
    """Return the name of a row."""
    return "no attack" if attack == CLEAN else attack
