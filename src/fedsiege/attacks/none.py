"""No attack: malicious clients behave honestly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedsiege.attacks.base import AttackBase


@dataclass(frozen=True)
class NoAttack(AttackBase):
    """No attack: the coalition trains and uploads honestly."""

    name: ClassVar[str] = "none"
    honest: ClassVar[bool] = True
