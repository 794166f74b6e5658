"""Poisoning attacks, one file each. A file here with one class that has a ``name`` is registered by that alone."""

from fedsiege.attacks.base import Attack, AttackBase, AttackView, Knowledge, Rehearsal

__all__ = ["Attack", "AttackBase", "AttackView", "Knowledge", "Rehearsal"]
