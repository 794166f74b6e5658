"""What attacks and defenses ask of a model, and whether it offers that; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

Capability = Literal["pairs", "labels", "items", "again", "root", "virtual", "vote"]
"""What a model offers and a plug-in may need; see `CAPABILITIES`."""

CAPABILITIES: dict[Capability, str] = {
    "pairs": "training pairs of items",
    "labels": "labelled training samples",
    "items": "a table of item embeddings",
    "again": "a second local step from the client's own update",
    "root": "clean training data on the server",
    "virtual": "training on distilled knowledge",
    "vote": "predictions of several models that can be outvoted",
}


def lacking(needs: Iterable[str], provides: Iterable[str]) -> str:
    """Return in words which of `needs` a model that offers `provides` lacks, empty if none."""
    missing = sorted(set(needs) - set(provides))
    return " and ".join(CAPABILITIES[cast(Capability, m)] for m in missing)


def misfit(what: str, name: str, needs: Iterable[str], model: str, provides: Iterable[str]) -> str | None:
    """Return why a plug-in cannot be used with a model, None if it can."""
    words = lacking(needs, provides)
    return (
        f"{what} {name!r} needs {words}, which model {model!r} does not offer; see `fedsiege list`" if words else None
    )
