"""A small store whose runs belong to a threat-model card, with every oddity that a leaderboard has to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.report.fakes import write_run

CARD = {"id": "game-v1", "hash": "ab12cd34ef56", "degree": "", "division": "closed", "changes": []}
HARM = {"none": 0.0, "fang": 0.5, "lie": 0.2, "adaptive(lie)": 0.6}
HOLD = {"none": 0.0, "median": 0.5, "krum": 0.2, "union+multikrum": 0.9}
PRICE = {"none": 0.0, "median": 0.1, "krum": 0.4, "union+multikrum": 0.04}
SECONDS = {"none": 0.1, "median": 0.15, "krum": 0.2, "union+multikrum": 0.5}
SEEDS = 5


def value(attack: str, defense: str, seed: int) -> float:
    """The HR@5 of a fake run."""
    return (0.05 + 0.002 * seed) * (1 - PRICE[defense]) * (1 - HARM[attack] * (1 - HOLD[defense]))


def write_cell(root: Path, attack: str, defense: str, seed: int, **card: Any) -> Path:
    """Write one run of the card."""
    return write_run(
        root / str(card.get("degree", "")) / attack.replace("(", "-").replace(")", "") / defense / f"seed{seed}",
        attack, defense, seed, card={**CARD, **card}, value=value(attack, defense, seed), seconds=SECONDS[defense],
        false_positives=0.3 if defense == "krum" else 0.0,
        command=f"fedsiege run {attack}-{defense}-{seed}/config.yaml",
    )  # fmt: skip


def write_card(root: Path, **card: Any) -> Path:
    """Write a grid; the median never faces the adaptive attack."""
    for attack in HARM:
        for defense in HOLD:
            if not (attack == "adaptive(lie)" and defense == "median"):
                for seed in range(SEEDS):
                    write_cell(root, attack, defense, seed, **card)
    return root
