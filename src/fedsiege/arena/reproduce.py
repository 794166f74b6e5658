"""A published table or figure, from its cells to ours beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from fedsiege.arena.config import parse
from fedsiege.arena.evidence import Run, finished
from fedsiege.arena.grid import Cell
from fedsiege.arena.tables import Table, losses, measured
from fedsiege.arena.targets import LITE, TARGETS, Point, Target
from fedsiege.errors import ConfigError, nearest

__all__ = ["Table", "lite", "plan", "points", "tabulate", "target"]


def target(id_: str) -> Target:
    """Return the target called `id_`; ConfigError with the nearest known one if there is none."""
    known = {**TARGETS, **{t.id: t for t in LITE.values()}}
    if id_ not in known:
        raise ConfigError(f"unknown target {id_!r}: {nearest(id_, TARGETS)}")
    return known[id_]


def lite(id_: str) -> Target:
    """Return the lite form of the target called `id_`; ConfigError if it has none."""
    full = target(id_)
    if full.full:
        return full
    if id_ not in LITE:
        raise ConfigError(f"{id_} has no lite form; these have one: {', '.join(LITE)}")
    return LITE[id_]


def points(id_: str, cells: Sequence[str] | None = None) -> list[Point]:
    """Return the points of a target, narrowed to keys that match one of the globs `cells`.

    ConfigError if one of the globs matches none: what it was to name would be missing from the table without a word.
    """
    wanted = list(target(id_).points())
    if not cells:
        return wanted
    matched = {g: {p.key for p in wanted if fnmatch(p.key, g) or fnmatch(p.key, g + "/*")} for g in cells}
    idle = [g for g, keys in matched.items() if not keys]
    if idle:
        raise ConfigError(
            f"no cell of {id_} matches {', '.join(idle)}; cells are called "
            f"model/dataset/attack/defense/m<share>, such as {wanted[0].key}"
        )
    kept = set().union(*matched.values())
    return [p for p in wanted if p.key in kept]


def plan(
    id_: str,
    seeds: Sequence[int] | None = None,
    rounds: int | None = None,
    cells: Sequence[str] | None = None,
    root: Path = Path("runs"),
) -> list[Cell]:
    """Return the runs that a target needs.

    Parameters
    ----------
    id_ : str
        A key of `TARGETS`, or the identifier of a lite form.
    seeds : sequence of int, optional
        Default: as many as the target says, from 0.
    rounds : int, optional
        Default: those of the target, in most tables as many as in the paper.
    cells : sequence of str, optional
        Globs over cell keys, such as ``mf/ml-1m/*``.
    root : Path
        Where run folders lie; the same cell of two targets is one folder, so it is run once.
    """
    wanted = target(id_)
    chosen = list(seeds) if seeds is not None else list(range(wanted.seeds))
    out = []
    for point in points(id_, cells):
        for seed in chosen:
            config = parse(point.config(seed, rounds or wanted.rounds))
            label = f"{point.key}/seed{seed}"
            out.append(Cell(config, root / wanted.folder / point.key / f"seed{seed}-{config.hash}", label))
    return out


def _found(id_: str, runs: Sequence[Run]) -> list[tuple[Point, dict[int, Run]]]:
    """Return the points that have `runs`, with those by seed in ascending order."""
    by_key: dict[str, dict[int, Run]] = {}
    for run in runs:
        by_key.setdefault(run.key, {})[run.seed] = run
    return [(p, by_key[p.key]) for p in points(id_) if p.key in by_key]


def tabulate(id_: str, cells: Sequence[Cell], runs: Sequence[Run] | None = None) -> Table:
    """Return the table of a target for `cells`, from `runs` (default: those of the cells that are finished here)."""
    wanted = target(id_)
    runs = finished(cells) if runs is None else runs
    found = _found(id_, runs)
    lines = (losses if wanted.layout == "losses" else measured)(wanted, found)
    if wanted.layout == "losses":
        shown = (
            f"Test metrics of the last round; `best` is the round with the highest HR@5 on validation. `loss` is the "
            f"share of {wanted.metrics[0]} lost against no attack and no defense, paired by seed. "
        )
    else:
        shown = "Accuracy is that of the last round. "
    notes = [f"{shown}Intervals are 95 % bootstrap intervals over seeds.", *wanted.notes]
    planned = {p.key: p.rounds(wanted.rounds) for p in points(id_)}
    rounds = {c.config.federation.rounds for c in cells}
    if any(c.config.federation.rounds != planned[c.label.rpartition("/")[0]] for c in cells):
        whose = "the lite form" if wanted.full else "the paper"
        notes.append(f"Run for {sorted(rounds)} rounds, not {whose}'s {wanted.rounds}.")
    missing = sorted({c.label.rpartition("/")[0] for c in cells} - {run.key for run in runs})
    if missing:
        notes.append(
            f"{len(missing)} cells without a finished run: {', '.join(missing[:6])}{' …' * (len(missing) > 6)}"
        )
    if any(line["told"] for line in lines):
        notes.append("Where `told` is true the defense was told the number of attackers.")
    columns = list(lines[0]) if lines else []
    measures = wanted.metrics if wanted.layout == "measures" else ()
    return Table(id_, wanted.title, columns, lines, notes, wanted.source, measures)
