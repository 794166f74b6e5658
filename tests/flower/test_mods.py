"""The client halves as mods give what the native simulator's clients upload."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedsiege.defenses import Defense
from fedsiege.defenses.compose import Pipeline
from fedsiege.defenses.fl_wbc import FLWBC
from fedsiege.defenses.median import Median
from fedsiege.defenses.multi_krum import MultiKrum
from fedsiege.defenses.union import Union
from fedsiege.defenses.union_memory import UnionMemory
from fedsiege.errors import ConfigError
from fedsiege.federation.server import ServerConfig, ServerModel
from fedsiege.flower.layout import Values, to_record, to_values
from fedsiege.flower.mods import task_direction, union_mod, wbc_mod
from fedsiege.learners.base import Job
from fedsiege.learners.contrastive import ContrastiveTask
from fedsiege.updates import BlockSpec, DenseBlock, ModelSpec, UpdateBatch
from tests.conformance.catalogue import label
from tests.flower import bench
from tests.flower.federations import recommender
from tests.worlds import StaticModel

ROUND = 3
# The native L2 term covers the rows that the task draws; an app's own covers what the app touches. Here it is off.


class App:
    """A ClientApp around the native matrix factorisation: node 1001 + i is user i, one gradient a round."""

    def __init__(self, *mods: Any) -> None:
        self.learner: Any = recommender(l2=0.0)
        self.learner.init()
        self.app = ClientApp()
        self.calls = 0

        @self.app.train(mods=list(mods))
        def train(message: Message, context: Context) -> Message:
            self.calls += 1
            values = to_values(message.content["arrays"])
            user = np.array([context.node_id - 1001])
            model = StaticModel({"items": torch.from_numpy(values["items"])})
            updates = self.learner.train(model, Job(user, ROUND, commit=False)).updates
            table = values["items"] + updates.blocks["items"].dense()[0].numpy()
            return bench.answer(message, {"items": table})

        @self.app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            return Message(message.content, reply_to=message)

    def uploads(self, values: Values, users: int) -> np.ndarray:
        """What the first users upload, minus the model."""
        grid = bench.LocalGrid(self.app, users)
        sent = [
            Message(
                bench.RecordDict({"arrays": to_record(values), "config": bench.ConfigRecord({"server-round": ROUND})}),
                node,
                "train",
            )
            for node in grid.nodes
        ]
        replies = sorted(grid.send_and_receive(sent), key=lambda r: r.metadata.src_node_id)
        assert not any(reply.has_error() for reply in replies), [r.error for r in replies if r.has_error()]
        return np.stack([to_values(r.content["arrays"])["items"] - values["items"] for r in replies])


def start() -> tuple[Any, Values, ServerModel]:
    learner: Any = recommender(l2=0.0)
    model = ServerModel(learner.spec, learner.init(), ServerConfig("sgd", 1.0))
    return learner, {"items": model.param("items").numpy().copy()}, model


def seen(context: Context) -> dict[int, np.ndarray]:
    store = recommender(l2=0.0).store  # type: ignore[attr-defined]
    user = context.node_id - 1001
    return {user: store.items[store.indptr[user] : store.indptr[user + 1]]}


@pytest.mark.parametrize(
    "defense", [Union(alpha=0.7), UnionMemory(negatives=4), Pipeline((Union(), MultiKrum()))], ids=label
)
def test_unions_task(defense: Defense) -> None:
    learner, values, model = start()
    half = defense.client_half()
    assert half is not None
    job = Job(np.arange(5), ROUND, half.task, np.ones(5, bool), commit=False)
    expected = learner.train(model, job).updates.blocks["items"].dense().numpy()
    got = App(union_mod(defense, "items", seen, seed=0)).uploads(values, 5)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=2e-7)
    without = App().uploads(values, 5)
    assert np.abs(got - without).max() > 1e-4


def test_users_of_a_node_add_up_and_the_step_size_scales() -> None:
    def both(context: Context) -> dict[int, np.ndarray]:
        store = recommender(l2=0.0).store  # type: ignore[attr-defined]
        return {u: store.items[store.indptr[u] : store.indptr[u + 1]] for u in (0, 1)}

    _, values, _ = start()
    defense = Union()
    plain = App().uploads(values, 2)
    single = App(union_mod(defense, "items", seen, seed=0)).uploads(values, 2) - plain
    joint = App(union_mod(defense, "items", both, seed=0, lr=0.5)).uploads(values, 1)[0] - plain[0]
    np.testing.assert_allclose(joint, 0.5 * single.sum(0), rtol=1e-3, atol=3e-7)


@pytest.mark.parametrize("wrong", [[3, 80], [-1, 3], [2.0, 3.5], [True, False]], ids=str)
def test_items_outside_the_table_are_refused_before_anything_is_computed(wrong: list[Any]) -> None:
    """Ids that count from 1 are the likely slip: the last one would be written beyond the table."""
    task = ContrastiveTask()
    said = r"user 7 has seen item (80|-1), but table 'items' has 80 rows: ids count from 0|items of user 7 as integers"
    with pytest.raises(ConfigError, match=said):
        task_direction(task, np.zeros((80, 4), np.float32), {1: np.array([0, 79]), 7: wrong}, 0, 1)  # type: ignore[dict-item]


def test_an_item_that_is_listed_twice_counts_once_and_the_order_stays() -> None:
    table = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
    once = task_direction(ContrastiveTask(), table, {1: np.array([9, 4, 70]), 2: np.array([], float)}, 0, 1)
    twice = task_direction(ContrastiveTask(), table, {1: np.array([9, 4, 9, 70, 4]), 2: np.array([], int)}, 0, 1)
    np.testing.assert_array_equal(twice, once)
    assert np.abs(once).max() > 0


def test_fl_wbcs_noise() -> None:
    """On the rows that an upload touches, where the next step of the same client differs by less than the noise."""
    learner, values, model = start()
    half = FLWBC().client_half()
    users = np.arange(4)
    mine = learner.train(model, Job(users, ROUND, commit=False)).updates
    ahead = learner.train(model, Job(users, ROUND, commit=False, start=mine)).updates
    app = App(wbc_mod(FLWBC(), items="items", seed=0))
    got = app.uploads(values, 4)
    assert app.calls == 8
    for user in range(4):
        # The mod's noise is addressed by node.
        one, two = mine.select(np.array([user])), ahead.select(np.array([user]))
        here = UpdateBatch(np.array([1001 + user]), one.counts, one.blocks)
        expected = half.transform(here, two, 0, ROUND).blocks["items"].dense()[0].numpy()
        np.testing.assert_allclose(got[user], expected, rtol=1e-3, atol=3e-7)
    assert np.abs(got - mine.blocks["items"].dense().numpy()).max() > 1e-4


def test_fl_wbc_leaves_no_trace_of_the_second_run() -> None:
    def train(message: Message, context: Context) -> Message:
        runs = int(context.state["runs"]["n"]) if "runs" in context.state else 0  # type: ignore[index, arg-type]
        context.state["runs"] = bench.MetricRecord({"n": runs + 1})
        values = to_values(message.content["arrays"])
        return bench.answer(message, {**values, "w": values["w"] + np.float32(0.1 * (runs + 1)), "n": values["n"] + 1})

    app = ClientApp(mods=[wbc_mod(FLWBC(scale=10.0), seed=1)])
    app.train()(train)
    grid = bench.LocalGrid(app, 1)
    values = {"w": np.ones(50, np.float32), "n": np.array(3)}
    config = bench.ConfigRecord({"server-round": 1})
    sent = [Message(bench.RecordDict({"arrays": to_record(values), "config": config}), 1001, "train")]
    (reply,) = grid.send_and_receive(sent)
    assert grid.contexts[1001].state["runs"]["n"] == 1
    got = to_values(reply.content["arrays"])
    assert got["n"] == 4
    # Steps of 0.1 and 0.2: noise appears where it is at least their difference.
    noise = got["w"] - np.float32(1.1)
    spec = ModelSpec((BlockSpec("w", (50,)),))
    block = lambda x: UpdateBatch(np.array([1001]), np.ones(1), {"w": DenseBlock(torch.full((1, 50), x))})  # noqa: E731
    block(0.1).check(spec)
    expected = FLWBC(scale=10.0).client_half().transform(block(0.1), block(0.2), 1, 1).blocks["w"].dense()[0].numpy()
    np.testing.assert_allclose(noise, expected - 0.1, atol=1e-5)
    assert ((np.abs(noise) < 1e-6) | (np.abs(noise) >= 0.1 - 1e-5)).all()
    assert (np.abs(noise) > 0.1).any()


def test_other_messages_pass_and_wrong_defenses_are_refused() -> None:
    app = App(wbc_mod(FLWBC()))
    grid = bench.LocalGrid(app.app, 1)
    content = bench.RecordDict({"arrays": to_record({"items": np.ones((2, 2))})})
    (reply,) = grid.send_and_receive([Message(content, 1001, "evaluate")])
    assert not reply.has_error()
    with pytest.raises(ConfigError, match="'median' asks nothing of clients"):
        union_mod(Median(), "items", seen)
    with pytest.raises(ConfigError, match="'fl-wbc' asks clients for no extra task"):
        union_mod(FLWBC(), "items", seen)
    with pytest.raises(ConfigError, match="'union' transforms no uploads"):
        wbc_mod(Union())
