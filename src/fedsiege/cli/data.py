"""``fedsiege data``: fetch a named data set, or look at one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from fedsiege.cli.arguments import option
from fedsiege.cli.console import number, out, print_json, table


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

        if card(self.name).remote is None:
            print(f"{self.name} is generated in memory; there is nothing to fetch")
        else:
            print(fetch(self.name))
        return 0


@dataclass(frozen=True)
class Info:
    """Show the size, density, activity and popularity of a data set, named or your own.

    Parameters
    ----------
    name_or_path
        A name that `fedsiege list datasets` shows, or the path of a file.
    format
        The format of the file, if its name and first line do not tell.
    json
        Print JSON instead of a table.
    """

    name_or_path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME_OR_PATH")]
    format: Annotated[
        Literal["movielens", "recbole", "lightgcn", "checkins"] | None,
        option("{movielens,recbole,lightgcn,checkins}"),
    ] = None
    json: Annotated[bool, option()] = False

    def __call__(self) -> int:
        """Print the figures and return 0."""
        from fedsiege.data.catalog import describe

        found = describe(self.name_or_path, format=self.format)
        if self.json:
            print_json(found)
        else:
            rows = [[key, _shown(key, value)] for key, value in found.items() if key != "name"]
            out().print(table("", ["", str(found["name"])], rows))
        return 0


def _shown(key: str, value: Any) -> str:
    if key in ("density", "top1_share"):
        return f"{100 * value:.2f} %"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return number(value, 1) if isinstance(value, float) else str(value)


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
