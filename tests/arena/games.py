"""A card and grids so small that tests can run them, and workers that are no processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedsiege.arena.card import Card
from fedsiege.arena.card_file import parse
from fedsiege.arena.grid import Cell, Event
from fedsiege.arena.plan import Plan
from fedsiege.arena.work import Report, Task, work

TINY: dict[str, Any] = {
    "id": "tiny-v1",
    "title": "Tiny",
    "about": "Small enough for a test.",
    "dataset": {"name": "synthetic", "users": 60, "items": 80, "interactions": 1200},
    "model": {"name": "mf", "dim": 8},
    "server": {"lr": 0.01},
    "federation": {
        "rounds": 30, "cohort": 12, "malicious": 0.2, "reserved": 0.2, "evaluate_every": 10, "project_every": 10,
    },
    "seeds": [0, 1],
    "attacks": ["none", "lie"],
    "defenses": ["none", "multikrum"],
}  # fmt: skip

KEPT = ("result.json", "rounds.jsonl", "model.safetensors", "config.yaml")


def tiny(**fields: Any) -> Card:
    """Return the small card with some of its fields replaced."""
    return parse({**TINY, **fields}, "tiny")


def grid(root: Path, **fields: Any) -> list[Cell]:
    """Return the cells of the small card."""
    return Plan(tiny(**fields)).cells(root)


def contents(root: Path) -> dict[str, bytes]:
    """Return the bytes of everything that a result rests on, by path below `root`."""
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.name in KEPT}


class Here:
    """Runs each task at once in this process."""

    threads = 1

    def __init__(self, free: int = 1) -> None:
        self.room, self.news, self.closed = free, list[Event | Report](), False

    @property
    def free(self) -> int:
        return self.room - sum(isinstance(n, Report) for n in self.news)

    def submit(self, task: Task) -> None:
        self.news.append(work(task, self.news.append))

    def poll(self, seconds: float) -> list[Event | Report]:
        found, self.news = self.news, []
        return found

    def close(self, interrupt: bool = False) -> None:
        self.closed = True
