"""A strategy, a model of all dtypes and ten nodes, of which the last may send anything."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, Strategy

from fedsiege.defenses import Defense
from fedsiege.flower.grid import LocalGrid
from fedsiege.flower.layout import Values, to_record, to_values
from fedsiege.flower.strategy import DefendedStrategy
from fedsiege.learners.base import ModelView
from fedsiege.rng import generator
from fedsiege.updates import UpdateBatch
from tests.conformance.catalogue import DEFENSES

logging.getLogger("flwr").setLevel(logging.CRITICAL)

HONEST = [*range(1001, 1010)]
HOSTILE = 1010
"""The first node that may send anything; more follow."""
SERVED: list[Defense] = [d for d in DEFENSES if d.models == 1]
"""Every defense of the catalogue that a Flower server can run."""


def model(seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    return {
        "items": rng.normal(size=(12, 8)).astype(np.float32),
        "head": rng.normal(size=(8, 3)).astype(np.float32),
        "half": rng.normal(size=5).astype(np.float16),
        "double": rng.normal(size=(3, 2)),
        "zeros": np.zeros(4, np.float32),
        "scale": np.array(1.5, np.float32),
        "none": np.empty((0, 3), np.float32),
        "steps": np.array(7),
        "mask": np.array([True, False]),
    }


@cache
def _moves(node: int, round_: int) -> dict[str, np.ndarray]:
    common, own = generator(1, "common", round_), generator(1, "own", round_, node)
    shapes = {name: value.shape for name, value in model().items() if value.dtype.kind == "f"}
    return {n: np.asarray(0.02 * (common.normal(size=s) + own.normal(size=s))) for n, s in shapes.items()}


def honest(values: Mapping[str, np.ndarray], node: int, round_: int) -> Values:
    """What an honest node makes of a model: a common move and one of its own; buffers change too."""
    moves, out = _moves(node, round_), {}
    for name, value in values.items():
        if name in moves:
            out[name] = np.asarray(value + moves[name], value.dtype)
        else:
            out[name] = value if value.dtype == bool else np.asarray(value + 1, value.dtype)
    return out


def answer(message: Message, values: Values, count: float = 10.0) -> Message:
    metrics = MetricRecord({"num-examples": count, "loss": 1.0})
    return Message(RecordDict({"arrays": to_record(values), "metrics": metrics}), reply_to=message)


_KEPT: dict[tuple[Any, ...], tuple[Values, ArrayRecord]] = {}


def trained(arrays: ArrayRecord, node: int, round_: int) -> tuple[Values, ArrayRecord]:
    """`honest` of a model that has travelled, and the same as a record: worked out once, to be read and not written."""
    key = (node, round_, *arrays, *(array.data for array in arrays.values()))
    if key not in _KEPT:
        values = honest(to_values(arrays), node, round_)
        for value in values.values():
            value.flags.writeable = False
        _KEPT[key] = values, to_record(values)
    return _KEPT[key]


def client(message: Message, context: Context) -> Message:
    """The app of an honest node."""
    round_ = int(message.content["config"]["server-round"])
    if message.metadata.message_type == "evaluate":
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 5, "accuracy": 0.5})}), reply_to=message)
    metrics = MetricRecord({"num-examples": 5.0 + context.node_id % 7, "loss": 1.0})
    arrays = trained(message.content["arrays"], context.node_id, round_)[1]
    return Message(RecordDict({"arrays": arrays.copy(), "metrics": metrics}), reply_to=message)


class Task:
    """Training on distilled knowledge of two of the model's arrays."""

    def knowledge(self, count: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        inputs = torch.from_numpy(rng.standard_normal((count, 8), np.float32))
        return {"inputs": inputs, "labels": torch.zeros(count, 3)}

    def problem(self, view: ModelView, upload: UpdateBatch) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        names = ("items", "head")
        return {n: view.param(n) for n in names}, {n: upload.blocks[n].dense()[0] for n in names}

    def loss(self, params: Mapping[str, torch.Tensor], knowledge: Mapping[str, torch.Tensor]) -> torch.Tensor:
        inputs = knowledge["inputs"]
        found = inputs + (inputs @ params["items"].T).softmax(-1) @ params["items"]
        return -(knowledge["labels"].softmax(-1) * (found @ params["head"]).log_softmax(-1)).mean()


def root(arrays: ArrayRecord, samples: int) -> ArrayRecord:
    """The server's own training."""
    return to_record(honest(to_values(arrays), 0, 1))


def averaging(**options: Any) -> FedAvg:
    return FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1, **options)


def defended(defense: Defense, inner: Strategy | None = None, **options: Any) -> DefendedStrategy:
    """A strategy with whatever its defense needs handed over."""
    given: dict[str, Any] = {"client_half": True}
    if "items" in defense.needs:
        given["items"] = "items"
    if "root" in defense.needs:
        given["root"] = root
    if "virtual" in defense.needs:
        given["virtual"] = Task()
    return DefendedStrategy(averaging() if inner is None else inner, defense, **{**given, **options})


Spoil = Callable[[int, Message, Values], list[Message]]
"""Given the round, the message and what an honest node would make of it: the replies."""


class HostileGrid(LocalGrid):
    """Honest nodes, and behind them one node for each of `spoils`, which writes its replies."""

    def __init__(self, *spoils: Spoil, **options: Any) -> None:
        super().__init__(client, [*HONEST, *range(HOSTILE, HOSTILE + len(spoils))], **options)
        self.spoils = spoils

    def answer(self, message: Message) -> Message | None:
        return super().answer(message) if message.metadata.dst_node_id < HOSTILE else None

    def deliver(self, sent: Any, replies: list[Message]) -> list[Message]:
        out = list(replies)
        for message in sent:
            node = message.metadata.dst_node_id
            if node >= HOSTILE:
                round_ = int(message.content["config"]["server-round"])
                values, _ = trained(message.content["arrays"], node, round_)
                out += self.spoils[node - HOSTILE](round_, message, values)
        return out


def without_hostile() -> LocalGrid:
    return LocalGrid(client, HONEST)


def one_round(strategy: DefendedStrategy, grid: LocalGrid, values: Values, round_: int = 1) -> Values | None:
    """Run one training round by hand; return the new model, None if there is none."""
    config = ConfigRecord()
    sent = list(strategy.configure_train(round_, to_record(values), config, grid))
    arrays, _ = strategy.aggregate_train(round_, grid.send_and_receive(sent))
    return None if arrays is None else to_values(arrays)


def same(left: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> bool:
    """Tell whether two models are equal bit for bit."""
    return list(left) == list(right) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(left.values(), right.values())
    )


def finite(values: Mapping[str, np.ndarray]) -> bool:
    return all(np.isfinite(v).all() for v in values.values() if v.dtype.kind == "f")
