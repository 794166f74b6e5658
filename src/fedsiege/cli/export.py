"""``fedsiege export``: stored runs as a table, or sent to a tracker of experiments."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fedsiege.cli.arguments import option
from fedsiege.errors import ConfigError, nearest

if TYPE_CHECKING:
    from fedsiege.arena.record import Record
    from fedsiege.arena.store import Store


@dataclass(frozen=True)
class Export:
    """Write the stored runs of a folder as one table, one row a run, or send them to MLflow or TensorBoard.

    Nothing in the table depends on a clock or a machine unless --costs or --origin ask for it: a grid that was killed
    and continued gives the same bytes as one that was not. Only finished runs are sent.

    Parameters
    ----------
    folder
        A folder that holds run folders at any depth.
    out
        The table, FILE.parquet or FILE.csv.
    to
        Where to send the runs: mlflow:URI or tensorboard:FOLDER; what is there already is not sent again.
    card
        Only runs of this card, by its id or hash.
    costs
        Also seconds per round, wall seconds and peak memory.
    origin
        Also hardware, package versions and the command that repeats a run.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    out: Annotated[Path | None, option("FILE")] = None
    to: Annotated[str | None, option("SINK:TARGET")] = None
    card: Annotated[str | None, option("ID|HASH")] = None
    costs: Annotated[bool, option()] = False
    origin: Annotated[bool, option()] = False

    def __call__(self) -> int:
        """Write and send, and return 0; 1 if a folder had to be left out because it cannot be read."""
        from fedsiege.arena.store import Store

        self._check()
        with Store(self.folder) as store:
            damaged = store.refresh().damaged
            records = self._chosen(store)
        if self.out is not None:
            from fedsiege.arena.export import frame, write

            write(frame(records, costs=self.costs, origin=self.origin), self.out)
            print(self.out)
        if self.to is not None:
            from fedsiege.arena.sinks import send

            sent = send(records, self.folder, self.to)
            print(f"{sent.where}: {sent.new} runs sent, {sent.known} were there")
        for path, why in damaged.items():
            print(f"left out: {path}: {why}", file=sys.stderr)
        return 1 if damaged else 0

    def _check(self) -> None:
        """Refuse what cannot be done before anything is read (ConfigError)."""
        from fedsiege.arena.export import FORMATS
        from fedsiege.arena.sinks import parse

        if self.out is None and self.to is None:
            raise ConfigError("say where to: --out FILE.parquet, --out FILE.csv, or --to SINK:TARGET")
        if self.out is not None and self.out.suffix.lower() not in FORMATS:
            raise ConfigError(f"cannot tell the format of {self.out}; let its name end in {' or '.join(FORMATS)}")
        if self.to is not None:
            parse(self.to)

    def _chosen(self, store: Store) -> list[Record]:
        records = store.records(self.card, status=None)
        if self.card is not None and not records:
            known = {card for card, *_ in store.counts() if card}
            hint = nearest(self.card, known) if known else "none of them has a card"
            raise ConfigError(f"no run under {self.folder} is of card {self.card!r}: {hint}")
        return records
