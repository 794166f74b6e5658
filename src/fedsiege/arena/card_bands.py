"""How reference bands of cards are made: ``python -m fedsiege.arena.card_bands SOURCE ...`` writes the package's.

A source is a folder of runs, or the JSON of a published leaderboard (``docs/boards/<card>.json``).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import yaml

from fedsiege.arena.clean_bands import FILE, stored
from fedsiege.arena.environment import each_commit
from fedsiege.errors import RunError

if TYPE_CHECKING:
    from fedsiege.arena.card import Card
    from fedsiege.arena.record import Record

WIDTH = 3.0
FEWEST = 3
RULE = (
    f"A single clean run should lie within mean ± {WIDTH:g} · sd · √(1 + 1/seeds), where mean and sd (of seeds − 1 "
    f"degrees of freedom) are over the seeds of the runs named; there is no band from fewer than {FEWEST} seeds."
)
"""How a band follows from runs."""

HEAD = """\
# Generated from clean runs by the last command below, which also replaces it; do not edit. The first makes the runs of
# a card; those of a published leaderboard need none.
# fedsiege arena --card <card> --attacks none --defenses none --out FOLDER
# python -m fedsiege.arena.card_bands FOLDER docs/boards/<card>.json
"""


def band(values: Iterable[float]) -> tuple[float, float] | None:
    """Return between which values one more run should lie, after `RULE`; None from too few values.

    Parameters
    ----------
    values : iterable of float
        The metric of one run per seed, finite.
    """
    found = list(values)
    if len(found) < FEWEST:
        return None
    mean, half = fmean(found), WIDTH * stdev(found) * math.sqrt(1 + 1 / len(found))
    return mean - half, mean + half


def derive(records: Iterable[Record], cards: Iterable[Card]) -> dict[str, dict[str, Any]]:
    """Return the bands of `cards` by id, in the form that the file holds.

    Parameters
    ----------
    records : iterable of Record
        Stored runs; those of the closed division without attack and defense count, one for each seed.
    cards : iterable of Card
        Whose runs to look for.

    Raises
    ------
    RunError
        If a clean run did not end with a finite score.
    """
    chosen = [r for r in records if r.status == "finished" and (r.attack, r.defense) == ("none", "none")]
    out: dict[str, dict[str, Any]] = {}
    for card in cards:
        degrees: dict[str, Any] = {}
        for degree in card.degrees:
            mine = [r for r in chosen if (r.card_hash, r.degree, r.division) == (card.hash, degree, "closed")]
            runs = {r.seed: r for r in sorted(mine, key=lambda r: (r.seed, r.path))}
            for run in runs.values():
                if not math.isfinite(run.value):
                    raise RunError(f"{run.path} ended with {run.metric} = {run.value}, so no band can be made of it")
            limits = band(r.value for r in runs.values())
            if limits is not None:
                low, high = (float(f"{v:.6g}") for v in limits)
                degrees[degree] = {
                    "low": low, "high": high, "metric": next(iter(runs.values())).metric,
                    "values": {seed: float(f"{r.value:.6g}") for seed, r in runs.items()},
                    "runs": [r.config_hash for r in runs.values()],
                    "commits": each_commit(r.commit for r in runs.values()),
                }  # fmt: skip
        if degrees:
            out[card.id] = {"hash": card.hash, "degrees": degrees}
    return out


def records(source: Path) -> list[Record]:
    """Return the finished runs of a source: a folder of runs, or the JSON of a published leaderboard.

    Raises
    ------
    RunError
        If it is neither.
    """
    if source.suffix != ".json":
        from fedsiege.arena.store import Store

        with Store(source) as store:
            return store.records()
    from fedsiege.arena.board_publish import read

    if not source.is_file():
        raise RunError(f"{source} does not exist; give a folder of runs, or the JSON of a published leaderboard")
    return read(source)[0]


def write(*sources: Path, folder: Path | None = None) -> Path:
    """Derive the bands of all cards that come with FedSiege from the runs of `sources`, and write them.

    Bands of cards that have no runs there stay as they are, if their game does. Returns the path of the file.
    """
    from fedsiege.arena.card_file import load, names

    cards = [load(name) for name in names()]
    made = derive([record for source in sources for record in records(source)], cards)
    kept = {c.id: stored()[c.id] for c in cards if c.id in stored() and stored()[c.id]["hash"] == c.hash}
    target = (folder or Path(str(files("fedsiege.arena") / "cards"))) / FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    data = {"rule": RULE, "cards": dict(sorted({**kept, **made}.items()))}
    target.write_text(HEAD + yaml.safe_dump(data, sort_keys=False, width=1000, allow_unicode=True), encoding="utf-8")
    return target


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m fedsiege.arena.card_bands FOLDER_OF_RUNS|BOARD.json ...")
    print(write(*map(Path, sys.argv[1:])))
