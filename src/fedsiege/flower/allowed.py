"""A grid without the nodes that are banned, so that they are not even drawn."""

from __future__ import annotations

import time
from collections.abc import Iterable

from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedsiege.flower.identity import Roster
from fedsiege.flower.outer_grid import OuterGrid

PATIENCE = 30.0
"""Seconds in which other clients may come before bans make up for them."""


class AllowedGrid(OuterGrid):
    """`grid` without banned nodes; whoever is listed is met, so a node that comes while others are waited for is known.

    Flower's strategies wait until as many nodes are connected as they ask for. Where bans leave fewer, banned nodes
    make up the number, connected or not, and messages to them are dropped afterwards, so that nobody waits for ever.
    At least one node must be there that is not banned, and clients that are away are waited for a while first.

    Parameters
    ----------
    grid : Grid
        All nodes.
    roster : Roster
        Who is who, and who is banned.
    least : int
        Number of nodes that is waited for.
    """

    def __init__(self, grid: Grid, roster: Roster, least: int = 1) -> None:
        super().__init__(grid)
        self.roster, self.least = roster, least
        self._until = time.monotonic() + PATIENCE

    def meet(self) -> list[NodeInfo]:
        """Take note of all connected nodes and return them."""
        online = list(self.grid.get_nodes())
        self.roster.meet({info.node_id: bytes(info.public_key) for info in online})
        return online

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the nodes that may be drawn."""
        return [info.node_id for info in self.get_nodes()]

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the nodes that may be drawn."""
        allowed = [info for info in self.meet() if not self.roster.is_banned(info.node_id)]
        missing = self.least - len(allowed)
        if missing <= 0:
            return allowed
        out, others = self.roster.banned_nodes(), self.roster.others
        may_come = len(allowed) < others and time.monotonic() < self._until
        if missing > len(out) or may_come or (others and not allowed):
            return allowed
        return allowed + [NodeInfo(node_id=node) for node in out[:missing]]


def grid_for(inner: Strategy, grid: Grid, roster: Roster, phase: str) -> AllowedGrid:
    """Return the grid from which `inner` may draw nodes.

    Parameters
    ----------
    inner : Strategy
        The wrapped strategy.
    grid : Grid
        All nodes.
    roster : Roster
        Who is who, and who is banned.
    phase : {"train", "evaluate"}
        What the nodes are drawn for.
    """
    least = max(getattr(inner, "min_available_nodes", 0), getattr(inner, f"min_{phase}_nodes", 0), 1)
    return AllowedGrid(grid, roster, least)
