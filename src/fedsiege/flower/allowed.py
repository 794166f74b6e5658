"""A grid without the nodes that are banned, so that they are not even drawn."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedsiege.flower.outer_grid import OuterGrid


class AllowedGrid(OuterGrid):
    """`grid` as it would be without the nodes in `banned`."""

    def __init__(self, grid: Grid, banned: Iterable[int]) -> None:
        super().__init__(grid)
        self.banned = frozenset(banned)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of nodes that are not banned."""
        return [node for node in self.grid.get_node_ids() if node not in self.banned]

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the nodes that are not banned."""
        return [node for node in self.grid.get_nodes() if node.node_id not in self.banned]


def grid_for(inner: Strategy, grid: Grid, banned: Iterable[int], phase: str) -> Grid:
    """Return the grid from which `inner` may draw nodes.

    Flower's strategies wait until as many nodes are connected as they ask for. Where bans leave fewer, they draw from
    all, and messages to banned nodes are dropped afterwards, so that nobody waits for ever.

    Parameters
    ----------
    inner : Strategy
        The wrapped strategy.
    grid : Grid
        All nodes.
    banned : iterable of int
        Nodes that are banned.
    phase : {"train", "evaluate"}
        What the nodes are drawn for.
    """
    out = frozenset(banned)
    if not out:
        return grid
    left = AllowedGrid(grid, out)
    least = max(getattr(inner, "min_available_nodes", 0), getattr(inner, f"min_{phase}_nodes", 0))
    return left if len(list(left.get_node_ids())) >= max(least, 1) else grid
