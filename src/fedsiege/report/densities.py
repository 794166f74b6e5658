"""How scores of benign and malicious uploads are distributed, and how well they tell the two apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from fedsiege.report.cells import representatives
from fedsiege.report.collect import Board

GRID = 80
STRETCHES = 3
_FEWEST = 3
_MOST = 4000
_COLUMNS: dict[str, Any] = {
    "group": pl.String, "attack": pl.String, "defense": pl.String, "stretch": pl.String, "who": pl.String,
    "score": pl.Float64, "density": pl.Float64, "n": pl.Int64,
}  # fmt: skip


def density(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return a kernel density estimate of `values` on `grid`, 0 everywhere if there are too few to estimate it.

    Gaussian kernel, Scott's bandwidth, not narrower than the grid can show; so equal scores make a peak.
    """
    values = values[np.isfinite(values)]
    if values.size < _FEWEST or grid.size < 2:
        return np.zeros_like(grid)
    # Written out, because scipy's general form solves a triangular system to divide by one number.
    width = max(values.size**-0.2 * float(values.std(ddof=1)), float(grid[1] - grid[0]))
    kernels = np.exp(-0.5 * ((grid[:, None] - values[None, :]) / width) ** 2)
    return kernels.mean(1) / (width * np.sqrt(2 * np.pi))


def higher(malicious: np.ndarray, score: np.ndarray) -> float:
    """Return the chance that a malicious score lies above a benign one of the round (the area under the ROC curve).

    Equal scores count half; NaN if one kind is missing.
    """
    frame = pl.DataFrame({"malicious": malicious, "score": score}).with_columns(round=pl.lit(0))
    found = areas(frame, ["round"])["area"]
    return float("nan") if found.is_empty() else float(found[0])


def areas(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return `keys` and ``area``: `higher` of every round, told apart by `keys`, that has both kinds of uploads.

    The area is that of the Mann-Whitney statistic: the ranks of the malicious scores, less what they would be at least.
    """
    bad = pl.col("malicious")
    counts = frame.filter(pl.col("score").is_finite()).with_columns(
        pl.col("score").rank("average").over(keys).alias("rank")
    )
    sums = counts.group_by(keys, maintain_order=True).agg(
        pl.col("rank").filter(bad).sum().alias("ranks"),
        bad.sum().cast(pl.Float64).alias("bad"),
        (~bad).sum().cast(pl.Float64).alias("good"),
    )
    least = pl.col("bad") * (pl.col("bad") + 1) / 2
    return sums.filter((pl.col("bad") > 0) & (pl.col("good") > 0)).select(
        *keys, ((pl.col("ranks") - least) / (pl.col("bad") * pl.col("good"))).alias("area")
    )


def separation(found: np.ndarray) -> float | None:
    """Return how well scores of a stretch tell malicious from benign: 0.5 not at all, 1 perfectly; None if unknown.

    The mean of `higher` over rounds, mirrored to [0.5, 1] once and not for each round: to some defenses a low score
    is suspicious and to others a high one, but with one attacker in a round a mirrored guess would look like 0.75.
    """
    known = found[np.isfinite(found)]
    if not known.size:
        return None
    mean = float(known.mean())
    return max(mean, 1 - mean)


def _thin(values: np.ndarray) -> np.ndarray:
    return values[:: max(1, -(-values.size // _MOST))]


def window(score: np.ndarray) -> np.ndarray:
    """Return a grid over the bulk of `score`, a little wider than its central 99 %."""
    low, high = np.quantile(score, [0.005, 0.995])
    margin = 0.08 * (high - low) or max(abs(high), 1e-12) * 0.05
    return np.linspace(low - margin, high + margin, GRID)


def centred(frame: pl.DataFrame) -> pl.DataFrame:
    """Return scores (such as ``Board.scores``) with the median of their run's round taken from each.

    What is left can be pooled over rounds: scores drift while the model learns, and pooled as they are the drift
    would hide what a defense sees in any one round.
    """
    return frame.with_columns(pl.col("score") - pl.col("score").median().over("run", "round"))


def densities(board: Board) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return density curves of scores, and how well scores separate.

    Scores move as the model learns, and a defense compares uploads of one round only. So from each score the
    median of its round is taken, and a run is cut into thirds.

    Returns
    -------
    curves : polars.DataFrame
        ``group, attack, defense, stretch, who, score, density, n``; each curve is divided by its highest point.
    separations : polars.DataFrame
        ``group, attack, defense, stretch, separation`` (see `separation`).
    """
    made: list[pl.DataFrame] = []
    apart: list[tuple[Any, ...]] = []
    frame = representatives(board, board.scores).filter(pl.col("score").is_finite())
    frame = centred(frame)
    cell = ["group", "attack", "defense"]
    every = areas(frame, [*cell, "round"]).partition_by(cell, as_dict=True, maintain_order=True)
    for (group, attack, defense), part in frame.partition_by(cell, as_dict=True, maintain_order=True).items():
        last = int(part["round"].max())  # type: ignore[arg-type]
        cuts = np.linspace(0, last, STRETCHES + 1).astype(int)
        for first, end in zip(cuts[:-1] + 1, cuts[1:]):
            piece = part.filter(pl.col("round").is_between(int(first), int(end)))
            if piece.height < _FEWEST:
                continue
            stretch = f"rounds {first}–{end}"
            score, bad = piece["score"].to_numpy(), piece["malicious"].to_numpy()
            grid = window(score)
            for who, values in (("benign", score[~bad]), ("malicious", score[bad])):
                height = density(_thin(values), grid)
                if height.max() <= 0:
                    continue
                named = {"group": group, "attack": attack, "defense": defense, "stretch": stretch, "who": who}
                shape = {"score": grid, "density": height / height.max()}
                made.append(
                    pl.DataFrame(shape).select(
                        *(pl.lit(v).alias(k) for k, v in named.items()),
                        "score", "density", pl.lit(values.size, pl.Int64).alias("n"),
                    )
                )  # fmt: skip
            told = every.get((group, attack, defense))
            inside: Any = [] if told is None else told.filter(pl.col("round").is_between(int(first), int(end)))["area"]
            apart.append((group, attack, defense, stretch, separation(np.array(inside, np.float64))))
    schema: dict[str, Any] = {**dict.fromkeys(("group", "attack", "defense", "stretch"), pl.String)}
    return (
        pl.concat(made) if made else pl.DataFrame(schema=_COLUMNS),
        pl.DataFrame(apart, schema={**schema, "separation": pl.Float64}, orient="row"),
    )
