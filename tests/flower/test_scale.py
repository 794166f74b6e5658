"""Small updates of large weights, and what a server optimizer would make of an update."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi, Strategy

from fedsiege.defenses import Defense
from fedsiege.defenses.krum import Krum
from fedsiege.defenses.multi_krum import MultiKrum
from fedsiege.defenses.union import Union
from fedsiege.flower.layout import Layout, Values, to_record
from fedsiege.flower.stack import stack
from fedsiege.flower.strategy import DefendedStrategy
from fedsiege.flower.view import ServerView
from tests.conformance.catalogue import label
from tests.flower import bench
from tests.flower.bench import answer, averaging, one_round

SIZE, CLIENTS, BAD = 400, 14, 4


def krum_scores(updates: np.ndarray, byzantine: int) -> np.ndarray:
    """Sums of squared distances to the nearest n − f − 2 others, in float64 from differences."""
    n = len(updates)
    distances = np.array([[((a - b) ** 2).sum() for b in updates] for a in updates])
    return np.array([np.sort(np.delete(row, i))[: n - byzantine - 2].sum() for i, row in enumerate(distances)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=str)
@pytest.mark.parametrize("defense", [Krum(byzantine=BAD), MultiKrum(byzantine=BAD)], ids=label)
def test_krum_selects_what_float64_selects(defense: Defense, dtype: type) -> None:
    """100 random cases: weights of scale 1, updates of scale 1e-4, attackers a little farther off."""
    for case in range(100):
        rng = np.random.default_rng(case)
        weights = {"a": rng.normal(size=(SIZE, 3)).astype(dtype), "b": rng.normal(size=SIZE).astype(dtype)}
        sent: dict[int, Values] = {}
        for node in range(CLIENTS):
            spread = 1.15 if node < BAD else 1.0
            sent[1001 + node] = {
                k: (w + 1e-4 * spread * rng.normal(size=w.shape)).astype(dtype) for k, w in weights.items()
            }

        def client(message: Any, context: Any, sent: dict[int, Values] = sent) -> Any:
            return answer(message, sent[context.node_id])

        strategy = DefendedStrategy(averaging(), defense)
        one_round(strategy, bench.LocalGrid(client, CLIENTS), weights)
        chosen = {one["node"] for one in strategy.history[0]["uploads"] if one["accepted"]}
        exact = np.stack(
            [np.concatenate([(v[k].astype(float) - weights[k]).ravel() for k in weights]) for v in sent.values()]
        )
        order = np.argsort(krum_scores(exact, BAD), kind="stable")
        expected = {1001 + int(i) for i in order[: len(chosen)]}
        assert len(chosen) == (1 if isinstance(defense, Krum) else CLIENTS - BAD)
        assert chosen == expected, case


def test_float32_differences_are_those_of_float64_rounded_once() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=10_000).astype(np.float32)
    received = (weights + 1e-4 * rng.normal(size=10_000)).astype(np.float32)
    layout = Layout.of({"w": weights})
    got = stack(layout, {"w": weights}, [{"w": received}], [0], np.ones(1)).flat()[0]
    assert got.dtype == torch.float32
    exact = received.astype(np.float64) - weights.astype(np.float64)
    np.testing.assert_array_equal(got.numpy(), exact.astype(np.float32))


def test_rows_of_the_item_table_are_those_that_changed() -> None:
    table = np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32)
    first, second = table.copy(), table.copy()
    first[[2, 7]] += 1
    layout = Layout.of({"items": table}, "items")
    batch = stack(layout, {"items": table}, [{"items": first}, {"items": second}], [3, 5], np.ones(2))
    block = batch.blocks["items"]
    assert block.rows.tolist() == [2, 7]  # type: ignore[attr-defined]
    assert block.indptr.tolist() == [0, 2, 2]  # type: ignore[attr-defined]
    np.testing.assert_allclose(block.dense()[0].numpy(), first - table)


@pytest.mark.parametrize("make", [FedAvg, FedAvgM, FedAdam, FedYogi, FedAdagrad])
def test_a_look_ahead_is_the_step_that_the_strategy_then_takes(make: Any) -> None:
    """After two rounds, one upload alone: every row moves as it was told in advance."""
    extra = {"server_momentum": 0.9, "server_learning_rate": 0.5} if make is FedAvgM else {}
    inner: Strategy = make(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1, **extra)
    rng = np.random.default_rng(2)
    values: Values = {"head": rng.normal(size=3), "items": rng.normal(size=(6, 4))}
    strategy = DefendedStrategy(inner, "none", items="items")
    moves = iter([{k: 0.1 * rng.normal(size=v.shape) for k, v in values.items()} for _ in range(3)])

    def client(message: Any, context: Any) -> Any:
        now, step = bench.to_values(message.content["arrays"]), next(moves)
        seen.update(step)
        return answer(message, {k: v + step[k] for k, v in now.items()})

    seen: Values = {}
    told = np.empty(0)
    for round_ in (1, 2, 3):
        grid = bench.LocalGrid(client, 1)
        before = {k: v.copy() for k, v in values.items()}
        sent = list(strategy.configure_train(round_, to_record(values), bench.ConfigRecord(), grid))
        replies = grid.send_and_receive(sent)
        view = ServerView(values, strategy.server.layout, inner, round_)
        rows = np.array([5, 0, 3, 0])
        told = view.look_ahead("items", rows, seen["items"][rows])
        idle = view.look_ahead("items", rows, None)
        arrays, _ = strategy.aggregate_train(round_, replies)
        assert arrays is not None
        values = bench.to_values(arrays)
        np.testing.assert_allclose(told, (values["items"] - before["items"])[rows], rtol=1e-5, atol=1e-7)
        if round_ == 1:
            np.testing.assert_array_equal(idle, 0)
    assert np.abs(told).max() > 0


@pytest.mark.parametrize("base", [FedAvg, FedAdam])
def test_a_look_ahead_runs_no_code_of_the_users(base: Any) -> None:
    """A subclass that loads what it aggregates sees whole models, once a round; the defense judges as without it."""
    loaded: list[list[str]] = []

    class Loading(base):  # type: ignore[misc]
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            arrays, metrics = super().aggregate_train(server_round, replies)
            loaded.append(list(arrays))
            return arrays, metrics

    def loss(contents: Any, key: str) -> Any:
        return bench.MetricRecord({"loss": next(iter(contents[0].metric_records.values()))["loss"]})

    options = {"fraction_evaluate": 0.0, "min_train_nodes": 1, "min_available_nodes": 1}
    union = Union(samples=40, references=5)
    mine = bench.defended(union, Loading(**options, train_metrics_aggr_fn=loss))
    plain = bench.defended(union, base(**options))
    for strategy in (mine, plain):
        strategy.start(bench.without_hostile(), to_record(bench.model()), 2)
    assert loaded == [list(bench.model())] * 2
    assert not any(entry["failed"] for entry in mine.history), mine.history[0]["why"]
    scores = [[one["score"] for entry in strategy.history for one in entry["uploads"]] for strategy in (mine, plain)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-9)
