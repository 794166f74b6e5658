"""How long a board and a page of 500 runs of 6,000 rounds take.

`python benchmarks/report.py [runs] [rounds] [cohort]`
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.report import fakes
from tests.report.fakes import records, write_run

from fedsiege.report.collect import collect
from fedsiege.report.page import write_page

ATTACKS = ("none", "labelflip", "fedattack", "gaussian", "lie", "fang", "clusterattack", "clusterattack+cl", "x", "y")
DEFENSES = (
    "none",
    "median",
    "trimmedmean",
    "krum",
    "multikrum",
    "normbound",
    "fl-wbc",
    "union",
    "union+multikrum",
    "z",
)


def main(runs: int = 500, rounds: int = 6000, cohort: int = 50) -> None:
    fakes.COHORT = cohort
    root = Path(tempfile.mkdtemp(prefix="fedsiege-report-"))
    try:
        lines = {
            name: [json.dumps(r, separators=(",", ":")) for r in records("fang", name, 0.05, rounds, 200, 0)]
            for name in ("none", "krum")
        }
        shared: dict[str, Path] = {}
        for number in range(runs):
            attack, defense = ATTACKS[number % 10], DEFENSES[number // 10 % 10]
            kind = "none" if defense in ("none", "median") else "krum"
            folder = write_run(root / str(number), attack, defense, number // 100, rounds=rounds, every=200, lines=[])
            (folder / "rounds.jsonl").unlink()
            if kind not in shared:
                (folder / "rounds.jsonl").write_text("".join(line + "\n" for line in lines[kind]))
                shared[kind] = folder / "rounds.jsonl"
            else:  # one file on disk under many names: 500 runs would need gigabytes
                (folder / "rounds.jsonl").hardlink_to(shared[kind])
        size = sum(p.stat().st_size for p in root.glob("*/rounds.jsonl")) / 2**30
        start = time.perf_counter()
        board = collect(root)
        middle = time.perf_counter()
        page = write_page(board, root / "report.html")
        end = time.perf_counter()
        print(f"{runs} runs of {rounds} rounds with {cohort} clients, {size:.2f} GiB of records (in the page cache)")
        print(f"board {middle - start:.1f} s, page {end - middle:.1f} s, {page.stat().st_size / 2**20:.1f} MiB")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
