"""How long 10,000 stored runs take: the index made from their folders, brought up to date, and asked for a leaderboard.

`python benchmarks/store.py [runs]`; the folders are made in a temporary place and removed.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from fedsiege.arena.config import parse
from fedsiege.arena.store import Store

ATTACKS = ("none", "labelflip", "fedattack", "gaussian", "lie", "fang", "minmax", "minsum", "clusterattack", "mpaf")
DEFENSES = ("none", "median", "trimmedmean", "krum", "multikrum", "normbound", "union", "flame", "contra", "afa")
CARDS = tuple(f"card-{number}-v1" for number in range(10))
EVALUATIONS, BETWEEN, COHORT = 12, 5, 50


def rounds(value: float) -> str:
    """The text of rounds.jsonl: an evaluation every few rounds."""
    lines = []
    for number in range(1, EVALUATIONS * BETWEEN + 1):
        scores = {"HR@5": value * number / (EVALUATIONS * BETWEEN), "NDCG@5": value / 2}
        last = number % BETWEEN == 0
        lines.append({
            "round": number, "loss": 0.6, "applied": True, "cohort": list(range(COHORT)), "malicious": [1, 2],
            "rejected": [[1, "too far"]], "altered": [], "score": [0.5] * COHORT, "weight": [1 / COHORT] * COHORT,
            "norm": [1.0] * COHORT, "info": {}, "metrics": {"valid": scores, "test": scores} if last else {},
        })  # fmt: skip
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def write(root: Path, runs: int) -> None:
    """Write so many finished runs."""
    environment = {
        "commit": "0" * 40, "versions": dict.fromkeys(("python", "fedsiege", "torch", "numpy", "numba"), "1.0"),
        "hardware": {"cpu": "none", "cores": 2, "threads": 1, "device": "cpu"},
        "command": "fedsiege run config.yaml --out somewhere", "data": {"sha256": "0" * 64},
    }  # fmt: skip
    texts: dict[tuple[str, str], str] = {}
    curve = rounds(0.05)
    base = parse({"dataset": "ml-1m", "federation": {"rounds": EVALUATIONS * BETWEEN, "malicious": 0.01}})
    for number in range(runs):
        attack, defense = ATTACKS[number % 10], DEFENSES[number // 10 % 10]
        card, seed = CARDS[number // 100 % 10], number // 1000
        if (attack, defense) not in texts:
            named = {**base.to_dict(), "attack": {"name": attack}, "defense": {"name": defense}}
            texts[attack, defense] = yaml.safe_dump(replace(parse(named), seed=0).to_dict(), sort_keys=False)
        played: dict[str, Any] = {"id": card, "hash": "0" * 12, "degree": "", "division": "closed", "changes": []}
        folder = root / card / attack / defense / f"seed{seed}"
        folder.mkdir(parents=True)
        scores = {"HR@5": 0.05 + number * 1e-6, "NDCG@5": 0.02}
        last = {"round": EVALUATIONS * BETWEEN, "metrics": {"valid": scores, "test": scores}}
        result = {
            "config_hash": f"{number:012x}", "seed": seed, "rounds": EVALUATIONS * BETWEEN, "metric": "HR@5",
            "threat_model": {"knowledge": "own data", "told_byzantine": None}, "last": last, "best": last,
            "rejects": True, "finite": True, "detection": {"DACC": 0.9, "FPR": 0.01, "FNR": 0.2, "AAR": 0.3},
            "card": played,
        }  # fmt: skip
        (folder / "config.yaml").write_text(texts[attack, defense].replace("seed: 0", f"seed: {seed}", 1))
        (folder / "result.json").write_text(json.dumps(result, indent=2))
        (folder / "environment.json").write_text(json.dumps(environment, indent=2))
        (folder / "cost.json").write_text(json.dumps({"wall_seconds": 60.0, "peak_bytes": 1e9}))
        (folder / "timing.jsonl").write_text(json.dumps({"round": 60, "rounds": 60, "seconds": 6.0}) + "\n")
        (folder / "rounds.jsonl").write_text(curve)


def timed(what: str, call: Any) -> Any:
    """Print how long a call takes; returns what it returns."""
    wall, processor = time.perf_counter(), time.process_time()
    found = call()
    spent, own = time.perf_counter() - wall, time.process_time() - processor
    print(f"{what:<58} {spent:7.2f} s (processor {own:.2f} s)", flush=True)
    return found


def main(runs: int = 10_000) -> None:
    root = Path(tempfile.mkdtemp(prefix="fedsiege-store-"))
    try:
        timed(f"writing {runs} run folders", lambda: write(root, runs))
        with Store(root) as store:
            report = timed("rebuilding the index", store.rebuild)
            assert report.finished == runs
            assert not report.damaged
        with Store(root) as store:
            timed("opening it and looking for changes", store.refresh)
            found = timed("the records of one card's leaderboard", lambda: store.records(CARDS[0]))
            print(f"  {len(found)} records")
            timed("the records of all leaderboards", store.records)
            timed("the same as a table", store.frame)
        with Store(root) as store:
            timed("all in one: open, look for changes, one leaderboard", lambda: store.records(CARDS[0]))
        print(f"index: {(root / 'index.sqlite').stat().st_size / 2**20:.1f} MiB")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
