"""A grid without the nodes that are banned, so that they are not even drawn."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore.run import Run


class AllowedGrid(Grid):
    """`grid` as it would be without the nodes in `banned`."""

    def __init__(self, grid: Grid, banned: Iterable[int]) -> None:
        self.grid, self.banned = grid, frozenset(banned)

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self.grid.set_run(run)

    @property
    def run(self) -> Run:
        """Information about the run."""
        return self.grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message to a node."""
        return self.grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of nodes that are not banned."""
        return [node for node in self.grid.get_node_ids() if node not in self.banned]

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the nodes that are not banned."""
        return [node for node in self.grid.get_nodes() if node.node_id not in self.banned]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages."""
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return replies."""
        return self.grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages and wait for replies."""
        return self.grid.send_and_receive(messages, timeout=timeout)


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
