"""From runs to cells: means over seeds with intervals, losses against the clean run, detection, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from fedsiege.arena.flags import NONE
from fedsiege.report.collect import DETECTION, EXPELLED, MOMENTS, Board
from fedsiege.report.contest import Contest, Yardstick, contest
from fedsiege.report.rounds import VERDICTS

LOSS, VALUE, BEST = "loss", "value", "best"
"""What the harm of a cell is: the share lost against the clean run, the score itself, the share of the best cell."""
SLOW, PACE = "ms per round", "time of a round, × no defense"
"""How the time of a round is told: in milliseconds, or as a multiple of that of the run without a defense."""
Keyed = list[tuple[tuple[str, str, str], pl.DataFrame]]
"""Runs by group, attack and defense, in the order of a report."""
Parts = Mapping[tuple[str, str], pl.DataFrame]
"""Runs by group and defense."""
_CHUNK = 256


def intervals(samples: Sequence[np.ndarray]) -> list[tuple[float, float, float, int]]:
    """Return ``(mean, low, high, n)`` of each sample: `fedsiege.arena.stats.estimate` for many at once.

    The same bootstrap (percentile, 2000 resamples, fixed seed), vectorised over samples of equal size, because
    a board of 500 runs needs thousands of intervals.
    """
    from scipy.stats import bootstrap

    nan = float("nan")
    finite = [np.asarray(s, np.float64) for s in samples]
    finite = [s[np.isfinite(s)] for s in finite]
    found = [(float(s.mean()), nan, nan, 1) if s.size == 1 else (nan, nan, nan, s.size) for s in finite]
    for size in {s.size for s in finite if s.size > 1}:
        places = [i for i, s in enumerate(finite) if s.size == size]
        for start in range(0, len(places), _CHUNK):
            chunk = places[start : start + _CHUNK]
            values = np.stack([finite[i] for i in chunk])
            drawn = bootstrap(
                (values,), np.mean, axis=1, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
            ).confidence_interval
            for i, low, high in zip(chunk, drawn.low, drawn.high):
                found[i] = (float(finite[i].mean()), float(low), float(high), size)
    return found


def orders(board: Board) -> tuple[list[str], list[str]]:
    """Return the attacks and the defenses of a board in one order for all charts.

    ``none`` first; attacks by growing harm where there is no defense, the mean over groups, each judged by its own
    metric; defenses single before composed. Controls are no attacks.
    """
    seen = contest(board)
    runs = seen.grouped
    harm: dict[str, list[float]] = {}
    for (group,), part in runs.filter(pl.col("defense_name") == NONE).partition_by("group", as_dict=True).items():
        stick = seen.sticks[str(group)]
        if not stick.metric:
            continue
        means = part.group_by("attack").agg(pl.col(f"last {stick.metric}").mean()).drop_nulls().rows()
        values: dict[str, float] = dict(means)
        reference = values.get(NONE, max(values.values(), default=0.0))
        for attack, value in values.items():
            harm.setdefault(attack, []).append(stick.harm(value, reference))
    open_ = {attack: float(np.mean(found)) for attack, found in harm.items()}
    attacks = sorted(runs["attack"].unique(), key=lambda a: (a != NONE, open_.get(a, np.inf), a))
    defenses = sorted(runs["defense"].unique(), key=lambda d: (d != NONE, d.count("+"), d))
    return attacks, defenses


def keyed(board: Board, order: tuple[list[str], list[str]]) -> Keyed:
    """Return the runs of each cell by growing seed, in the `order` of `orders`; what is not in it stands last."""
    runs = board.grouped.sort("seed", maintain_order=True)
    parts = runs.partition_by("group", "attack", "defense", as_dict=True, maintain_order=True)
    places = [{name: place for place, name in enumerate(names)} for names in (board.groups, *order)]

    def rank(part: tuple[tuple[str, str, str], pl.DataFrame]) -> list[tuple[int, str]]:
        return [(known.get(name, len(known)), name) for known, name in zip(places, part[0])]

    return sorted((((str(g), str(a), str(d)), part) for (g, a, d), part in parts.items()), key=rank)


def _by_seed(part: pl.DataFrame, column: str) -> dict[int, float]:
    return {seed: value for seed, value in part.select("seed", column).rows() if value is not None}


def _losses(clean: Mapping[int, float], values: Mapping[int, float]) -> np.ndarray:
    """Return the share of the clean value that is lost, for each seed that both have."""
    seeds = sorted(set(clean) & set(values))
    return np.array([(clean[s] - values[s]) / clean[s] if clean[s] else np.nan for s in seeds])


def describe_seeds(seeds: Sequence[int]) -> str:
    """Return seeds in words: ``0–4`` for an unbroken range, else a list."""
    seeds = sorted(seeds)
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]}–{seeds[-1]}"
    return ", ".join(map(str, seeds))


_ESTIMATE = ("mean", "low", "high", "n")
_CELLS: dict[str, Any] = {
    "group": pl.String, "attack": pl.String, "defense": pl.String, "metric": pl.String, "moment": pl.String,
    "mean": pl.Float64, "low": pl.Float64, "high": pl.Float64, "n": pl.Int64,
    "loss": pl.Float64, "loss_low": pl.Float64, "loss_high": pl.Float64, "loss_n": pl.Int64,
    "harm": pl.Float64, "basis": pl.String, "seeds": pl.String, "command": pl.String,
}  # fmt: skip


def cells(board: Board) -> pl.DataFrame:
    """Return every cell of a board, one row per group, attack, defense, metric and moment; controls have none.

    Columns ``mean, low, high, n`` hold the test score over seeds with its 95 % interval (NaN where there is one
    seed); ``loss, loss_low, loss_high, loss_n`` the share that is lost against the run of the same seed without
    attack and defense (NaN without such a run, and where a low score is good); ``harm`` how bad that is for the
    defender, which `basis` explains (`LOSS`, `VALUE`, `BEST`; the same for a group, metric and moment); ``seeds`` and
    ``command`` how to repeat the cell. Only scores that a group has are there; those that it is judged by come
    first, and so menus offer them first.
    """
    seen = contest(board)
    parts = keyed(seen, orders(seen))
    clean = {g: part for (g, a, d), part in parts if a == NONE and d == NONE}
    rows: list[dict[str, Any]] = []
    values: list[np.ndarray] = []
    losses: list[np.ndarray] = []
    for (group, attack, defense), part in parts:
        about = {
            "group": group, "attack": attack, "defense": defense,
            "seeds": describe_seeds(part["seed"].to_list()), "command": part["command"][0],
        }  # fmt: skip
        stick = seen.sticks[group]
        for moment in MOMENTS:
            for metric in stick.metrics:
                column = f"{moment} {metric}"
                mine, high = _by_seed(part, column), stick.wants_high(metric)
                if attack == NONE and not high and not mine:
                    continue  # An attacker's success needs an attacker.
                rows.append({**about, "metric": metric, "moment": moment})
                values.append(np.array(list(mine.values())))
                compared = high and group in clean
                losses.append(_losses(_by_seed(clean[group], column), mine) if compared else np.array([]))
    for row, score, loss in zip(rows, intervals(values), intervals(losses)):
        row.update(zip(_ESTIMATE, score))
        row.update(zip(("loss", "loss_low", "loss_high", "loss_n"), loss))
    _add_harm(rows, seen.sticks)
    rows.sort(key=lambda row: row["metric"] != seen.sticks[row["group"]].metric)
    return pl.DataFrame([{name: row[name] for name in _CELLS} for row in rows], schema=_CELLS)


def _add_harm(rows: Sequence[dict[str, Any]], sticks: Mapping[str, Yardstick]) -> None:
    """Give rows their harm and its basis, one basis for each group, metric and moment."""
    alike: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        alike.setdefault((row["group"], row["metric"], row["moment"]), []).append(row)
    for (group, metric, _), mine in alike.items():
        best = max((row["mean"] for row in mine if row["n"]), default=0.0)
        if not sticks[group].wants_high(metric):
            basis = VALUE
        else:
            basis = LOSS if any(row["loss_n"] for row in mine) else BEST
        for row in mine:
            share = 1 - row["mean"] / best if best > 0 else float("nan")
            row.update(basis=basis, harm={LOSS: row["loss"], VALUE: row["mean"], BEST: share}[basis])


def judged(board: Contest, frame: pl.DataFrame) -> pl.DataFrame:
    """Return those rows of a frame with ``group`` and ``metric`` whose metric is what their group is judged by."""
    own = [(group, stick.metric) for group, stick in board.sticks.items()]
    wanted = pl.DataFrame(own, schema={"group": pl.String, "metric": pl.String}, orient="row")
    return frame.join(wanted, on=["group", "metric"], how="semi", maintain_order="left")


def _long(board: Board, columns: Sequence[str], keep: Any, names: Mapping[str, str]) -> pl.DataFrame:
    """Return estimates of `columns` for the cells that `keep` accepts, one row per cell and column."""
    rows, values = [], []
    seen = contest(board)
    for (group, attack, defense), part in keyed(seen, orders(seen)):
        if not keep(attack, part):
            continue
        for column in columns:
            rows.append((group, attack, defense, names.get(column, column)))
            values.append(part[column].drop_nulls().to_numpy())
    return _estimates(("group", "attack", "defense", "metric"), rows, values)


def _estimates(names: Sequence[str], rows: Sequence[tuple[str, ...]], values: Sequence[np.ndarray]) -> pl.DataFrame:
    """Return a frame of the columns `names`, which `rows` hold, and the estimates of `values`."""
    schema: dict[str, Any] = {**dict.fromkeys(names, pl.String)}
    schema.update(mean=pl.Float64, low=pl.Float64, high=pl.Float64, n=pl.Int64)
    return pl.DataFrame([(*r, *e) for r, e in zip(rows, intervals(values))], schema=schema, orient="row")


def detection(board: Board) -> pl.DataFrame:
    """Return ``group, attack, defense, metric, mean, low, high, n`` of DACC, FPR, FNR and AAR where uploads fall.

    Only defenses that rejected an upload somewhere in the group are in it: of the others nothing can be told. Those
    that expel clients have a fifth metric, ``"expelled"``: the share of benign clients that is out at the end.
    """
    seen = contest(board)
    judging = {(g, d) for g, d, r in seen.grouped.select("group", "defense", "rejects").rows() if r}
    wanted, names = (*DETECTION, EXPELLED), {EXPELLED: "expelled"}
    return _long(seen, wanted, lambda _, part: (part["group"][0], part["defense"][0]) in judging, names).filter(
        (pl.col("n") > 0) & ((pl.col("attack") != NONE) | (pl.col("metric") != "AAR"))
    )


def judgements(frame: pl.DataFrame, group: str) -> list[str]:
    """Return the metrics of `detection` that a table of one group has: ``"expelled"`` if a defense of it expels."""
    expels = not frame.filter((pl.col("group") == group) & (pl.col("metric") == "expelled")).is_empty()
    return [*DETECTION, *(["expelled"] if expels else [])]


def cost(board: Board) -> pl.DataFrame:
    """Return what each defense costs when nobody attacks: every metric of the last round, and ``ms per round``.

    The time is that of the runs that `prices` compares, so that both tell of the same machines; of all runs where
    there are none. Columns ``group, attack, defense, metric, mean, low, high, n``.
    """
    seen = contest(board)
    names = {f"last {metric}": metric for metric in board.metrics}
    scores = _long(seen, list(names), lambda attack, _: attack == NONE, names)
    slow = _slow(_clean(seen)).with_columns(pl.lit(NONE).alias("attack")).select(scores.columns)
    return pl.concat([scores, slow]).filter(pl.col("n") > 0)


def _slow(parts: Parts) -> pl.DataFrame:
    """Return ``group, defense, metric, mean, low, high, n`` of the milliseconds of a round."""
    times = [_timed(part, parts.get((group, NONE))) for (group, _), part in parts.items()]
    return _estimates(("group", "defense", "metric"), [(*key, SLOW) for key in parts], [1000 * time for time in times])


def _clean(seen: Contest) -> Parts:
    """Return the runs of each group and defense in which nobody attacks."""
    return {(g, d): part for (g, a, d), part in keyed(seen, orders(seen)) if a == NONE}


_ALIKE = ("seed", "commit", "hardware")


def _timed(mine: pl.DataFrame, base: pl.DataFrame | None) -> np.ndarray:
    """Return seconds per round of those runs that have a counterpart in `base`, else of all."""
    known = mine.filter(pl.col("seconds_per_round") > 0)
    if base is not None:
        there = base.filter(pl.col("seconds_per_round") > 0).select(_ALIKE)
        paired = known.join(there, on=_ALIKE, how="semi", maintain_order="left")
        known = known if paired.is_empty() else paired
    return known["seconds_per_round"].to_numpy()


def _ratios(base: pl.DataFrame, mine: pl.DataFrame) -> np.ndarray:
    """Return seconds per round over those of `base` by seed, of runs of one commit on the same hardware."""
    timed = {row[:3]: row[3] for row in base.select(*_ALIKE, "seconds_per_round").rows() if row[3]}
    rows = mine.select(*_ALIKE, "seconds_per_round").rows()
    return np.array([row[3] / timed[row[:3]] for row in rows if row[3] and row[:3] in timed])


def prices(board: Board) -> pl.DataFrame:
    """Return what each defense changes when nobody attacks: ``group, defense, metric, mean, low, high, n``.

    Paired by seed with the run without a defense: the share by which a metric of the last round changes, and under
    ``ms per round`` how many times as long a round takes (`n` 0 where no two runs are of one commit and machine).
    """
    seen = contest(board)
    parts = _clean(seen)
    rows, values = [], []
    for (group, defense), part in parts.items():
        base = parts.get((group, NONE))
        if base is None:
            continue
        for metric in board.metrics:
            column = f"last {metric}"
            rows.append((group, defense, metric))
            values.append(-_losses(_by_seed(base, column), _by_seed(part, column)))
        rows.append((group, defense, SLOW))
        values.append(_ratios(base, part))
    return _estimates(("group", "defense", "metric"), rows, values)


def paces(board: Board) -> pl.DataFrame:
    """Return how long a round takes when nobody attacks: ``group, defense, metric, mean, low, high, n``.

    ``metric`` is the same for a group: `PACE`, against the run without a defense as in `prices`, so that runs of
    different machines are not mixed; milliseconds (``ms per round``) where no two runs can be compared.
    """
    parts = _clean(contest(board))
    pairs = [(group, defense) for group, defense in parts if (group, NONE) in parts]
    times = [_ratios(parts[group, NONE], parts[group, defense]) for group, defense in pairs]
    ratios = _estimates(("group", "defense", "metric"), [(*pair, PACE) for pair in pairs], times)
    ratios = ratios.filter(pl.col("n") > 0)
    compared = pl.col("group").is_in(ratios.filter(pl.col("defense") != NONE)["group"].unique().to_list())
    return pl.concat([ratios.filter(compared), _slow(parts).filter(~compared & (pl.col("n") > 0))])


def curves(board: Board) -> pl.DataFrame:
    """Return mean test scores over rounds: ``group, attack, defense, metric, round, mean, low, high, n``.

    ``low`` and ``high`` are the smallest and largest of the ``n`` seeds whose rounds were read; `VERDICTS` are summed
    over them.
    """
    if board.curves.is_empty() or not board.metrics:
        empty = dict.fromkeys(("group", "attack", "defense", "metric"), pl.String)
        numbers = dict.fromkeys(("mean", "low", "high"), pl.Float64)
        counts = dict.fromkeys(VERDICTS, pl.Int64)
        return pl.DataFrame(schema={**empty, "round": pl.Int64, **numbers, "n": pl.Int64, **counts})
    cell = ["group", "attack", "defense"]
    value = pl.col("value")
    return (
        contest(board)
        .grouped.select(*cell, "run")
        .join(board.curves.drop("loss"), on="run")
        .unpivot(board.metrics, index=[*cell, "round", *VERDICTS], variable_name="metric")
        .drop_nulls("value")
        .group_by([*cell, "metric", "round"], maintain_order=True)
        .agg(
            mean=value.mean(),
            low=value.min(),
            high=value.max(),
            n=value.len().cast(pl.Int64),
            **{name: pl.col(name).sum() for name in VERDICTS},
        )
        .sort("round", maintain_order=True)
    )


def representatives(board: Board, frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` (by run) with ``group, attack, defense, seed`` of the run, one run for each cell in contest."""
    cell = ["group", "attack", "defense"]
    chosen = (
        contest(board)
        .grouped.filter(pl.col("run").is_in(frame["run"].unique().to_list()))
        .sort("seed", maintain_order=True)
        .unique(cell, keep="first", maintain_order=True)
        .select(*cell, "seed", "run")
    )
    return chosen.join(frame, on="run", maintain_order="left_right")
