"""Does a run keep to the card that it names? Its configuration says so, and may have been changed since."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fedsiege.arena.card import Card
from fedsiege.arena.card_ref import CardRef, kept_name
from fedsiege.arena.config import RunConfig


def judged(config: RunConfig, place: Path, altered: bool = False) -> RunConfig:
    """Return a configuration whose reference to its card says what was changed, where the card is at hand.

    A stored configuration keeps its reference when something in it is changed, by hand or with ``--set``; taken at its
    word it would count in the closed division.

    Parameters
    ----------
    config : RunConfig
        What is to be run.
    place : Path
        A file or folder below which, or beside which, its card may lie, if it is none of the shipped ones.
    altered : bool
        Whether something is known to have been changed: where the card is not at hand, nobody can tell what, and the
        reference is dropped.
    """
    ref = config.card
    if ref is None:
        return config
    card = _of(ref, place)
    if card is None:
        return replace(config, card=None) if altered else config
    changes = card.changes(config)
    return replace(config, card=replace(ref, division="open" if changes else "closed", changes=changes))


def _of(ref: CardRef, place: Path) -> Card | None:
    """Return the card of a reference: a shipped one, or the one that lies above `place`."""
    from fedsiege.arena.card_file import load, names
    from fedsiege.arena.card_store import ABOVE, read

    if ref.id in names() and (shipped := load(ref.id)).hash == ref.hash:
        return shipped
    beside = (read(above / kept_name(ref.hash), ref.hash) for above in list(place.resolve().parents)[:ABOVE])
    return next((card for card in beside if card is not None), None)
