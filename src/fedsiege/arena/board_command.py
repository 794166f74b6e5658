"""How the runs of a published board are made again: one command for a card's own entrants, their own for the others."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from fedsiege.arena.board_cells import CLOSED
from fedsiege.arena.flags import NONE, inner_of

if TYPE_CHECKING:
    from fedsiege.arena.card import Card, Spec
    from fedsiege.arena.record import Record


def _attacks(card: Card) -> dict[str, Spec]:
    """Return a card's attacks by the label that their runs have."""
    from fedsiege.arena.config import named, plugin
    from fedsiege.arena.names import label

    return {label("attacks", named(plugin("attacks", spec))): spec for spec in card.attacks}


def _defenses(card: Card) -> dict[str, Spec]:
    """Return a card's defenses by the label that their runs have, with the settings that suit its model and data."""
    from fedsiege.arena.names import label

    played = [card.config(NONE, spec, card.seeds[0]).to_dict()["defense"] for spec in card.defenses]
    return {label("defenses", defense): spec for defense, spec in zip(played, card.defenses)}


def _name(spec: Spec) -> str:
    return spec if isinstance(spec, str) else str(spec["name"])


def _words(entrants: Mapping[str, Spec], seen: set[str]) -> list[str]:
    """Return those of a card's entrants whose labels were seen, as a command line names them.

    A bare name means all of the card's entrants of that name, so it is used only where all of them were seen.
    """
    from fedsiege.arena.plan import text

    partly = {_name(spec) for label, spec in entrants.items() if label not in seen}
    found = [spec for label, spec in entrants.items() if label in seen]
    exact = [_name(s) if _name(s) not in partly else text({"name": s} if isinstance(s, str) else s) for s in found]
    return list(dict.fromkeys(exact))


_THREADS = re.compile(r", (\d+) threads?\b")


def _threads(records: Iterable[Record]) -> list[str]:
    """Return the option for the threads of each run, on which last bits may depend, where all runs had as many."""
    found = {told[1] if (told := _THREADS.search(record.hardware)) else None for record in records}
    only = found.pop() if len(found) == 1 else None
    return ["--threads", only] if only else []


def command(card: Card, records: Iterable[Record]) -> tuple[str, int]:
    """Return the command that repeats the runs of a card's own entrants, and how many of `records` are such runs.

    Those are runs of the closed division in the card's present game whose attack and defense are entrants of the card,
    with the settings that they have there, and the controls of such attacks. The command is empty if there is no such
    run; pairs of which there is none are run too.
    """
    attacks, defenses = _attacks(card), _defenses(card)
    closed = [r for r in records if r.division == CLOSED and r.card_hash == card.hash]
    own = [r for r in closed if r.attack_label in attacks and r.defense_label in defenses]
    if not own:
        return "", 0
    controls = [r for r in closed if inner_of(r.attack_label) in attacks and r.defense_label == NONE]
    words = ["fedsiege", "arena", "--card", card.id]
    words += ["--attacks", *_words(attacks, {r.attack_label for r in own})]
    words += ["--defenses", *_words(defenses, {r.defense_label for r in own})]
    words += ["--seeds", *map(str, sorted({r.seed for r in own}))]
    degrees = [degree for degree in card.degrees if degree in {r.degree for r in own}]
    words += ["--degrees", *degrees] if len(degrees) < len(card.degrees) else []
    words += ["--noise"] if controls else []
    words += _threads([*own, *controls])
    return shlex.join(words), len(own) + len(controls)


def repeating(id_: str, records: Sequence[Record]) -> list[str]:
    """Return the lines of a page, in Markdown, that say how to repeat its runs."""
    from fedsiege.arena.card_file import load, names

    if id_ not in names():
        return ["The card is not one that comes with FedSiege: the JSON holds the command of each run.", ""]
    words, count = command(load(id_), records)
    said = ["```console", f"$ {words}", "```", ""] if words else []
    if rest := len(records) - count:
        said += [
            f"{rest} of {len(records)} runs are not of the card's entrants with the settings that they have there, or "
            f"changed something else too: the JSON holds the command of each.",
            "",
        ]
    return said
