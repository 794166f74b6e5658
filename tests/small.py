"""A federation small enough for a test: a generated data set, few rounds, everything switched on."""

from __future__ import annotations

from typing import Any

from fedsiege.arena.config import RunConfig, parse


def small(**sections: Any) -> RunConfig:
    """Return a configuration of a tiny run; keyword arguments replace or extend its sections."""
    values: dict[str, Any] = {
        "dataset": {"name": "synthetic", "users": 60, "items": 80, "interactions": 1200},
        "model": {"name": "mf", "dim": 8},
        "attack": {"name": "clusterattack", "threshold": 2},
        "defense": {"name": "union-memory+multikrum", "union-memory": {"drift": 0.5, "evidence": 0.5}},
        "federation": {
            "rounds": 30,
            "cohort": 12,
            "malicious": 0.2,
            "reserved": 0.2,
            "evaluate_every": 10,
            "project_every": 10,
        },
        "server": {"lr": 0.01},
    }
    for name, value in sections.items():
        same = isinstance(value, dict) and isinstance(values.get(name), dict) and name in ("federation", "server")
        values[name] = {**values[name], **value} if same else value
    return parse(values)
