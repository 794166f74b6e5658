"""Reference bands that come with FedSiege: between which values the clean run of a card lies.

A clean run is one without attack and defense. A band belongs to the game's hash: once the game changes, it is no longer
read. `fedsiege.arena.card_bands` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from fedsiege.arena.card import Card

FILE = Path("bands") / "clean.yaml"
"""Where they lie among the cards."""


@cache
def stored() -> Mapping[str, Any]:
    """Return the bands that come with FedSiege, by id of the card; empty if there are none."""
    file = files("fedsiege.arena") / "cards" / str(FILE)
    if not file.is_file():
        return {}
    return yaml.safe_load(file.read_text(encoding="utf-8"))["cards"] or {}


def of(card: Card) -> dict[str, tuple[float, float]]:
    """Return the stored bands of a card by degree; none if its game is not the one they were made for."""
    entry = stored().get(card.id)
    if entry is None or entry["hash"] != card.hash:
        return {}
    return {degree: (values["low"], values["high"]) for degree, values in entry["degrees"].items()}
