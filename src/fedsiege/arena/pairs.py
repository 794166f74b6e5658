"""Which attack makes sense against which defense, and why not: for ``fedsiege list`` and for who starts a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fedsiege.attacks.base import Knowledge
from fedsiege.defenses.base import heeded, never_rejects

if TYPE_CHECKING:
    from fedsiege.arena.config import RunConfig

MEANT_FOR = {"fang-krum": ("krum", "multikrum")}
"""Attacks on one rule, and the defenses that follow it."""


def _rules(defense: Any) -> list[str]:
    """Names of the parts of a defense, or of the rule that a part leaves the judgement to (FLCert)."""
    rules = [getattr(part, "rule", part.name) for part in getattr(defense, "parts", (defense,))]
    return [str(rule["name"] if isinstance(rule, Mapping) else rule) for rule in rules]


def doubt(attack: Any, defense: Any) -> str | None:
    """Return why an attack does not do against this defense what its name says, None if nothing is known.

    Parameters
    ----------
    attack : Attack or type
        An attack, or the class of one.
    defense : Defense
        A defense.
    """
    knows = Knowledge(attack.knowledge)
    if Knowledge.ORACLE in knows and Knowledge.BENIGN not in knows and never_rejects(defense):
        return (
            f"it searches for how much {defense.name} still accepts, which rejects nothing: the search ends at its "
            f"limit and is a fixed scaling; adaptive(ATTACK) asks what moves the aggregate instead"
        )
    meant = MEANT_FOR.get(attack.name)
    if meant and not set(meant) & set(_rules(defense)):
        return f"it goes as far as Krum would let it, and {defense.name} is another rule; take it against krum"
    return None


def unheeded(config: RunConfig) -> list[str]:
    """Return what a configuration tells its defense, though that does not read it.

    A note, and no error: on a card every defense is granted the same.
    """
    heeds, name = heeded(config.defense), config.defense.name
    said = []
    if config.federation.tell_defense and "count" not in heeds:
        said.append(f"federation.tell_defense: {name} reads no number of attackers, and counts as untold")
    if config.federation.tell_norm and "norm" not in heeds:
        said.append(f"federation.tell_norm: {name} reads no norm; normbound with `bound: null` does")
    return said
