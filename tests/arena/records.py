"""Stored runs and cards made up for tests of statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedsiege.arena.record import Record

SEEDS = (0, 1, 2, 3, 4)
CARD = {"card": "toy-v1", "card_hash": "0123456789ab", "degree": "", "division": "closed"}


@dataclass(frozen=True)
class FakeCard:
    """What statistics need of a card."""

    id: str = "toy-v1"
    hash: str = "0123456789ab"
    metric: str = "HR@10"
    higher_is_better: bool = True
    seeds: tuple[int, ...] = SEEDS
    bands: Mapping[str, tuple[float, float]] = field(default_factory=lambda: {"": (0.5, 0.7)})
    attacks: tuple[Any, ...] = ("fang", "lie", "gaussian", "adaptive(fang)")
    defenses: tuple[Any, ...] = ("none", "median", "krum")
    tuning: str = "None; all at their defaults."


def record(attack: str, defense: str, seed: int, value: float, **more: Any) -> Record:
    """Return a finished run that gives no reason for a flag."""
    usual: dict[str, Any] = {
        **CARD,
        "path": f"toy/{attack}/{defense}/seed{seed}",
        "status": "finished",
        "attack": attack,
        "defense": defense,
        "attack_label": attack,
        "defense_label": defense,
        "seed": seed,
        "metric": "HR@10",
        "value": value,
        "tail": (value,) * 10,
        "scores": {"HR@10": value},
        "detection": {"FPR": 0.0, "FPR_pooled": 0.0, "DACC": 0.9},
        "knowledge": "own data" if attack == "none" else "coalition",
        "seconds_per_round": 1.0 if defense == "none" else 2.0,
    }
    return Record(**usual | more)


def cell(attack: str, defense: str, values: Iterable[float], **more: Any) -> list[Record]:
    """Return one finished run for each value, under seeds 0, 1, …"""
    return [record(attack, defense, seed, value, **more) for seed, value in enumerate(values)]


def around(middle: float, spread: float = 0.002) -> list[float]:
    """Return five values with mean `middle`."""
    return [middle + spread * step for step in (-2, -1, 0, 1, 2)]


def toy(changes: Mapping[tuple[str, str], Sequence[float]] | None = None) -> list[Record]:
    """Return a board without a fault: two defenses and FedAvg, four attacks, five seeds; krum's worst case is best."""
    means = {
        "none": {"none": 0.60, "median": 0.58, "krum": 0.55},
        "fang": {"none": 0.30, "median": 0.45, "krum": 0.50},
        "lie": {"none": 0.40, "median": 0.40, "krum": 0.52},
        "gaussian": {"none": 0.59, "median": 0.57, "krum": 0.54},
        "adaptive(fang)": {"none": 0.25, "median": 0.42, "krum": 0.48},
    }
    found = []
    for attack, row in means.items():
        for defense, middle in row.items():
            found += cell(attack, defense, (changes or {}).get((attack, defense), around(middle)))
    return found


def controls(means: Mapping[str, float] | None = None) -> list[Record]:
    """Return runs of noise in the place of each of the toy's attacks, which does little unless `means` says more."""
    usual = {"fang": 0.588, "lie": 0.588, "adaptive(fang)": 0.588}
    found = []
    for attack, middle in {**usual, **(means or {})}.items():
        found += cell(f"noise({attack})", "none", around(middle))
    return found
