"""What a table or figure of any paper is made of: points, which are cells without a seed, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from fedsiege.arena.paper import printed


class Point(Protocol):
    """One cell without its seed, with the values that the paper prints for it."""

    @property
    def key(self) -> str:
        """``model/dataset/attack/defense/m<share>`` with the variant, for ``--cells`` and for folders."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def dataset(self) -> str:
        """Name of the data set."""

    @property
    def attack(self) -> str:
        """Name of the attack."""

    @property
    def defense(self) -> str:
        """Name of the defense."""

    @property
    def malicious(self) -> float:
        """Share of malicious clients."""

    @property
    def variant(self) -> str:
        """What distinguishes cells that differ in hyper-parameters only; empty for the plain setting."""

    @property
    def paper(self) -> Mapping[str, float]:
        """The paper's values by metric, where it prints them; rates are shares in [0, 1]."""

    @property
    def group(self) -> Hashable:
        """What points share that are compared with the same run without attack and defense."""

    def rounds(self, rounds: int) -> int:
        """Return the rounds of this cell in a table that is run for so many `rounds`."""

    def config(self, seed: int, rounds: int) -> dict[str, Any]:
        """Return the configuration for a seed in a table run for `rounds`, in the form that YAML holds."""


@dataclass(frozen=True)
class Sweep:
    """What a figure's horizontal axis shows.

    Parameters
    ----------
    label : str
        Its name.
    prefix : str
        What stands before the value in a variant's part; empty: the axis is the share of malicious clients.
    default : float
        The value of cells whose variant has no such part.
    """

    label: str
    prefix: str = ""
    default: float = 0.0

    def value(self, row: Mapping[str, Any]) -> float:
        """Return where a row of the table stands on the axis."""
        if not self.prefix:
            return float(row["malicious"])
        mine = [part for part in (row["variant"] or "").split("-") if part.startswith(self.prefix)]
        return float(mine[0].removeprefix(self.prefix)) if mine else self.default


@dataclass(frozen=True)
class Target:
    """A table or figure that can be reproduced.

    Parameters
    ----------
    id, title, about : str
        Identifier for the command line, the caption in short, and what it shows.
    points : callable
        Yields the cells.
    metrics : tuple of str
        What it prints: metrics of the test split, or any of `fedsiege.arena.measures.MEASURES`.
    figure : bool
        Whether it is drawn.
    seeds : int
        Seeds run unless told otherwise.
    paper : str
        Which paper: its values stand in ``<paper>.yaml``.
    rounds : int
        Rounds of a run unless told otherwise.
    folder : str
        Folder of the runs below the root of all runs.
    layout : {"losses", "measures"}
        Columns of the table: metrics with the share that is lost against the clean run, or measures alone.
    notes : tuple of str
        What a reader must know of every table of this kind.
    full : str
        Of a lite form: the identifier of the full one; else empty.
    sweep : Sweep, optional
        Horizontal axis of a figure of curves.
    """

    id: str
    title: str
    about: str
    points: Callable[[], Iterator[Point]] = field(repr=False)
    metrics: tuple[str, ...] = ("HR@5",)
    figure: bool = False
    seeds: int = 5
    paper: str = "aaai23"
    rounds: int = 6000
    folder: str = "aaai23"
    layout: Literal["losses", "measures"] = "losses"
    notes: tuple[str, ...] = ()
    full: str = ""
    sweep: Sweep | None = None

    @property
    def source(self) -> str:
        """The citation of the paper."""
        return printed(self.paper)["source"]

    @property
    def words(self) -> list[str]:
        """How the command line calls it."""
        return [self.full, "--lite"] if self.full else [self.id]
