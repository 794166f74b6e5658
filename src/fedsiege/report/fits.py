"""What defenses by reconstruction found at each client's first upload, and what they would have said elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from fedsiege.report.cells import orders, representatives
from fedsiege.report.collect import Board
from fedsiege.report.contest import contest

CLIENTS = 60
GAMMAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_CELL = ["group", "attack", "defense"]


def verdicts(board: Board) -> pl.DataFrame:
    """Return one row per client of each cell's first readable seed.

    ``group, attack, defense, run, client, who, round, iterations, final, verdict, gamma, budget, early``; ``final``
    is the error at the end of the first fit, inf where it was not finite.
    """
    last = board.fits.sort("step", maintain_order=True).unique(["run", "client"], keep="last", maintain_order=True)
    # NaN counts as larger than any number, and stands for an error that left the finite numbers.
    last = last.sort("run", "client").with_columns(
        pl.col("error").fill_nan(float("inf")).alias("final"),
        pl.when("malicious").then(pl.lit("malicious")).otherwise(pl.lit("benign")).alias("who"),
    )
    last = last.with_columns(
        pl.when(pl.col("final") <= pl.col("gamma"))
        .then(pl.lit("accepted"))
        .otherwise(pl.lit("rejected"))
        .alias("verdict")
    )
    columns = ("run", "client", "who", "round", "iterations", "final", "verdict", "gamma", "budget", "early")
    return representatives(board, last).select(*_CELL, *columns)


def shown(judged: pl.DataFrame, most: int = CLIENTS) -> pl.DataFrame:
    """Return at most about `most` clients of each cell, evenly from benign and malicious ones."""
    place = pl.int_range(pl.len()).over(*_CELL, "who")
    of = pl.len().over(*_CELL, "who")
    room = pl.max_horizontal(1, (of * most / pl.len().over(_CELL)).floor().cast(pl.Int64))
    # A client stands for those up to it where the count of shown ones rises.
    kept = (place + 1) * room // of > place * room // of
    return judged.filter((room >= of) | kept)


@dataclass(frozen=True)
class Sweep:
    """Who would be rejected at other thresholds and budgets, for one defense of one group.

    Parameters
    ----------
    group, defense : str
        Which.
    gamma : float
        Threshold of the runs.
    budget : int
        Most iterations of a client's first fit in the runs.
    early : bool
        Whether a fit ended once its error was below `gamma`.
    attacks : tuple of str
        In the order of the page.
    fits : polars.DataFrame
        ``attack, client, malicious, step, error``.
    """

    group: str
    defense: str
    gamma: float
    budget: int
    early: bool
    attacks: tuple[str, ...]
    fits: pl.DataFrame

    @cached_property
    def _curves(self) -> dict[str, list[tuple[bool, np.ndarray, np.ndarray]]]:
        found: dict[str, list[tuple[bool, np.ndarray, np.ndarray]]] = {attack: [] for attack in self.attacks}
        for (attack, _), part in self.fits.partition_by("attack", "client", as_dict=True, maintain_order=True).items():
            ordered = part.sort("step")
            error = ordered["error"].to_numpy()
            found[str(attack)].append(
                (bool(part["malicious"][0]), ordered["step"].to_numpy(), np.where(np.isnan(error), np.inf, error))
            )
        return found

    def _count(self, malicious: bool) -> dict[str, int]:
        return {attack: sum(bad == malicious for bad, *_ in curves) for attack, curves in self._curves.items()}

    @cached_property
    def bad(self) -> dict[str, int]:
        """Malicious clients by attack."""
        return self._count(True)

    @cached_property
    def good(self) -> dict[str, int]:
        """Benign clients by attack."""
        return self._count(False)

    @property
    def lost(self) -> int:
        """Clients whose error left the finite numbers."""
        return sum(bool(np.isinf(error[-1])) for curves in self._curves.values() for *_, error in curves)

    @property
    def gammas(self) -> list[float]:
        """Thresholds to look at, that of the runs among them."""
        return sorted({*GAMMAS, self.gamma})

    @property
    def budgets(self) -> list[int]:
        """Budgets to look at: about a sixteenth and a quarter of that of the runs, which curves hold, and itself."""
        powers = [1 << (self.budget // part).bit_length() - 1 for part in (16, 4) if self.budget >= part]
        return sorted({*powers, self.budget})

    def known(self, gamma: float) -> bool:
        """Return whether the errors say anything at `gamma`: not below a threshold that ended the fits."""
        return not self.early or gamma >= self.gamma

    def rejected(self, attack: str, gamma: float, budget: int) -> tuple[int, int]:
        """Return how many malicious and benign clients would be rejected at `gamma` within `budget` iterations.

        A fit that ends early is accepted once its error was at most `gamma` at any point of its curve; another by
        its error at the end of the budget.
        """
        count = [0, 0]
        for malicious, step, error in self._curves[attack]:
            held = error[step <= budget]
            count[malicious] += not (held.min() if self.early else held[-1]) <= gamma
        return count[True], count[False]


def sweeps(board: Board, judged: pl.DataFrame) -> Iterator[Sweep]:
    """Yield the sweep of each defense of each group.

    Parameters
    ----------
    board : Board
        Where errors come from.
    judged : polars.DataFrame
        What `verdicts` returns.
    """
    board = contest(board)
    attacks, defenses = orders(board)
    keys = ["group", "defense", "gamma", "budget", "early"]
    parts = judged.partition_by(keys, as_dict=True, maintain_order=True)
    place = {name: i for i, name in enumerate(board.groups)}
    for key in sorted(parts, key=lambda k: (place[str(k[0])], defenses.index(str(k[1])), k[2:])):
        mine = parts[key].select("attack", "run", "client")
        fits = mine.join(board.fits, on=["run", "client"], maintain_order="left_right")
        present = set(mine["attack"])
        group, defense, gamma, budget, early = key
        yield Sweep(
            str(group),
            str(defense),
            float(gamma),
            int(budget),
            bool(early),
            tuple(a for a in attacks if a in present),
            fits.select("attack", "client", "malicious", "step", "error"),
        )
