"""A coalition of malicious nodes: it sees its members' honest replies and rewrites them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import Message

from fedsiege.attacks.base import Attack, AttackView
from fedsiege.errors import KnowledgeError
from fedsiege.flower.layout import Layout, Values
from fedsiege.flower.stack import stack, working_dtype
from fedsiege.learners.base import ItemTask, State
from fedsiege.redteam.choose import attack_of, check_suited
from fedsiege.redteam.records import COUNT, arrays_key, count_of, is_training, rewritten, values_of
from fedsiege.rng import generator
from fedsiege.updates import UpdateBatch

Ask = Callable[[int, Message], Message | None]
"""What a node would reply honestly to a message: called with the node's id."""


class SentModel:
    """The model that the server has sent, as a `ModelView`."""

    def __init__(self, values: Mapping[str, np.ndarray], layout: Layout) -> None:
        self.values, self.layout = dict(values), layout

    def param(self, name: str) -> torch.Tensor:
        """Return a learnt array as float32 or float64."""
        return torch.from_numpy(np.array(self.values[name], working_dtype(self.layout.by_name[name])))

    def table(self, name: str, rows: np.ndarray | None = None) -> torch.Tensor:
        """Return a whole table."""
        return self.param(name)


def no_task(clients: np.ndarray, task: ItemTask) -> UpdateBatch:
    """Refuse: an app's training loop takes no extra objective."""
    raise KnowledgeError("a Flower app trains as it does; an attack cannot give it an objective of its own")


@dataclass(frozen=True)
class Exchange:
    """One training exchange as the attacker reads it.

    Parameters
    ----------
    layout : Layout
        The model's arrays.
    model : mapping of str to numpy.ndarray
        The model sent to the malicious nodes.
    mine, others : list of Message
        Honest replies of malicious and of benign nodes, by node id, ascending.
    request : Message
        A message that a malicious node has received.
    round : int
        Number of the round, from 1.
    """

    layout: Layout
    model: Values
    mine: list[Message]
    others: list[Message]
    request: Message
    round: int


class Crew:
    """The malicious nodes of a federation and the attack that they mount together.

    Parameters
    ----------
    attack : Attack or str
        The attack, or its name (defaults).
    members : iterable of int
        Ids of the malicious nodes.
    nodes : sequence of int
        Ids of all nodes; a node's place in it is its client id, as attacks see it.
    seed : int
        Address of the attacker's randomness.
    items : str, optional
        Name of the array that is a table of item embeddings.
    count_key : str or callable
        Metric that declares sample counts, or what tells it once the first round is under way.

    Raises
    ------
    ConfigError
        If the attack cannot be mounted on uploads, or a member is no node.
    """

    def __init__(
        self,
        attack: Attack | str,
        members: Sequence[int],
        nodes: Sequence[int],
        *,
        seed: int = 0,
        items: str | None = None,
        count_key: str | Callable[[], str] = COUNT,
    ) -> None:
        self.attack = attack_of(attack)
        check_suited(self.attack, items)
        self.nodes = list(nodes)
        self.members = sorted(set(members) & set(nodes))
        self.seed, self.items, self._count_key = seed, items, count_key
        self.ids = {node: place for place, node in enumerate(self.nodes)}
        self.state: State | None = None
        self.rounds = 0

    @property
    def count_key(self) -> str:
        """The metric that declares sample counts."""
        return self._count_key() if callable(self._count_key) else self._count_key

    def rewrite(self, sent: Sequence[Message], replies: Sequence[Message], ask: Ask | None = None) -> list[Message]:
        """Return the replies of one exchange with those of the coalition replaced, in the same order.

        Exchanges other than training, and members that reply with an error or without a model, stay as they are.

        Parameters
        ----------
        sent, replies : sequence of Message
            The exchange.
        ask : callable, optional
            Trains members that were not sampled, as an attack may wish to know; None: the attacker knows only the
            members that were.
        """
        found = self._read(sent, replies)
        if found is None:
            return list(replies)
        uploads = self._batch(found, found.mine)
        if self.state is None:
            self.state = self.attack.init(found.layout.spec, generator(self.seed, "attack-init"))
        view = self._view(found, uploads, ask)
        crafted, self.state = self.attack.step(uploads, self.state, view)
        if crafted is uploads:
            return list(replies)
        crafted.check(found.layout.spec)
        made = {}
        for place, reply in enumerate(found.mine):
            honest = values_of(reply) or {}
            one = {name: block.select(np.array([place])) for name, block in crafted.blocks.items()}
            moved = found.layout.step(found.model, one)
            values = {n: moved[n] if found.layout.by_name[n].learnt else honest[n] for n in honest}
            count = float(crafted.counts[place]) if crafted.counts[place] != uploads.counts[place] else None
            made[id(reply)] = rewritten(reply, values, count, self.count_key)
        return [made.get(id(reply), reply) for reply in replies]

    def _read(self, sent: Sequence[Message], replies: Sequence[Message]) -> Exchange | None:
        """Return the exchange as the attacker reads it; None if there is nothing to rewrite."""
        requests = {m.metadata.dst_node_id: m for m in sent if is_training(m) and arrays_key(m) is not None}
        asked = [node for node in self.members if node in requests]
        if not asked:
            return None
        self.rounds += 1
        model = values_of(requests[asked[0]])
        assert model is not None
        layout = Layout.of(model, self.items)
        usable = [r for r in replies if r.metadata.src_node_id in requests and fits(r, layout)]
        usable.sort(key=lambda r: self.ids.get(r.metadata.src_node_id, -1))
        mine = [r for r in usable if r.metadata.src_node_id in self.members]
        others = [r for r in usable if r.metadata.src_node_id not in self.members]
        return Exchange(layout, model, mine, others, requests[asked[0]], self.rounds) if mine else None

    def _batch(self, found: Exchange, replies: Sequence[Message]) -> UpdateBatch:
        """Return replies as updates under their client ids."""
        received = [values_of(r) or {} for r in replies]
        clients = [self.ids[r.metadata.src_node_id] for r in replies]
        counts = np.array([count_of(r, self.count_key) for r in replies], np.float64)
        return stack(found.layout, found.model, received, clients, counts)

    def _view(self, found: Exchange, own: UpdateBatch, ask: Ask | None) -> AttackView:
        coalition = own.clients if ask is None else np.array([self.ids[node] for node in self.members], np.int64)
        known: dict[int, Message] = {self.ids[r.metadata.src_node_id]: r for r in found.mine}

        def honest(clients: np.ndarray) -> UpdateBatch:
            for client in clients.tolist():
                if client not in known:
                    assert ask is not None
                    reply = ask(self.nodes[client], found.request)
                    if reply is not None and fits(reply, found.layout):
                        known[client] = reply
            return self._batch(found, [known[c] for c in clients.tolist() if c in known])

        return AttackView(
            self.attack.knowledge,
            found.layout.spec,
            self.seed,
            found.round,
            len(found.mine) + len(found.others),
            coalition,
            own.clients,
            SentModel(found.model, found.layout),
            honest,
            no_task,
            lambda: self._batch(found, found.others),
        )


def fits(reply: Message, layout: Layout) -> bool:
    """Tell whether a reply carries a model with exactly the arrays of `layout`."""
    values = values_of(reply) if reply.has_content() else None
    return values is not None and {i.name: i.shape for i in layout.arrays} == {n: v.shape for n, v in values.items()}
