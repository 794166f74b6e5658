"""How long the page of a store of 500 runs takes, and how large it is.

The store is synthetic, in the shape of five seeds of 10 attacks against 10 defenses of one threat-model card: every
round has its own cohort, verdicts, scores and weights of that cohort, as real runs have. Each attack and defense has
a file of rounds of its own, shared by the seeds (hard links), since 500 separate ones would need gigabytes.

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

from fedsiege.report.bundle import javascript
from fedsiege.report.collect import collect
from fedsiege.report.page import write_page

ATTACKS = (
    "none", "labelflip", "fedattack", "gaussian", "lie", "fang", "clusterattack", "mpaf", "adaptive(lie)", "minmax",
)  # fmt: skip
DEFENSES = (
    "none", "median", "trimmedmean", "krum", "multikrum", "normbound", "fl-wbc", "union", "union+multikrum", "flame",
)  # fmt: skip
CARD = {"id": "benchmark-v1", "hash": "0123456789ab", "degree": "", "division": "closed", "changes": []}


def store(root: Path, runs: int, rounds: int) -> float:
    """Write the runs and return the gigabytes of their rounds."""
    shared: dict[tuple[str, str], Path] = {}
    size = 0
    for number in range(runs):
        attack, defense = ATTACKS[number % 10], DEFENSES[number // 10 % 10]
        folder = root / attack / defense / f"seed{number // 100}"
        write_run(
            folder, attack, defense, number // 100, rounds=rounds, every=200, lines=[], card=CARD, seconds=0.2,
            command=f"fedsiege run {folder.relative_to(root)}/config.yaml --threads 1",
        )  # fmt: skip
        (folder / "rounds.jsonl").unlink()
        # Two defenses in three share their rounds with another: writing is the slow part of this benchmark.
        key = attack, DEFENSES[DEFENSES.index(defense) % 4]
        if key not in shared:
            lines = (json.dumps(r, separators=(",", ":")) for r in records(*key, 0.05, rounds, 200, number))
            (folder / "rounds.jsonl").write_text("".join(line + "\n" for line in lines))
            shared[key] = folder / "rounds.jsonl"
        else:
            (folder / "rounds.jsonl").hardlink_to(shared[key])
        size += shared[key].stat().st_size
    return size / 2**30


def main(runs: int = 500, rounds: int = 2000, cohort: int = 50) -> None:
    fakes.COHORT = cohort
    root = Path(tempfile.mkdtemp(prefix="fedsiege-report-"))
    try:
        size = store(root, runs, rounds)
        javascript()  # kept in the user's cache folder after the first report on a machine
        for name in ("first", "again"):
            start, spent = time.perf_counter(), time.process_time()
            board = collect(root)
            middle = time.perf_counter()
            page = write_page(board, root / "report.html")
            end = time.perf_counter()
            print(
                f"{name}: {runs} runs of {rounds} rounds with {cohort} clients ({size:.2f} GiB of records): "
                f"{end - start:.1f} s (reading {middle - start:.1f} s, page {end - middle:.1f} s; "
                f"{time.process_time() - spent:.1f} s of processor), {page.stat().st_size / 2**20:.1f} MiB",
                flush=True,
            )
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
