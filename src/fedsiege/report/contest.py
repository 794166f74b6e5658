"""What charts and findings compare: a board without controls, and for each group what its runs are judged by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import polars as pl

from fedsiege.arena.flags import NONE, inner_of
from fedsiege.arena.measures import wanted_high
from fedsiege.errors import FedSiegeError
from fedsiege.report.collect import Board

if TYPE_CHECKING:
    from fedsiege.arena.card import Card
    from fedsiege.arena.record import Record


@dataclass(frozen=True)
class Yardstick:
    """What the runs of one group are judged by, as on its leaderboard.

    Parameters
    ----------
    metric : str
        The test score that counts under attack; empty if the group has none.
    clean : str
        What runs without an attack are judged by: `metric`, or another score where they do not have it (such as ASR).
    higher : bool
        Whether the defender wants `metric` high.
    metrics : tuple of str
        Every score of the group's runs, `metric` first.
    """

    metric: str
    clean: str
    higher: bool = True
    metrics: tuple[str, ...] = ()

    def wants_high(self, metric: str) -> bool:
        """Return whether the defender wants a score high: of any but `metric`, whether it is not the attacker's."""
        return self.higher if metric == self.metric else wanted_high(metric)

    def harm(self, value: float, reference: float) -> float:
        """Return how bad a value of `metric` is for the defender: the share of `reference` lost, or a rate itself."""
        if not self.higher:
            return value
        return 1 - value / reference if reference else 0.0


@dataclass(frozen=True)
class Contest(Board):
    """A board whose runs are attacks and defenses alone, with what each group is judged by.

    Parameters
    ----------
    sticks : mapping of str to Yardstick
        By group.
    """

    sticks: Mapping[str, Yardstick] = field(default_factory=dict)


def contest(board: Board) -> Contest:
    """Return what is compared of a board; a contest as it is.

    ``noise(ATTACK)`` is left out: a control that shows what an attack does beyond noise, and which no defense but
    averaging needs to face.
    """
    if isinstance(board, Contest):
        return board
    runs = board.runs.join(controls(board).select("run"), on="run", how="anti", maintain_order="left")
    members = board.members.join(runs.select("run"), on="run", how="semi", maintain_order="left")
    kept = {part.name: getattr(board, part.name) for part in fields(Board)} | {"runs": runs, "members": members}
    plain = Board(**kept)
    parts = plain.grouped.partition_by("group", as_dict=True, maintain_order=True)
    return Contest(**kept, sticks={str(group): _stick(board, str(group), part) for (group,), part in parts.items()})


def controls(board: Board) -> pl.DataFrame:
    """Return the runs of a board that are controls of an attack."""
    names = [name for name in board.runs["attack_name"].unique() if inner_of(name) is not None]
    return board.runs.filter(pl.col("attack_name").is_in(names))


def _measured(runs: pl.DataFrame, metrics: Iterable[str]) -> list[str]:
    return [metric for metric in metrics if runs[f"last {metric}"].count()]


def _stick(board: Board, group: str, runs: pl.DataFrame) -> Yardstick:
    """Return the yardstick of a group: its card's metric, else its runs' own, else the first of the board's order."""
    measured = _measured(runs, board.metrics)
    record = _record(board, group)
    card = _card(board, record)
    own = record.metric if record else ""
    metric = next((m for m in (card.metric if card else "", own, *measured) if m in measured), "")
    clean = _measured(runs.filter(pl.col("attack_name") == NONE), board.metrics)
    known = card is not None and card.metric == metric
    return Yardstick(
        metric=metric,
        clean=next((m for m in (metric, own, *clean) if m in clean), metric),
        higher=card.higher_is_better if card is not None and known else wanted_high(metric),
        metrics=tuple(sorted(measured, key=lambda name: name != metric)),
    )


def _record(board: Board, group: str) -> Record | None:
    """Return what is stored of one run of a group, which tells its card and its metric; None if it cannot be read.

    One is enough: model, cutoffs and card are the same in a group.
    """
    from fedsiege.arena.record import read_record

    mine = board.runs.filter(pl.col("group") == group)["path"]
    if mine.is_empty():
        return None
    # A single run goes by the name of its folder.
    alone = all((board.root / name).is_file() for name in ("config.yaml", "result.json"))
    folder = board.root if alone else board.root / str(mine[0])
    try:
        return read_record(folder, board.root)
    except FedSiegeError:
        return None


def _card(board: Board, record: Record | None) -> Card | None:
    if record is None or not record.card_hash:
        return None
    from fedsiege.report.boards import cards

    found: dict[str, Any] = cards(board.root, [record])
    return found.get(record.card_hash)
