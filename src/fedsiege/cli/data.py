"""``fedsiege data``: fetch a named data set, look at one, or at how its images are parted among clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fedsiege.cli.arguments import option
from fedsiege.cli.console import print_json
from fedsiege.cli.facts import print_facts
from fedsiege.errors import ConfigError


@dataclass(frozen=True)
class Fetch:
    """Make sure that a named data set is on this machine, and print where.

    It is looked for under FEDSIEGE_DATA, then in the cache (FEDSIEGE_CACHE), then downloaded from its official
    address and checked. Without a network the error says what to download and where to put it.

    Parameters
    ----------
    name
        A name that `fedsiege list datasets` shows.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]

    def __call__(self) -> int:
        """Print the path and return 0."""
        from fedsiege.data.cache import fetch
        from fedsiege.data.cards import card

        known = card(self.name)
        if known.remote is not None:
            print(fetch(self.name))
        elif known.kind == "images":
            print(f"{self.name} is part of an installed package; there is nothing to fetch")
        else:
            print(f"{self.name} is generated in memory; there is nothing to fetch")
        return 0


PARTING: dict[str, str | None] = {
    "clients": None,
    "beta": "dirichlet",
    "per_client": "shards",
    "minimum": "dirichlet",
    "unbalanced": "dirichlet",
    "samples": None,
    "seed": None,
    "out": None,
}
"""Options of --partition, and the kind that reads them; None: every kind."""


@dataclass(frozen=True)
class Info:
    """Show the size, density, activity and popularity of a data set, named or your own.

    Of images it shows sizes, classes, normalisation and sums, and with --partition who of the clients of a
    federation holds how many images of which class, as a table and as a picture. It is what a run gets whose
    configuration says the same.

    Parameters
    ----------
    name_or_path
        A name that `fedsiege list datasets` shows, or the path of a file or a folder.
    format
        The format of the file, if its name and first line do not tell.
    partition
        Part the training images among clients: evenly (iid), by Dirichlet-distributed proportions of classes
        (dirichlet), or by shards of one class (shards).
    clients
        Number of clients of --partition (default: 100).
    beta
        Concentration of --partition dirichlet (default: 0.1); the smaller, the fewer classes a client holds.
    per_client
        Shards of each client of --partition shards (default: 2).
    minimum
        Images that each client of --partition dirichlet must hold (default: 10).
    unbalanced
        Let --partition dirichlet make clients of unequal size.
    samples
        Part so many training images, drawn at random, instead of all.
    seed
        Seed of --partition (default: 0).
    out
        File for the picture of --partition, .png, .svg or .pdf (default: partition-NAME.png).
    json
        Print JSON instead of tables.
    """

    name_or_path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME_OR_PATH")]
    format: Annotated[
        Literal[
            "movielens",
            "recbole",
            "lightgcn",
            "checkins",
            "idx",
            "cifar-binary",
            "cifar-pickle",
            "parquet",
            "folders",
        ]
        | None,
        option("{movielens,recbole,lightgcn,checkins,idx,cifar-binary,cifar-pickle,parquet,folders}"),
    ] = None
    partition: Annotated[Literal["iid", "dirichlet", "shards"] | None, option("{iid,dirichlet,shards}")] = None
    clients: Annotated[int | None, option("N")] = None
    beta: Annotated[float | None, option("BETA")] = None
    per_client: Annotated[int | None, option("N")] = None
    minimum: Annotated[int | None, option("N")] = None
    unbalanced: Annotated[bool, option()] = False
    samples: Annotated[int | None, option("N")] = None
    seed: Annotated[int | None, option("SEED")] = None
    out: Annotated[Path | None, option("FILE")] = None
    json: Annotated[bool, option()] = False

    def __call__(self) -> int:
        """Print the figures and return 0."""
        from fedsiege.data.images import is_images

        if is_images(self.name_or_path, self.format):
            from fedsiege.cli.images import show

            return show(self)
        from fedsiege.data.cards import CARDS
        from fedsiege.data.catalog import describe

        if self.partition is not None and (self.name_or_path in CARDS or Path(self.name_or_path).exists()):
            raise ConfigError(
                f"--partition is for images, and in {self.name_or_path} each user is a client already; "
                "leave it out, or name a data set of images such as digits"
            )
        self.refuse_unread(images=False)
        found = describe(self.name_or_path, format=self.format)
        if self.json:
            print_json(found)
        else:
            print_facts(found)
        return 0

    def refuse_unread(self, images: bool = True) -> None:
        """Refuse options that nothing would read: of --partition without it, or of another kind (ConfigError)."""
        for name, kind in PARTING.items():
            value = getattr(self, name)
            if value is None or value is False:
                continue
            word = f"--{name.replace('_', '-')}"
            if self.partition is None:
                remedy = "add --partition, or leave it out" if images else "leave it out, as these are none"
                raise ConfigError(f"{word} is about who holds which images; {remedy}")
            if kind not in (None, self.partition):
                raise ConfigError(f"{word} goes with --partition {kind}, not with {self.partition}; leave it out")


@dataclass(frozen=True)
class Data:
    """Fetch a named data set, or look at a data set.

    Parameters
    ----------
    action
        What to do.
    """

    action: (
        Annotated[Fetch, tyro.conf.subcommand("fetch", prefix_name=False)]
        | Annotated[Info, tyro.conf.subcommand("info", prefix_name=False)]
    )

    def __call__(self) -> int:
        """Do it and return its exit status."""
        return self.action()
