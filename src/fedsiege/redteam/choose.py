"""Which attacks a Flower app can be put to, and why others cannot: said by name before anything runs."""

from __future__ import annotations

from fedsiege import registry
from fedsiege.attacks.base import Attack, Knowledge
from fedsiege.capabilities import CAPABILITIES
from fedsiege.errors import ConfigError, nearest
from fedsiege.redteam.simple import SIMPLE

ALONE = Knowledge.MODEL
"""What one malicious client has on its own, besides its data and code."""
NEVER = {
    "clusterattack+cl": "trains with an objective of its own, which only the app's training loop could do",
}
"""Attacks that ask for what no message of an app can tell, with the reason."""


WRAPS = {
    "adaptive": "it asks a copy of the defense, which a Flower client cannot have",
    "noise": "it is the control of an attack; take gaussian",
}
"""Why a wrapped attack cannot be mounted, by wrapper."""


def attack_of(attack: Attack | str) -> Attack:
    """Return an attack, or the one of that name with default parameters; ConfigError if there is none."""
    if not isinstance(attack, str):
        return attack
    if attack in SIMPLE:
        return SIMPLE[attack]()
    known = registry.entries("attacks")
    if attack not in known:
        inner = registry.wrapped("attacks", attack)
        if inner is not None:
            raise ConfigError(
                f"attack {attack!r} wraps another one, which works in a simulation only: {WRAPS[inner[0]]}"
            )
        raise ConfigError(f"unknown attack {attack!r}: {nearest(attack, [*known, *SIMPLE])}")
    return registry.load("attacks", attack)()


def why_not(attack: Attack, items: str | None = None) -> str | None:
    """Return why an attack cannot be mounted on the uploads of a Flower app; None if it can.

    Parameters
    ----------
    attack : Attack
        The attack.
    items : str, optional
        Name of the array that is the item table, if the app has one.
    """
    if attack.name in NEVER:
        return NEVER[attack.name]
    if attack.poisons_data:
        return "poisons training data, which an app loads by itself and never sends"
    for need in sorted(attack.needs):
        if need == "items" and items is None:
            return f"needs {CAPABILITIES[need]}; name the array that it is: items='item_embedding.weight'"
        if need != "items":
            return f"needs {CAPABILITIES[need]}, which no message of an app carries"
    if Knowledge.ORACLE in attack.knowledge:
        return "asks a copy of the defense, which a Flower client cannot have"
    return None


def check_suited(attack: Attack, items: str | None = None) -> None:
    """Raise ConfigError, naming the attack and the reason, unless it can be mounted on uploads."""
    reason = why_not(attack, items)
    if reason is not None:
        raise ConfigError(f"attack {attack.name!r} {reason}")


def check_alone(attack: Attack, items: str | None = None) -> None:
    """Raise ConfigError, naming the attack and the reason, unless one client can mount it alone."""
    check_suited(attack, items)
    beyond = attack.knowledge & ~ALONE
    if beyond:
        raise ConfigError(
            f"attack {attack.name!r} knows {beyond.words}, which one client alone does not: its colluders' updates "
            "meet only in a simulation, so use fedsiege.redteam.grid.RedGrid or `fedsiege audit`"
        )


def suited_attacks(items: str | None = None) -> tuple[str, ...]:
    """Return the names of all built-in attacks that can be mounted on uploads."""
    return (*SIMPLE, *(n for n in registry.entries("attacks") if n != "none" and _is_suited(n, items)))


def _is_suited(name: str, items: str | None) -> bool:
    try:
        return why_not(attack_of(name), items) is None
    except ConfigError:
        # Another package's attack that cannot be loaded is no reason to stop at the others.
        return False
