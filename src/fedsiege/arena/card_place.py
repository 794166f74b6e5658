"""Where a grid keeps the card that it plays."""

from __future__ import annotations

from pathlib import Path

from fedsiege.arena.card import Card


def kept_at(card: Card, root: Path) -> Path:
    """Return the file in which a grid under `root` keeps its card: beside its runs, the hash in its name."""
    return root / card.folder / f"card-{card.hash}.yaml"
