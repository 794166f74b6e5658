"""Defenses, one file each. A file here with one class that has a ``name`` is registered by that alone."""

from fedsiege.defenses.base import ClientHalf, Defense, DefenseBase, DefenseView, Filter, Outcome, Verdicts

__all__ = ["ClientHalf", "Defense", "DefenseBase", "DefenseView", "Filter", "Outcome", "Verdicts"]
