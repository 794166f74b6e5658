"""What a defense needs, and whether a Flower server can give it: said when the strategy is made, not in round 40."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Strategy

from fedsiege import registry
from fedsiege.capabilities import CAPABILITIES
from fedsiege.defenses.base import Defense, heeded
from fedsiege.defenses.compose import compose
from fedsiege.errors import ConfigError
from fedsiege.flower.inner import flowers_own
from fedsiege.learners.base import VirtualTask

Root = Callable[[ArrayRecord, int], ArrayRecord]
"""Given the global model and a number of samples: the model after training on so many clean samples of the server's."""

GIVEN = {
    "items": "name the array that is the table: items='item_embedding.weight'",
    "root": "give a function that trains the model on the server's own data: root=lambda arrays, samples: …",
    "virtual": "give the model and its loss as functions: virtual=module_task(network, input_shape, classes)",
}
"""What the user can hand over, by capability, and how."""


SUITED: Mapping[str, Mapping[str, Any]] = {"normbound": {"bound": None}}
"""Settings of a defense that goes by its name, instead of its defaults: a bound in figures suits one model only."""

SUITED_TOLD: Mapping[str, Mapping[str, Any]] = {"trimmedmean": {"trim": None}}
"""Such settings where the number of malicious clients is told, which these defenses would not heed by default."""


def as_defense(defense: Defense | str, told: int | None = None) -> Defense:
    """Return a defense, or the one that a name such as ``"union+multikrum"`` stands for, with the usual parameters.

    Parameters
    ----------
    defense : Defense or str
        The defense, or its name.
    told : int, optional
        How many clients of a round may be malicious, if it is told that: a name then stands for a defense that heeds
        it, if there is one.
    """
    if not isinstance(defense, str):
        return defense
    suited = {**SUITED, **(SUITED_TOLD if told is not None else {})}
    return compose(tuple(registry.load("defenses", name)(**suited.get(name, {})) for name in defense.split("+")))


def heeds_count(defense: Defense | str) -> bool:
    """Return whether a defense, or the one that goes by a name, heeds how many clients may be malicious if told."""
    return "count" in heeded(as_defense(defense, told=1))


def check_needs(
    defense: Defense, items: str | None, root: Root | None, virtual: VirtualTask | None, client_half: bool
) -> None:
    """Raise ConfigError, naming the defense and what it lacks, unless a Flower server can run it.

    Parameters
    ----------
    defense : Defense
        The defense.
    items, root, virtual : Any
        What the user has handed over; see `fedsiege.flower.strategy.DefendedStrategy`.
    client_half : bool
        Whether the user says that clients do their half.
    """
    name = defense.name
    if defense.models > 1:
        raise ConfigError(
            f"defense {name!r} keeps {defense.models} global models, each trained by a group of clients of its own; a "
            "Flower strategy has one model, so choose another defense"
        )
    half = defense.client_half()
    handed: dict[str, Any] = {"items": items, "root": root, "virtual": virtual}
    for need in sorted(defense.needs):
        if need == "again" and half is not None:
            continue
        if need not in GIVEN:
            raise ConfigError(f"defense {name!r} needs {CAPABILITIES[need]}, which a Flower server cannot give")
        if handed[need] is None:
            raise ConfigError(f"defense {name!r} needs {CAPABILITIES[need]}; {GIVEN[need]}")
    if half is not None and (half.task is not None or half.transforms) and not client_half:
        raise ConfigError(
            f"defense {name!r} has a client-side half, which a server cannot do: add its mod from fedsiege.flower.mods "
            "to your ClientApp, then say client_half=True"
        )


def check_step(defense: Defense, inner: Strategy) -> None:
    """Raise ConfigError if `defense` looks ahead at the server's step and `inner` cannot show it."""
    for part in getattr(defense, "parts", (defense,)):
        if getattr(part, "simulate", None) == "adam" or getattr(part, "as_published", False):
            flowers_own(inner)
