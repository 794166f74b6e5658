"""A Flower grid inside one process: the ServerApp's messages go straight to a ClientApp, in seconds and offline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Context, Error, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedsiege.rng import generator

Client = Callable[[Message, Context], Message]
"""A ClientApp, or a function with its signature."""

SERVER = 1
"""Node id of the server."""
FAILED = 2
"""Code of an error reply: the client has raised an exception."""


class LocalGrid(Grid):
    """A grid whose nodes are calls of `client` in this process, one after another.

    A client that raises gives an error reply, as on a real SuperNode. Replies come in an order drawn anew for each
    call, as a real grid promises none. Subclass and override `deliver` to rewrite replies before the server sees
    them.

    Parameters
    ----------
    client : callable
        The ClientApp that every node runs.
    nodes : int or sequence of int
        Number of nodes (ids from 1001, in the order of partitions), or their ids.
    keys : mapping of int to bytes, optional
        Public keys of authenticated nodes, by node id.
    run_config : mapping, optional
        Run configuration that clients see.
    node_config : callable, optional
        Given a partition, its node configuration; default ``partition-id`` and ``num-partitions``.
    seed : int
        Address of the order of replies.
    """

    def __init__(
        self,
        client: Client,
        nodes: int | Sequence[int],
        *,
        keys: Mapping[int, bytes] | None = None,
        run_config: Mapping[str, Any] | None = None,
        node_config: Callable[[int], dict[str, Any]] | None = None,
        seed: int = 0,
    ) -> None:
        self.client, self.seed = client, seed
        self.nodes = list(range(1001, 1001 + nodes)) if isinstance(nodes, int) else [int(node) for node in nodes]
        self.keys = dict(keys or {})
        self._run = Run.create_empty(1)
        # Messages take these from the process; a SuperLink would have set them.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, SERVER, 1
        config = node_config or (lambda p: {"partition-id": p, "num-partitions": len(self.nodes)})
        self.contexts = {
            node: Context(1, node, config(place), RecordDict(), dict(run_config or {}))
            for place, node in enumerate(self.nodes)
        }
        self._sent = self._exchanges = 0
        self._waiting: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """Information about the run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes."""
        return list(self.nodes)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return all nodes with their public keys."""
        return [NodeInfo(node_id=node, public_key=self.keys.get(node, b"")) for node in self.nodes]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Run the clients; their replies wait to be pulled."""
        sent = list(messages)
        replies: list[Message] = []
        for message in sent:
            self._sent += 1
            message.metadata.__dict__["_message_id"] = f"m{self._sent}"
            reply = self.answer(message)
            if reply is not None:
                replies.append(reply)
        self._exchanges += 1
        for place, reply in enumerate(self.deliver(sent, replies)):
            reply.metadata.__dict__["_message_id"] = f"r{self._exchanges}.{place}"
            self._waiting[reply.metadata.message_id] = reply
        return [message.metadata.message_id for message in sent]

    def answer(self, message: Message) -> Message | None:
        """Return the reply of one node; None if it never replies."""
        node = message.metadata.dst_node_id
        if node not in self.contexts:
            return None
        # Records of its own, as if they had travelled: a client may change what it has received.
        content = RecordDict({key: record.copy() for key, record in message.content.items()})
        mine = Message(content, metadata=message.metadata)  # type: ignore[call-overload]
        try:
            return self.client(mine, self.contexts[node])
        except Exception as error:
            return Message(Error(FAILED, f"{type(error).__name__}: {error}"), reply_to=message)

    def deliver(self, sent: Sequence[Message], replies: list[Message]) -> list[Message]:
        """Return what reaches the server of the `replies` (in the order of `sent`) to one exchange."""
        return replies

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the waiting replies to the given messages."""
        wanted = set(message_ids)
        found = {k: m for k, m in self._waiting.items() if m.metadata.reply_to_message_id in wanted}
        for key in found:
            del self._waiting[key]
        return list(found.values())

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send `messages` and return whatever has come back, in no particular order."""
        self.push_messages(messages)
        replies = list(self._waiting.values())
        self._waiting.clear()
        order = generator(self.seed, "replies", self._exchanges).permutation(len(replies))
        return [replies[place] for place in np.asarray(order)]
