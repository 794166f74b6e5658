"""Bands from published tables: ``python -m fedsiege.arena.derive_bands docs/results`` writes those of the package."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import Any, cast

import yaml

from fedsiege.arena.bands import WIDTH, Figures, value
from fedsiege.arena.measures import MEASURES
from fedsiege.arena.targets import LITE, TARGETS, Target
from fedsiege.errors import RunError

LEAST = 0.01

RULE = (
    f"The mean over m more runs should lie within mean ± {WIDTH:g} · sd · √(1/m + 1/seeds), or mean ± least if that is "
    f"wider. sd is the larger of the cell's own (of two seeds or more) and that pooled over all such cells of the same "
    f"model, data set and rounds: of ranking metrics relative to the mean, of other measures as it is. least is "
    f"{LEAST:g} of the mean, of measures in percent {LEAST:g}. Without either sd there is no band."
)
"""How a band follows from runs."""

FOLDER = Path(__file__).parent / "targets" / "bands"

HEAD = """\
# Generated from the published tables by the command below, which also replaces it; do not edit.
# python -m fedsiege.arena.derive_bands docs/results
"""


@dataclass(frozen=True)
class Place:
    """One measure of one cell: paper, folder and key, rounds, name, and whether its spread is relative to its mean."""

    paper: str
    cell: str
    rounds: int
    measure: str
    relative: bool

    @property
    def family(self) -> tuple[str, str, int, str]:
        """What cells share whose spread is pooled: paper, folder with model and data set, rounds and measure."""
        return self.paper, "/".join(self.cell.split("/")[:3]), self.rounds, self.measure


def read(folder: Path) -> list[tuple[Target, list[dict[str, Any]]]]:
    """Return the targets that are published in `folder` with their runs.

    Raises
    ------
    RunError
        If a table there cannot be read.
    """
    known = {**TARGETS, **{t.id: t for t in LITE.values()}}
    found = []
    for id_, wanted in sorted(known.items()):
        path = folder / f"{id_}.json"
        if path.is_file():
            found.append((wanted, runs_of(path)))
    return found


def runs_of(path: Path) -> list[dict[str, Any]]:
    """Return the runs of a published table; RunError if it cannot be read."""
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        return [{**run, "key": run["cell"].rpartition("/")[0]} for run in runs]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} is not a published table: {error}; remove it or restore it") from error


def figures(run: Mapping[str, Any]) -> Figures:
    """Return a run, as a published table or a run's result holds it, with attributes."""
    return cast(Figures, SimpleNamespace(**{"optimisation": None, **run}))


def derive(folder: Path, only: Container[str] | None = None) -> dict[str, dict[str, Any]]:
    """Return what the files of bands hold, by paper.

    Parameters
    ----------
    folder : Path
        Where tables are published.
    only : container of str, optional
        Configuration hashes of the runs to use; default: all.
    """
    seeds: dict[Place, dict[int, float]] = {}
    hashes: dict[str, set[str]] = {}
    for target, runs in read(folder):
        for run in runs:
            if only is not None and run["config_hash"] not in only:
                continue
            for name in target.metrics:
                found = value(target, name, figures(run))
                if found is None or not math.isfinite(found):
                    continue
                relative = target.layout == "losses"
                place = Place(target.paper, f"{target.folder}/{run['key']}", run["rounds"], name, relative)
                seeds.setdefault(place, {})[run["seed"]] = found
                hashes.setdefault(target.paper, set()).add(run["config_hash"])
    pooled = _pooled(seeds)
    out: dict[str, dict[str, Any]] = {
        paper: {"rule": RULE, "runs": sorted(used), "bands": {}} for paper, used in sorted(hashes.items())
    }
    for place, by_seed in sorted(seeds.items(), key=lambda item: (item[0].cell, item[0].rounds)):
        made = _band(place, list(by_seed.values()), pooled.get(place.family))
        if made is not None:
            cell = out[place.paper]["bands"].setdefault(place.cell, {})
            cell.setdefault(place.rounds, {})[place.measure] = made
    return out


def _pooled(seeds: Mapping[Place, Mapping[int, float]]) -> dict[tuple[str, str, int, str], float]:
    """Standard deviation of a family's cells with two seeds or more, each weighed by its degrees of freedom."""
    sums: dict[tuple[str, str, int, str], list[float]] = {}
    for place, by_seed in seeds.items():
        values = list(by_seed.values())
        scale = abs(fmean(values)) if place.relative else 1.0
        if len(values) < 2 or not scale:
            continue
        total = sums.setdefault(place.family, [0.0, 0.0])
        total[0] += (len(values) - 1) * (stdev(values) / scale) ** 2
        total[1] += len(values) - 1
    return {family: math.sqrt(squares / freedom) for family, (squares, freedom) in sums.items()}


def _band(place: Place, values: Sequence[float], pooled: float | None) -> dict[str, float | int] | None:
    n, mean = len(values), fmean(values)
    known = [stdev(values)] if n > 1 else []
    if pooled is not None:
        known.append(pooled * abs(mean) if place.relative else pooled)
    if not known:
        return None
    share = not place.relative and MEASURES[place.measure].percent
    numbers = {"mean": mean, "sd": max(known), "least": LEAST if share else LEAST * abs(mean)}
    return {**{name: float(f"{number:.6g}") for name, number in numbers.items()}, "seeds": n}


def text(data: Mapping[str, Any]) -> str:
    """Return a file of bands as YAML, one line a measure."""
    return HEAD + yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=1000, default_flow_style=None)


def write(published: Path, folder: Path = FOLDER) -> list[Path]:
    """Derive the bands of all papers from the tables in `published`, write them into `folder`, return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for paper, data in derive(published).items():
        paths.append(folder / f"{paper}.yaml")
        paths[-1].write_text(text(data), encoding="utf-8")
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m fedsiege.arena.derive_bands FOLDER_OF_PUBLISHED_TABLES")
    for path in write(Path(sys.argv[1])):
        print(path)
