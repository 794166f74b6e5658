"""Which threat-model card a run belongs to, and in which division."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def kept_name(hash_: str) -> str:
    """Return the name of the file in which the card of a hash is kept beside its runs."""
    return f"card-{hash_}.yaml"


@dataclass(frozen=True)
class CardRef:
    """Which card a run belongs to, as it is stored with the run.

    Parameters
    ----------
    id, hash : str
        Of the card.
    degree : str
        Which of its non-IID degrees; empty if it has one only.
    division : {"closed", "open"}
        Whether the card fixed everything but attack and defense, or something else was changed too.
    changes : tuple of str
        Dotted names of what was changed; empty in the closed division.
    """

    id: str
    hash: str
    degree: str = ""
    division: str = "closed"
    changes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the reference as plain values."""
        return {**vars(self), "changes": list(self.changes)}
