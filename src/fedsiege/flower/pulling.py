"""Replies fetched one at a time, so that one that Flower cannot read costs its sender's upload and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterable

import httpx
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedsiege.errors import UploadError
from fedsiege.flower.grid import LocalGrid
from fedsiege.flower.outer_grid import OuterGrid

PAUSE = 3.0
"""Seconds between two looks for replies where a grid does not say; Flower's own choice."""


class Unreadable(Message):
    """Stands for a reply that cannot be had; whoever looks into it is told why (UploadError).

    Parameters
    ----------
    asked : Message
        The message that its node was sent.
    why : str
        What is wrong.
    """

    def __init__(self, asked: Message, why: str) -> None:
        super().__init__(RecordDict(), reply_to=asked)
        self.__dict__["why"] = why

    @property  # type: ignore[misc]
    def content(self) -> RecordDict:
        """Nothing: raises UploadError."""
        raise UploadError(self.__dict__["why"])


class CarefulGrid(OuterGrid):
    """`grid`, whose replies are objects that nodes have made: each is fetched by itself.

    Flower fetches all that have come and stops the run if one of them cannot be made a message of; the others are lost.
    It also takes a message's word for who sent it, though only the node that was asked can answer.
    """

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages and wait for replies."""
        sent = list(messages)
        pushed = set(self.grid.push_messages(sent))
        waiting = [message for message in sent if message.metadata.message_id in pushed]
        end = None if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while waiting and (end is None or time.monotonic() < end):
            began, missing = time.monotonic(), []
            for message in waiting:
                found = self._pull(message)
                replies += found
                missing += [] if found else [message]
            waiting = missing
            if waiting:
                # A look at many takes a while: half of the time is the SuperLink's own.
                time.sleep(max(getattr(self.grid, "pull_interval", PAUSE), time.monotonic() - began))
        return replies

    def _pull(self, asked: Message) -> list[Message]:
        """Return the reply to one message, if it has come."""
        node = asked.metadata.dst_node_id
        try:
            found = list(self.grid.pull_messages([asked.metadata.message_id]))
        except (httpx.TransportError, OSError):
            raise
        except Exception as error:
            # A SuperLink that answers nobody is no node's doing, and shows here as well.
            list(self.grid.get_node_ids())
            return [Unreadable(asked, f"unreadable ({type(error).__name__})")]
        return [
            reply
            if reply.has_error() or reply.metadata.src_node_id == node
            else Unreadable(asked, f"it says that node {reply.metadata.src_node_id} has sent it")
            for reply in found
        ]


def careful(grid: Grid) -> Grid:
    """Return a grid that survives what nodes send; grids of this package make their replies in this process."""
    return grid if isinstance(grid, LocalGrid | OuterGrid) else CarefulGrid(grid)
