"""One federation twice: in the native simulator, and as the uploads that nodes of a Flower grid send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from fedsiege.attacks import Attack
from fedsiege.defenses import Defense
from fedsiege.federation.groups import Part
from fedsiege.federation.loop import Federation, FederationConfig
from fedsiege.federation.server import ServerConfig
from fedsiege.flower.grid import LocalGrid
from fedsiege.flower.layout import Values, to_record, to_values
from fedsiege.learners.base import Learner
from fedsiege.updates import UpdateBatch
from tests.pictures import pictures

SERVER = ServerConfig("sgd", 1.0)
"""The server adds the aggregate, as Flower's FedAvg does."""


def classifier() -> Learner:
    """Eleven clients with a few pictures each and a small network."""
    from fedsiege.learners.mlp import MLPConfig

    sizes = (14, 12, 15, 13, 16, 12, 14, 15, 13, 12, 14)
    return MLPConfig(together="never", batch=8, hidden=(6,)).build(pictures(sizes), "fair", 0)  # type: ignore[arg-type]


def recommender(l2: float = 1e-5) -> Learner:
    """Thirty users of a small catalog, and matrix factorisation."""
    from fedsiege.arena.data import load_dataset
    from fedsiege.learners.mf import MFConfig
    from tests.small import small

    config = small(dataset={"name": "synthetic", "users": 30, "items": 80, "interactions": 600})
    return MFConfig(dim=8, l2=l2).build(load_dataset(config.dataset, 0), "fair", 0)


def config(rounds: int = 5, malicious: float = 0.25) -> FederationConfig:
    return FederationConfig(
        rounds=rounds, cohort=1.0, malicious=malicious, reserved=0.0, evaluate_every=1000, project_every=0
    )


class Native(Federation):
    """The simulator, which keeps the last round's decision."""

    part: Part

    def _round(self, group: int, cohort: np.ndarray, round_: int) -> Part:
        self.part = super()._round(group, cohort, round_)
        return self.part

    def evaluate(self) -> dict[str, dict[str, float]]:
        return {}


class Uploads(Federation):
    """The same federation without its server: what clients send, given a model."""

    def put(self, values: Values) -> None:
        for name, param in self.model.plain.items():
            param.copy_(torch.from_numpy(values[name]))

    def uploads(self, cohort: np.ndarray, round_: int) -> UpdateBatch:
        """Return what the clients of `cohort` upload, attack included."""
        bad = self.is_malicious[cohort]
        trained = self._train(self.model, cohort, bad, round_)
        view = self._view(self.model, round_, self.size)
        updates = self._attack(self.model, trained.updates, bad, view) if bad.any() else trained.updates
        trained.commit()
        return updates


def echo(message: Message, context: Context) -> Message:
    """A client that sends back what it gets; the grid puts the uploads in."""
    metrics = MetricRecord({"num-examples": 1.0})
    return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)


class FederationGrid(LocalGrid):
    """Nodes that upload what the clients of a federation would, node 1001 + i being client i."""

    def __init__(self, world: Uploads) -> None:
        super().__init__(echo, world.learner.num_clients)
        self.world = world

    def deliver(self, sent: Sequence[Message], replies: list[Message]) -> list[Message]:
        if not sent or sent[0].metadata.message_type != "train":
            return replies
        values = to_values(sent[0].content["arrays"])
        self.world.put(values)
        cohort = np.sort([message.metadata.dst_node_id - 1001 for message in sent])
        updates = self.world.uploads(cohort, int(sent[0].content["config"]["server-round"]))
        dense = {name: block.dense().numpy() for name, block in updates.blocks.items()}
        for reply in replies:
            place = int(np.searchsorted(cohort, reply.metadata.src_node_id - 1001))
            # float32, as a client would send it.
            mine = {name: (values[name] + dense[name][place]).astype(np.float32) for name in values}
            reply.content = RecordDict(
                {
                    "arrays": to_record(mine),
                    "metrics": MetricRecord({"num-examples": float(updates.counts[place])}),
                }
            )
        return replies


def initial(learner: Learner) -> ArrayRecord:
    return to_record({name: value.numpy().copy() for name, value in learner.init().items()})


def pair(make: Any, attack: Attack, defense: Defense, malicious: float = 0.25) -> tuple[Native, FederationGrid]:
    """Return the same federation in the simulator and as a grid; `make` makes its learner."""
    native = Native(make(), attack, defense, config(malicious=malicious), SERVER, 0)
    return native, FederationGrid(Uploads(make(), attack, defense, config(malicious=malicious), SERVER, 0))


def plain_fedavg(nodes: int = 2) -> FedAvg:
    return FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
