"""Which cells each table and figure of a paper needs, one module a paper."""

from __future__ import annotations

from fedsiege.arena.targets.aaai23 import AAAI23, ATTACKS, FIGURE2
from fedsiege.arena.targets.base import Point, Sweep, Target
from fedsiege.arena.targets.icml24 import ICML24, ICML24_LITE

TARGETS: dict[str, Target] = {**AAAI23, **ICML24}
"""What can be reproduced, by identifier."""

LITE: dict[str, Target] = {t.full: t for t in ICML24_LITE.values()}
"""Small forms for machines without an accelerator, by the identifier of the full target."""

__all__ = ["ATTACKS", "FIGURE2", "LITE", "TARGETS", "Point", "Sweep", "Target"]
