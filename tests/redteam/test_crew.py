"""The coalition on a Flower grid: it crafts what the attack would craft from the same updates, and only that."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flwr")

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from fedsiege.attacks.mpaf import MPAF
from fedsiege.errors import ConfigError
from fedsiege.redteam.audit.watch import watched
from fedsiege.redteam.choose import suited_attacks
from fedsiege.redteam.grid import RedGrid, RedProxy, coalition
from fedsiege.redteam.hostile import HOSTILE
from fedsiege.redteam.mod import AttackMod
from fedsiege.redteam.records import values_of
from fedsiege.redteam.simple import Noise

NODES = 7
MODEL = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1.0, -1.0]), "steps": np.array([3])}


def move(node: int, round_: int = 1) -> dict[str, np.ndarray]:
    """What the node at a place adds to the model, made up."""
    rng = np.random.default_rng([node, round_])
    return {"w": rng.normal(size=(2, 3)).astype(np.float32), "b": rng.normal(size=2)}


def client(message: Message, context: Context) -> Message:
    if message.metadata.message_type != "train":
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)
    place = int(context.node_config["partition-id"])
    got = values_of(message)
    assert got is not None
    context.state["visits"] = MetricRecord({"n": int(context.state.metric_records.get("visits", {"n": 0})["n"]) + 1})
    round_ = int(message.content["config"]["server-round"]) if "config" in message.content else 1
    new = {n: (got[n] + move(place, round_)[n]).astype(got[n].dtype) for n in ("w", "b")} | {"steps": got["steps"] + 1}
    arrays = ArrayRecord({n: Array(v) for n, v in new.items()})
    return Message(
        RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 10 + place})}), reply_to=message
    )


def requests(grid: RedGrid, nodes: list[int] | None = None, model: dict | None = None) -> list[Message]:
    arrays = ArrayRecord({n: Array(v) for n, v in (model or MODEL).items()})
    return [Message(RecordDict({"arrays": arrays}), node, "train") for node in nodes or grid.nodes]


def uploads(grid: RedGrid, **options: object) -> dict[int, dict[str, np.ndarray]]:
    """Place of each node, and what it adds to the model as the server would see it."""
    replies = grid.send_and_receive(requests(grid, **options))  # type: ignore[arg-type]
    out = {}
    for reply in replies:
        values = values_of(reply)
        assert values is not None
        place = grid.nodes.index(reply.metadata.src_node_id)
        out[place] = {n: values[n] - MODEL[n] for n in ("w", "b")} | {"steps": values["steps"]}
    return out


def flat(update: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([update["w"].reshape(-1), update["b"]]).astype(np.float64)


def test_without_a_coalition_all_are_honest() -> None:
    seen = uploads(RedGrid(client, NODES))
    for place in range(NODES):
        assert np.allclose(flat(seen[place]), flat(move(place)), atol=1e-6)


def test_lie_is_the_coalitions_mean_and_deviation_and_the_others_stay() -> None:
    from scipy.stats import norm

    seen = uploads(RedGrid(client, NODES, red=coalition("lie", [1, 4, 6])))
    honest = np.stack([flat(move(p)) for p in (1, 4, 6)])
    # n = 7, m = 3: the attacker needs 7 // 2 + 1 − 3 = 1 supporter among 4 honest clients.
    expected = honest.mean(0) + norm.ppf(3 / 4) * honest.std(0)
    for place in (1, 4, 6):
        assert np.allclose(flat(seen[place]), expected, atol=1e-5)
        assert seen[place]["steps"] == 4  # buffers are what the client itself has sent
    for place in (0, 2, 3, 5):
        assert np.allclose(flat(seen[place]), flat(move(place)), atol=1e-6)


def test_minmax_reaches_as_far_as_two_honest_members_are_apart() -> None:
    seen = uploads(RedGrid(client, NODES, red=coalition("minmax", [0, 1, 2])))
    honest = np.stack([flat(move(p)) for p in range(3)])
    widest = max(np.linalg.norm(a - b) for a in honest for b in honest)
    assert max(np.linalg.norm(flat(seen[0]) - h) for h in honest) == pytest.approx(widest, rel=1e-3)


def test_members_that_were_not_sampled_are_asked_and_keep_their_state() -> None:
    grid = RedGrid(client, NODES, red=coalition("lie", [1, 4, 6]))
    seen = uploads(grid, nodes=[grid.nodes[p] for p in (0, 1, 2, 3)])
    honest = np.stack([flat(move(p)) for p in (1, 4, 6)])
    direction = flat(seen[1]) - honest.mean(0)
    assert np.allclose(direction / honest.std(0), (direction / honest.std(0))[0], atol=1e-3)
    assert "visits" not in grid.contexts[grid.nodes[6]].state
    assert grid.contexts[grid.nodes[1]].state["visits"]["n"] == 1


def test_behind_a_proxy_the_attacker_knows_the_sampled_members_alone() -> None:
    grid = RedGrid(client, NODES)
    proxy = RedProxy(grid, coalition("lie", [1, 4, 6]))
    replies = list(proxy.send_and_receive(requests(grid, [grid.nodes[p] for p in (0, 1, 2, 4)])))
    got = {grid.nodes.index(r.metadata.src_node_id): values_of(r)["w"] - MODEL["w"] for r in replies}  # type: ignore[index]
    honest = np.stack([move(p)["w"] for p in (1, 4)])
    # n = 4, m = 2: one supporter of two honest clients; z = Φ⁻¹(1/2) = 0 is not usable, so 1.5.
    assert np.allclose(got[1], honest.mean(0) + 1.5 * honest.std(0), atol=1e-5)
    assert np.allclose(got[0], move(0)["w"], atol=1e-6)


def test_mpaf_remembers_the_first_model() -> None:
    grid = RedGrid(client, NODES, red=coalition(MPAF(scale=3.0), [2]))
    assert np.allclose(flat(uploads(grid)[2]), 0)
    later = {n: v + 1 if n != "steps" else v for n, v in MODEL.items()}
    replies = grid.send_and_receive(requests(grid, model=later))
    mine = next(r for r in replies if r.metadata.src_node_id == grid.nodes[2])
    assert np.allclose(values_of(mine)["w"], later["w"] + 3 * (MODEL["w"] - later["w"]), atol=1e-5)  # type: ignore[index]


def test_overcount_lies_about_its_samples_and_signflip_does_not() -> None:
    for attack, count in (("overcount", 10**9), ("signflip", 12)):
        grid = RedGrid(client, NODES, red=coalition(attack, [2]))
        (mine,) = [r for r in grid.send_and_receive(requests(grid)) if r.metadata.src_node_id == grid.nodes[2]]
        assert mine.content["metrics"]["num-examples"] == count
        factor = 1 if attack == "overcount" else 4
        got = values_of(mine)
        assert got is not None
        assert np.allclose(got["b"] - MODEL["b"], -factor * move(2)["b"])


def test_overcount_lies_in_the_metric_that_the_strategy_weighs_by() -> None:
    def other(message: Message, context: Context) -> Message:
        reply = client(message, context)
        reply.content["metrics"] = MetricRecord({"num-examples": 10, "shots": 5})
        return reply

    with watched(None) as seen:
        grid = RedGrid(other, NODES, red=coalition("overcount", [2], count_key=lambda: seen.count_key))
        strategy = FedAvg(fraction_evaluate=0.0, weighted_by_key="shots")
        result = strategy.start(grid, ArrayRecord({n: Array(v) for n, v in MODEL.items()}), num_rounds=1)
    # A billion samples against thirty: the aggregate is the liar's upload.
    assert np.allclose(result.arrays["b"].numpy(), MODEL["b"] - move(2)["b"], atol=1e-5)
    context = Context(1, 100, {"partition-id": 2}, RecordDict(), {})
    message = requests(RedGrid(other, NODES))[2]
    alone = AttackMod("overcount", {2}, count_key="shots")(message, context, other)
    assert dict(alone.content["metrics"]) == {"num-examples": 10, "shots": 10**9}


def test_noise_has_the_length_that_it_is_given_and_is_no_ones_update() -> None:
    seen = uploads(RedGrid(client, NODES, red=coalition(Noise(scale=2.0), [2, 3])))
    for place in (2, 3):
        assert np.linalg.norm(flat(seen[place])) == pytest.approx(2 * np.linalg.norm(flat(move(place))), rel=1e-5)
    assert abs(np.corrcoef(flat(seen[2]), flat(seen[3]))[0, 1]) < 0.99


@pytest.mark.parametrize("attack", suited_attacks())
def test_every_suited_attack_gives_well_formed_uploads(attack: str) -> None:
    grid = RedGrid(client, NODES, red=coalition(attack, [0, 3, 5], seed=1))
    first, second = uploads(grid), uploads(grid)
    for seen in (first, second):
        assert len(seen) == NODES
        assert all(np.isfinite(flat(u)).all() for u in seen.values())
    changed = [p for p in range(NODES) if not np.allclose(flat(first[p]), flat(move(p)), atol=1e-6)]
    assert changed == [0, 3, 5]


def test_suited_attacks_are_those_that_need_nothing_but_uploads() -> None:
    assert set(suited_attacks()) == {
        "signflip", "overcount", "noise", "fang", "fang-krum", "gaussian", "lie", "minmax", "minsum", "mpaf"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        ("labelflip", "poisons training data"),
        ("scaling", "poisons training data"),
        ("clusterattack", "item embeddings"),
        ("adaptive(minmax)", "copy of the defense"),
        ("noise(minmax)", "take gaussian"),
        ("minmx", "minmax"),
    ],
)
def test_what_cannot_be_mounted_is_refused_by_name(attack: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        coalition(attack, [0])([1, 2, 3])
    assert attack in str(caught.value)


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_uploads_break_what_they_say(name: str) -> None:
    grid = RedGrid(client, NODES, red=coalition(name, [2]))
    replies = {grid.nodes.index(r.metadata.src_node_id): r for r in grid.send_and_receive(requests(grid))}
    mine, fine = values_of(replies[2]), values_of(replies[1])
    assert mine is not None
    assert fine is not None
    broken = {
        "nan": np.isnan(mine["w"]).sum() == 1,
        "shape": mine["w"].shape == (12,),
        "extra": "uninvited" in mine,
        "uncounted": "num-examples" not in replies[2].content["metrics"],
    }
    assert {k for k, v in broken.items() if v} == {name}
    assert np.allclose(fine["w"] - MODEL["w"], move(1)["w"], atol=1e-6)


def test_uncounted_leaves_out_the_count_that_the_strategy_weighs_by() -> None:
    def other(message: Message, context: Context) -> Message:
        reply = client(message, context)
        return Message(
            RecordDict({"arrays": reply.content["arrays"], "metrics": MetricRecord({"shots": 3, "num-examples": 4})}),
            reply_to=message,
        )

    for key in ("shots", lambda: "shots"):
        grid = RedGrid(other, NODES, red=coalition("uncounted", [2], count_key=key))
        replies = {grid.nodes.index(r.metadata.src_node_id): r for r in grid.send_and_receive(requests(grid))}
        assert dict(replies[2].content["metrics"]) == {"num-examples": 4}
        assert dict(replies[1].content["metrics"]) == {"shots": 3, "num-examples": 4}
    message = requests(grid)[2]
    context = Context(1, message.metadata.dst_node_id, {"partition-id": 2}, RecordDict(), {})
    alone = AttackMod("uncounted", {2}, count_key="shots")(message, context, other)
    assert dict(alone.content["metrics"]) == {"num-examples": 4}


def mod_upload(mod: AttackMod, place: int, context: Context | None = None, model: dict | None = None) -> np.ndarray:
    arrays = ArrayRecord({n: Array(v) for n, v in (model or MODEL).items()})
    message = Message(RecordDict({"arrays": arrays}), 100 + place, "train")
    context = context or Context(1, 100 + place, {"partition-id": place}, RecordDict(), {})
    values = values_of(mod(message, context, client))
    assert values is not None
    return values["b"] - (model or MODEL)["b"]


def test_a_mod_turns_the_clients_that_it_is_told() -> None:
    mod = AttackMod("signflip", {2, 3})
    assert np.allclose(mod_upload(mod, 2), -4 * move(2)["b"])
    assert np.allclose(mod_upload(mod, 1), move(1)["b"])
    by_rule = AttackMod("signflip", lambda context: context.node_config["partition-id"] == 1)
    assert np.allclose(mod_upload(by_rule, 1), -4 * move(1)["b"])


def test_a_mod_leaves_evaluation_alone() -> None:
    message = Message(RecordDict({}), 100, "evaluate")
    context = Context(1, 100, {"partition-id": 0}, RecordDict(), {})
    reply = AttackMod("nan", {0})(message, context, client)
    assert reply.content["metrics"]["num-examples"] == 1


def test_noise_of_a_mod_differs_by_round_even_in_a_new_process() -> None:
    context = Context(1, 102, {"partition-id": 2}, RecordDict(), {})
    first = mod_upload(AttackMod("noise", {2}), 2, context)
    second = mod_upload(AttackMod("noise", {2}), 2, context)
    again = mod_upload(AttackMod("noise", {2}), 2)
    assert np.allclose(first, again)
    assert not np.allclose(first, second)


@pytest.mark.parametrize("attack", ["lie", "minmax", "gaussian", "fang"])
def test_a_mod_refuses_what_needs_colluders(attack: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{attack}' knows coalition"):
        AttackMod(attack, {0})
