"""Simulation grids in which a coalition of nodes rewrites its replies together before the server sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedsiege.flower.grid import LocalGrid
from fedsiege.flower.outer_grid import OuterGrid
from fedsiege.redteam.crew import Ask, Crew
from fedsiege.redteam.hostile import HOSTILE
from fedsiege.redteam.records import COUNT, arrays_key, is_training

Rewrite = Callable[[Sequence[Message], Sequence[Message], Ask | None], list[Message]]
"""Given the messages and replies of one exchange and a way to ask nodes: what reaches the server."""
Rewriter = Callable[[Sequence[int]], Rewrite]
"""Given the ids of all nodes in the order of client ids: how replies are rewritten."""


def coalition(
    attack: Any,
    places: Iterable[int],
    *,
    seed: int = 0,
    items: str | None = None,
    count_key: str | Callable[[], str] = COUNT,
) -> Rewriter:
    """Return how the nodes at `places` (client ids) rewrite their replies.

    Parameters
    ----------
    attack : Attack or str
        An attack, its name, or the name of a hostile upload of `fedsiege.redteam.hostile`.
    places : iterable of int
        Client ids of the malicious nodes: their places in the order of node ids.
    seed : int
        Address of the attacker's randomness.
    items : str, optional
        Name of the array that is a table of item embeddings.
    count_key : str or callable
        As of `Crew`.
    """
    chosen = sorted(set(places))

    def of(nodes: Sequence[int]) -> Rewrite:
        members = [nodes[place] for place in chosen if place < len(nodes)]
        if isinstance(attack, str) and attack in HOSTILE:
            spoil = HOSTILE[attack].spoil

            def spoilt(sent: Sequence[Message], replies: Sequence[Message], ask: Ask | None) -> list[Message]:
                hit = {id(r) for r in replies if r.metadata.src_node_id in members and is_training(r) and arrays_key(r)}
                key = count_key() if callable(count_key) else count_key
                return [spoil(r, key) if id(r) in hit else r for r in replies]

            return spoilt
        return Crew(attack, members, nodes, seed=seed, items=items, count_key=count_key).rewrite

    return of


class RedGrid(LocalGrid):
    """A `LocalGrid` with a coalition in it.

    Parameters
    ----------
    client, nodes, **options
        As of `LocalGrid`.
    red : callable, optional
        Made by `coalition`; None: all nodes are honest.
    """

    def __init__(self, client: Any, nodes: int | Sequence[int], *, red: Rewriter | None = None, **options: Any) -> None:
        super().__init__(client, nodes, **options)
        self.rewrite = red(self.nodes) if red is not None else None

    def ask(self, node: int, request: Message) -> Message | None:
        """Return what a node would reply to a copy of `request`; its state stays as it is."""
        content = RecordDict({key: record.copy() for key, record in request.content.items()})
        message = Message(content, node, request.metadata.message_type, group_id=request.metadata.group_id)
        message.metadata.__dict__["_message_id"] = f"asked-{node}"
        kept = deepcopy(self.contexts[node].state)
        try:
            return self.answer(message)
        finally:
            self.contexts[node].state = kept

    def deliver(self, sent: Sequence[Message], replies: list[Message]) -> list[Message]:
        """Let the coalition rewrite its replies."""
        return replies if self.rewrite is None else self.rewrite(sent, replies, self.ask)


class RedProxy(OuterGrid):
    """Another grid with a coalition behind it, such as the one of Flower's Simulation Engine.

    The attacker knows the members that a round has sampled; others cannot be asked. Only ``send_and_receive`` is
    rewritten, which is what Flower's strategies use.

    Parameters
    ----------
    grid : Grid
        The real grid.
    red : callable
        Made by `coalition`; client ids follow the order of node ids.
    """

    def __init__(self, grid: Grid, red: Rewriter) -> None:
        super().__init__(grid)
        self.red = red
        self.rewrite: Rewrite | None = None

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages; the coalition rewrites what has come back."""
        sent = list(messages)
        replies = list(self.grid.send_and_receive(sent, timeout=timeout))
        if self.rewrite is None:
            self.rewrite = self.red(sorted(self.grid.get_node_ids()))
        return self.rewrite(sent, replies, None)
