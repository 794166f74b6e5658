"""Run folders written by hand, in the shape that `fedsiege.arena` leaves, without any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

CLIENTS, COHORT, CUTOFFS = 200, 20, (5, 10)


def score(attack: str, defense: str, seed: int) -> float:
    """The HR@5 of a fake run: attacks take half, unless a defense is there."""
    base = 0.05 + 0.002 * seed
    return base if attack == "none" else base * (0.5 if defense == "none" else 0.9)


def metrics(value: float) -> dict[str, float]:
    return {f"{kind}@{k}": value * factor * k / 5 for k in CUTOFFS for kind, factor in (("HR", 1.0), ("NDCG", 0.6))}


def records(
    attack: str, defense: str, value: float, rounds: int, every: int, seed: int, scores: dict[str, float] | None = None
) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(1, rounds + 1):
        cohort = np.sort(rng.choice(CLIENTS, COHORT, replace=False))
        bad = cohort[:2]
        rejecting = defense not in ("none", "median")
        numbers = rng.normal(number, 0.1, COHORT)
        numbers[:2] -= 2
        record: dict[str, Any] = {
            "round": number,
            "loss": 0.6,
            "applied": True,
            "cohort": cohort.tolist(),
            "malicious": bad.tolist(),
            "rejected": [[int(bad[0]), "too far"]] if rejecting else [],
            "altered": [],
            "score": numbers.round(4).tolist() if rejecting else None,
            "weight": [1 / COHORT] * COHORT,
            "norm": [1.0] * COHORT,
            "info": {},
            "metrics": {},
        }
        if number % every == 0:
            now = {k: v * number / rounds for k, v in (scores or metrics(value)).items()}
            record["metrics"] = {"valid": now, "test": now}
            record["projection"] = rng.normal(size=(COHORT, 2)).round(4).tolist()
        made.append(record)
    return made


def write_run(
    folder: Path,
    attack: str = "none",
    defense: str = "none",
    seed: int = 0,
    *,
    malicious: float = 0.05,
    rounds: int = 12,
    every: int = 4,
    dataset: str = "synthetic",
    model: str = "mf",
    value: float | None = None,
    attack_params: dict[str, Any] | None = None,
    told: int | None = None,
    command: str = "fedsiege run config.yaml",
    lines: list[str] | None = None,
    card: dict[str, Any] | None = None,
    seconds: float = 0.1,
    false_positives: float = 0.0,
    expelled: float | None = None,
    scores: dict[str, float] | None = None,
) -> Path:
    """Write one finished run and return its folder; `scores` stand in for those of a recommender."""
    folder.mkdir(parents=True)
    value = score(attack, defense, seed) if value is None else value
    config = {
        "seed": seed,
        "dataset": {"name": dataset, "protocol": "fair"},
        "model": {"name": model, "dim": 8},
        "attack": {"name": attack, **(attack_params or {})},
        "defense": {"name": defense},
        "federation": {
            "rounds": rounds, "cohort": COHORT, "malicious": malicious, "reserved": 0.05,
            "tell_defense": told is not None, "evaluate_every": every, "cutoffs": list(CUTOFFS), "project_every": every,
        },
        "server": {"optimizer": "adam", "lr": 0.002},
    }  # fmt: skip
    if card is not None:
        config["card"] = card
    rejects = defense not in ("none", "median")
    attacking = attack != "none"
    test = metrics(value) if scores is None else scores
    last = {"round": rounds, "metrics": {"valid": test, "test": test}}
    result = {
        "config_hash": f"{abs(hash((attack, defense, seed, rounds))):012x}"[:12],
        "seed": seed, "attack": attack, "defense": defense, "model": model, "dataset": dataset, "protocol": "fair",
        "rounds": rounds, "rounds_applied": rounds, "malicious_clients": 10 if attacking else 0, "scored_clients": 190,
        "threat_model": {"knowledge": "coalition + model" if attacking else "own data", "told_byzantine": told},
        "last": last, "best": last, "selected_by": "valid HR@5" if scores is None else "last round",
        "rejects": rejects,
        "detection": {
            "DACC": 0.95 if rejects else 0.9, "FPR": false_positives, "FNR": 0.5 if attacking else None, "AAR": 0.75,
            "FPR_pooled": false_positives, "FNR_pooled": 0.5 if attacking else None, "FNR_final": None,
            **({} if expelled is None else {"FPR_final": expelled}),
        },
        "finite": True,
    }  # fmt: skip
    if card is not None:
        result |= {"card": card, "metric": "HR@5" if scores is None else "TACC"}
    environment = {
        "commit": "0123456789abcdef0123", "hardware": {"cpu": "test", "threads": 1}, "command": command,
    }  # fmt: skip
    if lines is None:
        made = records(attack, defense, value, rounds, every, seed, scores)
        lines = [json.dumps(r, separators=(",", ":")) for r in made]
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "rounds.jsonl").write_text("".join(line + "\n" for line in lines))
    (folder / "timing.jsonl").write_text(
        json.dumps({"round": rounds, "rounds": rounds, "seconds": seconds * rounds}) + "\n"
    )
    return folder


def write_store(root: Path, attacks: tuple[str, ...], defenses: tuple[str, ...], seeds: int, **more: Any) -> Path:
    """Write a grid of runs and return its root."""
    for attack in attacks:
        for defense in defenses:
            for seed in range(seeds):
                write_run(root / f"{defense}-{attack}-{seed}", attack, defense, seed, **more)
    return root
