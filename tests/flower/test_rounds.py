"""Who is asked, who is heard and who is banned; and what a restarted server still knows."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi, Strategy

from fedsiege.defenses.base import DefenseBase, DefenseView, Outcome, Verdicts
from fedsiege.defenses.fl_detector import FLDetector
from fedsiege.defenses.krum import Krum
from fedsiege.defenses.median import Median
from fedsiege.defenses.multi_krum import MultiKrum
from fedsiege.defenses.none import FedAvg as Mean
from fedsiege.defenses.redefense import FedREDefense
from fedsiege.errors import ConfigError, RunError
from fedsiege.flower.counts import SampleCap
from fedsiege.flower.layout import Values, to_record, to_values
from fedsiege.flower.strategy import DefendedStrategy
from fedsiege.redteam.audit.cell import counted
from fedsiege.updates import UpdateBatch
from tests.flower import bench
from tests.flower.bench import HOSTILE, HostileGrid, answer, averaging, defended, honest, model, one_round, same

STRICT = FedREDefense(gamma=0.5, input_lr=1e-3, label_lr=1e-3, virtual_lr=1e-4, rate_lr=1e-12, first=1, workers=1)
"""Expels everybody, as no such training reproduces anything."""


def good(round_: int, message: Message, values: Values) -> list[Message]:
    return [answer(message, values)]


def broken(round_: int, message: Message, values: Values) -> list[Message]:
    return [Message(RecordDict({}), reply_to=message)]


def reasons(strategy: DefendedStrategy, node: int, place: int = -1) -> list[str]:
    return [one["reason"] for one in strategy.history[place]["uploads"] if one["node"] == node]


def rounds(strategy: DefendedStrategy, grid: bench.LocalGrid, count: int, first: int = 1) -> Values:
    values = model()
    for round_ in range(first, first + count):
        new = one_round(strategy, grid, values, round_)
        values = values if new is None else new
    return values


def test_deltas_are_in_the_models_own_order_and_dtypes_and_buffers_stay() -> None:
    got = one_round(defended(Mean(weighting="uniform")), bench.without_hostile(), model())
    assert got is not None
    assert list(got) == list(model())
    each = [honest(model(), node, 1) for node in bench.HONEST]
    for name, value in model().items():
        assert got[name].dtype == value.dtype
        assert got[name].shape == value.shape
        if value.dtype.kind == "f":
            mean = np.mean([one[name].astype(float) for one in each], axis=0)
            np.testing.assert_allclose(got[name], mean, rtol=2e-3 if value.dtype == np.float16 else 1e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(got[name], value)


@pytest.mark.parametrize("make", [FedAvg, FedAvgM, FedAdam, FedYogi, FedAdagrad])
def test_the_wrapped_strategy_keeps_its_own_way_of_applying_the_aggregate(make: Any) -> None:
    """With no defense the result is that of the strategy itself on floats."""
    kind = {"server_momentum": 0.9} if make is FedAvgM else {}
    options = {"fraction_evaluate": 0.0, "min_train_nodes": 1, "min_available_nodes": 1, **kind}
    floats = {k: v.astype(np.float64) for k, v in model().items() if v.dtype.kind == "f"}

    def run(strategy: Strategy) -> Values:
        values = floats
        for round_ in range(1, 4):
            sent = list(strategy.configure_train(round_, to_record(values), ConfigRecord(), bench.without_hostile()))
            grid = bench.without_hostile()
            arrays, _ = strategy.aggregate_train(round_, grid.send_and_receive(sent))
            assert arrays is not None
            values = to_values(arrays)
        return values

    alone = run(make(**options))
    behind = run(DefendedStrategy(make(**options), Mean(), cap=SampleCap(times_median=1e9)))
    for name, value in alone.items():
        np.testing.assert_allclose(behind[name], value, rtol=1e-6, atol=1e-9)


def test_replies_of_nodes_that_were_not_asked_are_refused() -> None:
    def forged(round_: int, message: Message, values: Values) -> list[Message]:
        replies = [answer(message, values) for _ in range(2)]
        replies[1].metadata.__dict__["_src_node_id"] = 424242
        return replies

    strategy = defended(Median())
    one_round(strategy, HostileGrid(forged), model())
    assert reasons(strategy, 424242) == ["unknown node"]
    assert [one["client"] for one in strategy.history[0]["uploads"] if one["node"] == 424242] == [None]
    assert reasons(strategy, HOSTILE) == [""]


def test_a_node_that_was_not_drawn_is_not_heard() -> None:
    class Half(FedAvg):
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            return list(super().configure_train(server_round, arrays, config, grid))[:3]

    asked: list[int] = []

    class Grid(bench.LocalGrid):
        def deliver(self, sent: Any, replies: list[Message]) -> list[Message]:
            asked.extend(m.metadata.dst_node_id for m in sent)
            idle = next(node for node in self.nodes if node not in asked)
            replies[0].metadata.__dict__["_src_node_id"] = idle
            return replies

    strategy = defended(Median(), Half(fraction_evaluate=0.0))
    one_round(strategy, Grid(bench.client, bench.HONEST), model())
    (refused,) = [one for one in strategy.history[0]["uploads"] if not one["accepted"]]
    assert refused["reason"] == "not asked in this round"
    assert refused["node"] not in asked
    assert strategy.history[0]["absent"] == [asked[0]]


def test_copies_count_once_and_contradictions_not_at_all() -> None:
    def twice(round_: int, message: Message, values: Values) -> list[Message]:
        return [answer(message, values), answer(message, values)]

    def other(round_: int, message: Message, values: Values) -> list[Message]:
        return [answer(message, values), answer(message, {k: v * 2 for k, v in values.items() if v.dtype != bool}),
                answer(message, honest(values, 7, 7))]  # fmt: skip

    strategy = defended(Median())
    got = one_round(strategy, HostileGrid(twice, other), model())
    assert sorted(reasons(strategy, HOSTILE)) == ["", "duplicate reply"]
    second = reasons(strategy, HOSTILE + 1)
    assert len(second) == 3
    assert second.count("several replies that differ") == 2
    assert got is not None
    expected = one_round(defended(Median()), HostileGrid(good), model())
    assert expected is not None
    assert same(got, expected)


def test_uploads_of_earlier_rounds_are_replays() -> None:
    kept: list[Message] = []

    def old_message(round_: int, message: Message, values: Values) -> list[Message]:
        kept.append(answer(message, values))
        return [kept[0]]

    first: list[Values] = []

    def old_upload(round_: int, message: Message, values: Values) -> list[Message]:
        first.append(values)
        return [answer(message, first[0])]

    strategy = defended(Median())
    rounds(strategy, HostileGrid(old_message, old_upload), 3)
    assert reasons(strategy, HOSTILE, 0) == [""]
    assert reasons(strategy, HOSTILE) == ["replay: it is marked '1', this round '3'"]
    assert reasons(strategy, HOSTILE + 1) == ["replay: the same upload as in an earlier round"]


def test_the_same_answer_to_the_same_model_is_no_replay() -> None:
    strategy = defended(Median(), min_uploads=99)
    fixed = lambda round_, message, values: [answer(message, honest(model(), HOSTILE, 1))]  # noqa: E731
    rounds(strategy, HostileGrid(fixed), 3)
    assert all("fewer than min_uploads = 99" in reasons(strategy, HOSTILE, place)[0] for place in range(3))


def test_silence_and_errors_are_nobodys_fault() -> None:
    def fails(message: Message, context: Any) -> Message:
        if context.node_id == 1002:
            raise RuntimeError("disk full")
        return bench.client(message, context)

    strategy = defended(Median(), expel_after=1)
    one_round(strategy, bench.LocalGrid(fails, bench.HONEST), model())
    assert strategy.history[0]["absent"] == [1002]
    assert not strategy.banned
    nobody = defended(Median())
    silent = HostileGrid(lambda *_: [])
    silent.nodes = [HOSTILE]
    assert one_round(nobody, silent, model()) is None
    assert nobody.history[0]["absent"] == [HOSTILE]
    assert nobody.history[0]["why"] == "0 usable uploads are fewer than min_uploads = 1"


def test_too_few_uploads_leave_the_model_and_the_memory_alone() -> None:
    strategy = defended(FLDetector(cold_start=0, window=1), min_uploads=10)
    state = None
    for round_ in (1, 2):
        assert one_round(strategy, HostileGrid(broken), model(), round_) is None
        assert not strategy.history[-1]["applied"]
        assert "9 usable uploads are fewer" in strategy.history[-1]["why"]
        assert strategy.server.defense_state["seen"] == 0
        assert state is None or state == strategy.server.defense_state["errors"]
    metrics = strategy.aggregate_train(3, [])[1]
    assert metrics is not None
    assert metrics["defense-applied"] == 0


def test_expelled_clients_are_not_asked_again_not_heard_and_the_others_go_on() -> None:
    strategy = defended(MultiKrum(), expel_after=2)
    far = lambda r, message, v: [answer(message, {k: x + 5 if x.dtype.kind == "f" else x for k, x in v.items()})]  # noqa: E731
    grid = HostileGrid(far)
    rounds(strategy, grid, 2)
    assert reasons(strategy, HOSTILE)[0].endswith("(rejected 2 times in a row)")
    assert strategy.banned == {f"node:{HOSTILE}": {"round": 2, "reason": reasons(strategy, HOSTILE)[0]}}
    sent = list(strategy.configure_train(3, to_record(model()), ConfigRecord(), grid))
    assert sorted(m.metadata.dst_node_id for m in sent) == bench.HONEST
    late = Message(RecordDict({}), dst_node_id=HOSTILE, message_type="train")
    late.metadata.__dict__["_src_node_id"] = HOSTILE
    arrays, _ = strategy.aggregate_train(3, [*grid.send_and_receive(sent), late])
    assert arrays is not None
    assert reasons(strategy, HOSTILE) == ["expelled before"]
    evaluated = strategy.configure_evaluate(3, arrays, ConfigRecord(), grid)
    assert HOSTILE not in {m.metadata.dst_node_id for m in evaluated}


@dataclass(frozen=True)
class FindsAway(DefenseBase):
    """Accepts everything, and finds client 9 malicious in any round in which it is missing."""

    name: ClassVar[str] = "finds-away"
    expels: ClassVar[bool] = True

    def step(self, updates: UpdateBatch, state: Any, view: DefenseView) -> tuple[Outcome, Any]:
        absent = () if 9 in updates.clients else (9,)
        verdicts = replace(Verdicts.all_accepted(updates.n), expelled=np.zeros(updates.n, bool), absent=absent)
        return Outcome(updates.weighted_sum(verdicts.weight), verdicts), state


def test_a_client_found_while_absent_is_banned() -> None:
    strategy = defended(FindsAway())
    grid = HostileGrid(lambda r, message, v: [] if r == 2 else [answer(message, v)])
    values = rounds(strategy, grid, 2)
    assert [entry["expelled_absent"] for entry in strategy.history] == [[], [9]]
    assert strategy.banned == {f"node:{HOSTILE}": {"round": 2, "reason": "found malicious while absent"}}
    sent = list(strategy.configure_train(3, to_record(values), ConfigRecord(), grid))
    assert sorted(m.metadata.dst_node_id for m in sent) == bench.HONEST
    assert counted(strategy.history, {HOSTILE})["expelled"] == 1


@pytest.fixture
def instantly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for nodes takes no time, and ends after a hundred looks."""
    looks = iter(range(100))
    monkeypatch.setattr("flwr.serverapp.strategy.strategy_utils.sleep", lambda seconds: next(looks))


ALL_TEN = {"fraction_evaluate": 0.0, "min_train_nodes": 10, "min_available_nodes": 10}
TEN_KEYS = {node: f"key {node}".encode() for node in [*bench.HONEST, HOSTILE]}


@pytest.mark.parametrize("keys", [{}, TEN_KEYS], ids=["without keys", "with keys"])
def test_bans_that_leave_too_few_nodes_do_not_make_the_server_wait_for_ever(
    keys: dict[int, bytes], instantly: None
) -> None:
    """Whether the banned node stays connected or leaves."""
    strategy = defended(Mean(), FedAvg(**ALL_TEN), expel_after=1)  # type: ignore[arg-type]
    grid = HostileGrid(broken, keys=keys)
    rounds(strategy, grid, 2)
    assert len(strategy.history[1]["uploads"]) == 9
    grid.nodes.remove(HOSTILE)
    rounds(strategy, grid, 1, first=3)
    assert len(strategy.history[2]["uploads"]) == 9


def test_nor_does_a_server_that_is_started_again_without_the_banned_node(tmp_path: Path, instantly: None) -> None:
    make = lambda: defended(Mean(), FedAvg(**ALL_TEN), expel_after=1, folder=tmp_path)  # type: ignore[arg-type]  # noqa: E731
    rounds(make(), HostileGrid(broken, keys=TEN_KEYS), 1)
    strategy = make()
    rounds(strategy, bench.LocalGrid(bench.client, bench.HONEST, keys=TEN_KEYS), 1)
    assert [len(entry["uploads"]) for entry in strategy.history] == [10, 9]


def test_bans_do_not_stand_in_for_clients_that_are_still_to_come(
    tmp_path: Path, instantly: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bans and a minimum of two: the first node to come back after a restart does not train alone."""
    two = {"fraction_evaluate": 0.0, "min_train_nodes": 2, "min_available_nodes": 2}
    make = lambda: defended(Mean(), FedAvg(**two), expel_after=1, folder=tmp_path)  # type: ignore[arg-type]  # noqa: E731
    keys = {**TEN_KEYS, HOSTILE + 1: b"another"}
    rounds(make(), HostileGrid(broken, broken, keys=keys), 1)
    strategy = make()
    rounds(strategy, Filling(bench.HONEST, keys), 1)
    assert len(strategy.history[1]["uploads"]) == 2
    monkeypatch.setattr("fedsiege.flower.allowed.PATIENCE", 0.0)
    last = make()
    rounds(last, Filling([1001], keys), 1)
    assert len(last.history[2]["uploads"]) == 1


class Filling(bench.LocalGrid):
    """One node more is connected whenever somebody looks."""

    def __init__(self, nodes: list[int], keys: dict[int, bytes]) -> None:
        super().__init__(bench.client, nodes, keys=keys)
        self.there = 0

    def get_nodes(self) -> Any:
        self.there += 1
        return list(super().get_nodes())[: self.there - 1]

    def get_node_ids(self) -> Any:
        return [node.node_id for node in self.get_nodes()]


def test_nodes_that_come_while_others_are_waited_for_are_known_by_their_keys(tmp_path: Path, instantly: None) -> None:
    """A ban of the first round holds in the next, whatever the node's id, and honest clients keep their numbers."""

    def misbehaves(message: Message, context: Any) -> Message:
        return broken(1, message, {})[0] if context.node_id in (HOSTILE, 77) else bench.client(message, context)

    make = lambda: defended(Mean(), FedAvg(**ALL_TEN), expel_after=1, folder=tmp_path)  # type: ignore[arg-type]  # noqa: E731
    strategy = make()
    grid = Filling([*bench.HONEST, HOSTILE], TEN_KEYS)
    grid.client = misbehaves
    rounds(strategy, grid, 2)
    assert all(identity.startswith("key:") for identity in strategy.server.roster.numbers)
    assert len(strategy.server.roster.numbers) == 10
    assert len(strategy.banned) == 1
    first, second = ({one["node"]: one["client"] for one in entry["uploads"]} for entry in strategy.history)
    assert second == {node: number for node, number in first.items() if node != HOSTILE}
    again = make()
    late = Filling([*bench.HONEST, 77], {**TEN_KEYS, 77: TEN_KEYS[HOSTILE]})
    late.client = misbehaves
    rounds(again, late, 1)
    assert {one["node"]: one["client"] for one in again.history[2]["uploads"]} == second


def test_a_node_that_is_gone_before_its_key_is_known_is_not_asked() -> None:
    """Its number or ban would be a stranger's. Where no node has a key, its id is all that there is to know it by."""

    class Own(FedAvg):
        """Has its nodes from elsewhere."""

        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            found = list(super().configure_train(server_round, arrays, config, grid))
            return [*found, Message(found[0].content, 4242, "train")]

    for keys, asked in (({1001: b"key"}, False), ({}, True)):
        strategy = defended(Mean(), Own(fraction_evaluate=0.0))
        grid = bench.LocalGrid(bench.client, [1001, 1002], keys=keys)
        sent = list(strategy.configure_train(1, to_record(model()), ConfigRecord(), grid))
        assert (4242 in {m.metadata.dst_node_id for m in sent}) == asked
        assert ("node:4242" in strategy.server.roster.numbers) == asked


def test_a_defense_that_expels_everybody_leaves_the_model() -> None:
    strategy = defended(STRICT)
    assert one_round(strategy, bench.without_hostile(), model()) is None
    assert len(strategy.banned) == 9
    assert one_round(strategy, bench.without_hostile(), model(), 2) is None
    assert strategy.history[1]["uploads"] == []


def test_keys_outlive_node_ids() -> None:
    """An authenticated node that comes back under a new id is still banned; one without a key is somebody new."""
    strategy = defended(Mean(), expel_after=1)
    one_round(strategy, HostileGrid(broken, keys={HOSTILE: b"key of the bad one", 1001: b"key of 1001"}), model())
    assert len(strategy.banned) == 1
    grid = bench.LocalGrid(
        bench.client, [77, 78, *bench.HONEST[2:]], keys={77: b"key of the bad one", 78: b"key of 1001"}
    )
    sent = strategy.configure_train(2, to_record(model()), ConfigRecord(), grid)
    assert 77 not in {m.metadata.dst_node_id for m in sent}
    assert strategy.server.roster.number(78) == 0
    other = defended(Mean(), expel_after=1)
    one_round(other, HostileGrid(broken), model())
    again = bench.LocalGrid(bench.client, [77, *bench.HONEST])
    assert 77 in {m.metadata.dst_node_id for m in other.configure_train(2, to_record(model()), ConfigRecord(), again)}


class Killed(Exception):
    """The server dies."""


def dying(at: int) -> bench.Spoil:
    def spoil(round_: int, message: Message, values: Values) -> list[Message]:
        if round_ == at:
            raise Killed
        return broken(round_, message, values)

    return spoil


def check_same(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> None:
    """The same verdicts; scores up to the last bits, which depend on where in memory a matrix lies."""
    for mine, theirs in zip(left, right, strict=True):
        assert {**mine, "uploads": 0} == {**theirs, "uploads": 0}
        for one, other in zip(mine["uploads"], theirs["uploads"], strict=True):
            assert one == {**other, "score": other["score"] and pytest.approx(other["score"], rel=1e-9)}


@pytest.mark.parametrize("inner", [averaging, lambda: FedAdam(fraction_evaluate=0.0), lambda: FedAvgM(
    fraction_evaluate=0.0, server_momentum=0.9)], ids=["fedavg", "fedadam", "fedavgm"])  # fmt: skip
@pytest.mark.parametrize("defense", [FLDetector(cold_start=1, window=2), MultiKrum()], ids=["fldetector", "multikrum"])
def test_a_killed_server_goes_on_where_it_was(defense: Any, inner: Any, tmp_path: Path) -> None:
    keys = {node: f"key {node}".encode() for node in [*bench.HONEST, HOSTILE]}

    def make(folder: Path) -> DefendedStrategy:
        return defended(defense, inner(), folder=folder, expel_after=2)

    seen: list[int] = []

    def score(round_: int, arrays: ArrayRecord) -> MetricRecord:
        seen.append(round_)
        return MetricRecord({"x": float(round_)})

    whole = make(tmp_path / "whole")
    expected = whole.start(HostileGrid(broken, keys=keys), to_record(model()), 6)
    with pytest.raises(Killed):
        make(tmp_path / "cut").start(HostileGrid(dying(2), keys=keys), to_record(model()), 6)
    with (tmp_path / "cut" / "verdicts.jsonl").open("a") as file:
        file.write('{"round": 2, "uplo')
    resumed = make(tmp_path / "cut")
    got = resumed.start(HostileGrid(broken, keys=keys), to_record(model()), 6, evaluate_fn=score)
    assert same(to_values(got.arrays), to_values(expected.arrays))
    check_same(resumed.history, whole.history)
    assert resumed.banned == whole.banned
    assert resumed.banned
    assert sorted(got.train_metrics_clientapp) == [2, 3, 4, 5, 6]
    assert seen == [1, 2, 3, 4, 5, 6]
    lines = [(tmp_path / name / "verdicts.jsonl").read_text().splitlines() for name in ("whole", "cut")]
    check_same(*[[json.loads(line) for line in some] for some in lines])
    assert [json.loads(line)["round"] for line in lines[0]] == [1, 2, 3, 4, 5, 6]
    again = make(tmp_path / "cut")
    done = again.start(HostileGrid(dying(1), keys=keys), to_record(model()), 6)
    assert same(to_values(done.arrays), to_values(got.arrays))
    assert len(again.history) == 6


@pytest.mark.parametrize("cut", [None, 4], ids=["whole", "killed in the second phase"])
def test_a_second_start_goes_on_counting(cut: int | None, tmp_path: Path) -> None:
    """Two rounds of warm-up, then up to five: the same rounds, model and verdicts as of one start, after a kill too."""

    def make(name: str) -> DefendedStrategy:
        return defended(MultiKrum(), FedAdam(fraction_evaluate=0.0), folder=tmp_path / name)

    def both(strategy: DefendedStrategy, grid: bench.LocalGrid) -> Any:
        warm = strategy.start(grid, to_record(model()), 2)
        return strategy.start(grid, warm.arrays, 5)

    whole = make("whole")
    expected = whole.start(HostileGrid(broken), to_record(model()), 5)
    if cut is not None:
        with pytest.raises(Killed):
            both(make("two"), HostileGrid(dying(cut)))
    strategy = make("two")
    got = both(strategy, HostileGrid(broken))
    assert same(to_values(got.arrays), to_values(expected.arrays))
    check_same(strategy.history, whole.history)
    assert sorted(got.train_metrics_clientapp) == ([3, 4, 5] if cut is None else [4, 5])
    lines = (tmp_path / "two" / "verdicts.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1, 2, 3, 4, 5]
    again = make("two")
    assert same(to_values(both(again, HostileGrid(dying(6))).arrays), to_values(expected.arrays))
    assert again.server.done == 5


def test_saved_state_of_others_is_refused(tmp_path: Path) -> None:
    one_round(defended(Median(), folder=tmp_path), bench.without_hostile(), model())
    with pytest.raises(RunError, match="saved by Median"):
        defended(Krum(), folder=tmp_path).resume(to_record(model()))
    smaller = {k: v for k, v in model().items() if k != "head"}
    with pytest.raises(RunError, match="other arrays"):
        defended(Median(), folder=tmp_path).resume(to_record(smaller))
    (tmp_path / "state.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(RunError, match="cannot be read"):
        defended(Median(), folder=tmp_path).resume(to_record(model()))


def test_a_fresh_start_brings_back_the_initial_model_and_a_fresh_optimizer() -> None:
    """FLDetector starts training over; so does the wrapped strategy."""
    inner = FedAdam(fraction_evaluate=0.0)
    strategy = defended(FLDetector(cold_start=1, window=1, references=5), inner)
    wild = lambda r, m, v: [answer(m, {k: x + (-1) ** r * 9 if x.dtype.kind == "f" else x for k, x in v.items()})]  # noqa: E731
    result = strategy.start(HostileGrid(*[wild] * 4), to_record(model()), 4)
    over = [entry["round"] for entry in strategy.history if entry["restart"]]
    assert over
    assert len(strategy.banned) == 4
    if over[-1] == 4:
        assert same(to_values(result.arrays), model())
    assert all(entry["applied"] for entry in strategy.history)


def test_a_strategy_with_a_lock_and_an_open_file_can_start_over(tmp_path: Path) -> None:
    """They stay what they are; moments, whether they were nothing, empty or not yet there, are those of the start."""

    class Own(FedAdam):
        def __init__(self) -> None:
            super().__init__(fraction_evaluate=0.0)
            self.lock, self.log, self.notes = threading.Lock(), (tmp_path / "log").open("w"), []
            self.moments: dict[str, Any] = {}
            self.rate = 0.5

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            out = super().aggregate_train(server_round, replies)
            with self.lock:
                self.log.write("x")
            self.notes.append("a round")
            self.moments["x"] = self.late = np.ones(3)
            self.rate /= 2
            return out

    inner = Own()
    strategy = defended(FindsAway(), inner)
    lock, log = inner.lock, inner.log
    one_round(strategy, bench.without_hostile(), model())
    assert inner.m_t
    assert inner.rate == 0.25
    strategy.server._start_over()
    assert inner.lock is lock
    assert inner.log is log
    assert inner.notes == ["a round"]
    assert inner.m_t is None
    assert inner.v_t is None
    assert inner.moments == {}
    assert inner.rate == 0.5
    assert not hasattr(inner, "late")
    one_round(strategy, bench.without_hostile(), model(), 2)
    assert inner.rate == 0.25
    log.close()


def test_a_model_that_would_overflow_stays_and_so_does_the_optimizer() -> None:
    inner = FedAvgM(fraction_evaluate=0.0, server_learning_rate=1e9, server_momentum=0.9)
    strategy = defended(Mean(), inner)
    assert one_round(strategy, bench.without_hostile(), model()) is None
    assert strategy.history[0]["why"] == "the aggregate would have made the model non-finite"
    assert strategy.history[0]["uploads"][0]["accepted"]
    assert inner.momentum_vector is None


class TestEvaluation:
    """Hostile evaluation replies stop nothing either."""

    def replies(self, *metrics: Any) -> tuple[DefendedStrategy, list[Message]]:
        strategy = DefendedStrategy(FedAvg(), "median")
        grid = bench.LocalGrid(bench.client, len(metrics))
        strategy.configure_train(1, to_record(model()), ConfigRecord(), grid)
        sent = strategy.configure_evaluate(1, to_record(model()), ConfigRecord(), grid)
        replies = list(grid.send_and_receive(sent))
        for reply, said in zip(sorted(replies, key=lambda r: r.metadata.src_node_id), metrics):
            reply.content = RecordDict({"metrics": MetricRecord(said)} if said is not None else {})
        return strategy, replies

    def test_only_what_most_report_is_averaged(self) -> None:
        fine = {"num-examples": 10, "accuracy": 0.5}
        bad = [
            {"num-examples": 10},
            {"num-examples": 10, "accuracy": [0.1]},
            {"num-examples": 10, "accuracy": float("nan")},
            {"num-examples": -1, "accuracy": 9.0},
            {"accuracy": 9.0},
            None,
        ]
        strategy, replies = self.replies(fine, fine, fine, {**fine, "extra": 3.0}, *bad)
        got = strategy.aggregate_evaluate(1, replies)
        assert got is not None
        assert dict(got) == {"accuracy": pytest.approx(0.5)}

    def test_counts_are_capped(self) -> None:
        strategy, replies = self.replies(
            {"num-examples": 10, "accuracy": 0.0},
            {"num-examples": 10, "accuracy": 0.0},
            {"num-examples": 10**9, "accuracy": 1.0},
        )
        got = strategy.aggregate_evaluate(1, replies)
        assert got is not None
        assert got["accuracy"] == pytest.approx(20 / 40)

    def test_nobody_left(self) -> None:
        strategy, replies = self.replies(None, None)
        assert strategy.aggregate_evaluate(1, replies) is None


def test_bad_settings_are_named() -> None:
    for options in ({"min_uploads": 0}, {"expel_after": 0}, {"told": -1}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            DefendedStrategy(FedAvg(), "median", **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"cap\.times_median"):
        SampleCap(times_median=0.5)
