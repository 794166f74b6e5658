"""MF against float64 autograd with the same masks, and the hooks of a learner."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from fedsiege.data.interactions import Interactions, RecDataset
from fedsiege.errors import ConfigError
from fedsiege.federation.server import ServerConfig, ServerModel
from fedsiege.kernels.hashing import fill_dropout
from fedsiege.learners import mf
from fedsiege.learners.base import Job, LocalData, Pairs
from fedsiege.learners.contrastive import ContrastiveTask
from fedsiege.learners.mf import MF, MFConfig, distinct, tiles, xavier_uniform
from fedsiege.rng import client_keys
from tests.pictures import pictures
from tests.trees import fingerprint

ITEMS = 50
LENGTHS = (7, 1, 12, 0, 33, 2)
EVERYONE = np.arange(len(LENGTHS))


def make_dataset(items: int = ITEMS) -> RecDataset:
    rng = np.random.default_rng(3)
    rows = [rng.permutation(items)[: n + 2] for n in LENGTHS]
    indptr = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
    flat = np.concatenate([row[:n] for row, n in zip(rows, LENGTHS)]).astype(np.int32)
    held = [np.array([row[n + k] if n else -1 for row, n in zip(rows, LENGTHS)], np.int32) for k in (0, 1)]
    return RecDataset("made", Interactions(indptr, flat, items), held[0], held[1], "time")


def build(items: int = ITEMS, **changes: object) -> tuple[MF, ServerModel]:
    """A small learner whose embeddings are large enough for the loss to bend."""
    config = dataclasses.replace(MFConfig(dim=10, dropout=0.0, l2=1e-2, user_lr=1e-2), **changes)
    learner = config.build(make_dataset(items), "fair", 5)
    model = ServerModel(learner.spec, {k: 3 * v for k, v in learner.init().items()}, ServerConfig(), learner.decay)
    learner.users.weight.mul_(3)
    return learner, model


def pairs_of(learner: MF, client: int) -> np.ndarray:
    low, high = learner.store.indptr[client : client + 2]
    return np.stack([learner.store.items[low:high], learner.store.negatives[low:high]], 1)


def masks_of(learner: MF, client: int, round_: int, count: int) -> torch.Tensor:
    """Masks ``(count, 3, dim)`` of user, positive and negative at each pair, from the client's own stream."""
    dim, counter = learner.config.dim, np.uint64(0)
    out = np.ones((count, 3, dim), np.float32)
    key = client_keys(learner.seed, "dropout", round_, np.array([client]))[0]
    words = np.empty((dim + 3) // 4, np.uint64)
    if learner.config.dropout:
        for mask in out.reshape(-1, dim):
            scale = np.float32(1 / (1 - learner.config.dropout))
            counter = fill_dropout(mask, words, key, np.uint64(counter), round(learner.config.dropout * 65536), scale)
    return torch.from_numpy(out).double()


def reference(
    learner: MF, model: ServerModel, client: int, round_: int, pairs: np.ndarray, more: np.ndarray | None = None
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Loss, minus gradient of the items ``(items, dim)`` and gradient of the user, by autograd."""
    c = learner.config
    items = model.snapshot()["items"].double().requires_grad_()
    user = learner.users.weight[client].double().requires_grad_()
    loss = 0 * user.sum() + 0 * items.sum()
    if len(pairs):
        m = masks_of(learner, client, round_, len(pairs))
        u, p, n = user * m[:, 0], items[pairs[:, 0]] * m[:, 1], items[pairs[:, 1]] * m[:, 2]
        loss = -torch.log(torch.sigmoid((u * (p - n)).sum(1)) + 1e-8).mean()
    touched = np.unique(np.concatenate([pairs.reshape(-1), [] if more is None else more.reshape(-1)])).astype(int)
    decayed = items[touched] if c.l2_rows == "touched" else items[:0]
    total = loss + c.l2 / 2 * (decayed.square().sum() + user.square().sum())
    grads = torch.autograd.grad(total, (items, user))
    return loss.item(), -grads[0], grads[1]


@pytest.mark.parametrize("items", [ITEMS, 4000])  # Row lists by a map over the table, and by sorting.
@pytest.mark.parametrize(
    "changes", [{}, {"l2": 0.0}, {"l2_rows": "all"}, {"dropout": 0.4}, {"dropout": 0.2, "dim": 64}]
)
def test_upload_and_user_step_equal_float64_autograd(changes, items):
    learner, model = build(items, **changes)
    wanted = [reference(learner, model, client, 1, pairs_of(learner, client)) for client in EVERYONE]
    users = learner.users.weight.double().requires_grad_()
    adam = torch.optim.Adam([users], lr=learner.config.user_lr)
    users.grad = torch.stack([w[2] for w in wanted])
    adam.step()

    trained = learner.train(model, Job(EVERYONE, 1))
    trained.updates.check(learner.spec)
    np.testing.assert_allclose(trained.loss, [w[0] for w in wanted], rtol=1e-5)
    np.testing.assert_array_equal(trained.updates.counts, LENGTHS)
    dense = trained.updates.blocks["items"].dense().double()
    torch.testing.assert_close(dense, torch.stack([w[1] for w in wanted]), rtol=1e-4, atol=1e-7)
    # Adam's first step is the sign of the gradient, so entries of a gradient near zero say nothing.
    clear = users.grad.abs() > 1e-6
    torch.testing.assert_close(learner.users.weight.double()[clear], users.detach()[clear], rtol=1e-4, atol=1e-6)


def test_decay_over_all_rows_is_the_servers():
    touched, whole = build(l2_rows="touched")[0], build(l2_rows="all")[0]
    assert touched.decay == {}
    assert whole.decay == {"items": 1e-2}


@pytest.mark.parametrize("clock", ["server", "own"])
def test_the_users_adam_over_rounds(clock):
    learner, model = build(user_clock=clock)
    users = learner.users.weight.double().clone()
    m, v, visits = torch.zeros_like(users), torch.zeros_like(users), np.zeros(len(LENGTHS), int)
    rng = np.random.default_rng(0)
    for round_ in range(1, 31):
        cohort = rng.permutation(len(LENGTHS))[:2]
        if clock == "server":
            learner.users.refresh(round_ - 1)
        grads = {c: reference(learner, model, c, round_, pairs_of(learner, c))[2] for c in cohort}
        learner.train(model, Job(cohort, round_))
        visits[cohort] += 1
        for client in EVERYONE if clock == "server" else cohort:
            t = round_ if clock == "server" else visits[client]
            g = grads.get(client, torch.zeros(users.shape[1], dtype=torch.float64))
            m[client] = 0.9 * m[client] + 0.1 * g
            v[client] = 0.999 * v[client] + 0.001 * g * g
            move = (m[client] / (1 - 0.9**t)) / ((v[client] / (1 - 0.999**t)).sqrt() + 1e-8)
            users[client] -= learner.config.user_lr * move
    if clock == "server":
        learner.users.refresh(30)
    torch.testing.assert_close(learner.users.weight.double(), users, rtol=1e-3, atol=1e-3)


def test_poison_sees_the_user_and_replaces_pairs():
    learner, model = build(dropout=0.3)
    clients = np.array([4, 0, 3, 5])
    poisoned = np.array([True, False, True, True])
    seen: list[LocalData] = []

    def flip(data: LocalData) -> Pairs:
        seen.append(data)
        return Pairs(data.pairs.clients, data.pairs.ptr, np.ascontiguousarray(data.pairs.items[:, ::-1]))

    vectors = learner.users.weight.clone()
    wanted = [
        reference(learner, model, c, 2, pairs_of(learner, c)[:, :: -1 if bad else 1].copy())[1]
        for c, bad in zip(clients, poisoned)
    ]
    trained = learner.train(model, Job(clients, 2, poison=flip, poisoned=poisoned))
    torch.testing.assert_close(
        trained.updates.blocks["items"].dense().double(), torch.stack(wanted), rtol=1e-4, atol=1e-7
    )
    (data,) = seen
    np.testing.assert_array_equal(data.pairs.clients, [4, 3, 5])
    np.testing.assert_array_equal(np.diff(data.pairs.ptr), [33, 0, 2])
    np.testing.assert_array_equal(data.pairs.items, np.concatenate([pairs_of(learner, c) for c in (4, 3, 5)]))
    assert torch.equal(data.users, vectors[[4, 3, 5]])
    assert data.num_items == ITEMS
    assert data.model is model


def test_task_adds_its_own_update_for_those_marked():
    learner, model = build(l2=0.0)
    clients, marked = np.array([4, 1, 2, 0]), np.array([True, True, False, True])
    job = Job(clients, 3, task=ContrastiveTask(negatives=4), task_for=marked, commit=False)
    alone = learner.task_update(model, job)
    together = learner.train(model, job).updates
    plain = learner.train(model, dataclasses.replace(job, task=None)).updates
    wanted = plain.blocks["items"].dense() + alone.blocks["items"].dense()
    torch.testing.assert_close(together.blocks["items"].dense(), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(alone.counts, plain.counts)
    assert (alone.norms > 0).tolist() == [True, False, False, True]
    everyone = learner.task_update(model, dataclasses.replace(job, task_for=None))
    assert (everyone.norms > 0).tolist() == [True, False, True, True]


def same_bits(a, b) -> bool:
    parts = zip(a.blocks["items"].arrays, b.blocks["items"].arrays)
    return np.array_equal(a.clients, b.clients) and all(np.array_equal(x, y) for x, y in parts)


@pytest.mark.parametrize("clock", ["server", "own"])
def test_without_commit_nothing_changes(clock):
    learner, model = build(user_clock=clock, dropout=0.2)
    for round_ in range(1, 4):
        learner.train(model, Job(EVERYONE[:3], round_))
    before = {k: v.clone() for k, v in learner.state()["users"].items()}
    visits = learner.state()["visits"].clone()
    asked = learner.train(model, Job(EVERYONE, 4, commit=False))
    after = learner.state()
    # Momentum of rounds gone by may be applied on reading; it is the same whenever that happens.
    assert all(torch.equal(before[k], after["users"][k]) for k in ("m", "v", "touched"))
    assert torch.equal(visits, after["visits"])
    if clock == "own":
        assert torch.equal(before["weight"], after["users"]["weight"])
    done = learner.train(model, Job(EVERYONE, 4))
    assert same_bits(asked.updates, done.updates)
    np.testing.assert_array_equal(asked.loss, done.loss)


def test_upload_does_not_depend_on_the_cohort():
    learner, model = build(dropout=0.3)
    whole = learner.train(model, Job(EVERYONE, 2, commit=False)).updates
    order = np.array([4, 0, 3, 5, 1, 2])
    assert same_bits(learner.train(model, Job(order, 2, commit=False)).updates, whole.select(order))
    for client in EVERYONE:
        alone = learner.train(model, Job(np.array([client]), 2, commit=False)).updates
        assert same_bits(alone, whole.select(np.array([client])))


@pytest.mark.parametrize("rows", [0, 1, 5, 12, 1000])
@pytest.mark.parametrize("sizes", [LENGTHS, (0, 0, 0), (4,), ()], ids=str)
def test_tiles_hold_so_many_rows_or_one_client(sizes, rows):
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    cut = list(tiles(indptr, rows))
    assert [k for some in cut for k in range(some.start, some.stop)] == list(range(len(sizes)))
    for some in cut:
        held = sum(sizes[some])
        assert held <= rows or some.stop - some.start == 1
        if some.stop < len(sizes):
            assert held + sizes[some.stop] > rows


@pytest.mark.parametrize("decay", ["touched", "all"])
def test_clients_are_trained_alike_whatever_the_tiles(decay, monkeypatch):
    told = []
    for tile in (1, 1 << 30):
        monkeypatch.setattr(mf, "TILE", tile)
        learner, model = build(dropout=0.3, l2_rows=decay)
        trained = learner.train(model, Job(EVERYONE, 3, ContrastiveTask(0.5, 4)))
        told.append(fingerprint([trained.updates, trained.loss, learner.state()]))
    assert told[0] == told[1]


@pytest.mark.parametrize("clock", ["server", "own"])
def test_a_saved_learner_goes_on_bit_for_bit(clock):
    learner, model = build(user_clock=clock, dropout=0.2)
    for round_ in range(1, 6):
        learner.train(model, Job(np.array([0, 2, 4]), round_))
    other, _ = build(user_clock=clock, dropout=0.2)
    state = learner.state()
    other.load({"users": {k: v.clone() for k, v in state["users"].items()}, "visits": state["visits"].clone()})
    for round_ in range(6, 11):
        job = Job(np.array([round_ % 6, 2]) if round_ % 6 != 2 else np.array([2]), round_)
        assert same_bits(learner.train(model, job).updates, other.train(model, job).updates)
    assert learner.evaluate(model, EVERYONE, (5,), 10) == other.evaluate(model, EVERYONE, (5,), 10)
    learner.init()
    assert torch.equal(learner.users.weight, xavier_uniform(6, 10, 5, "init-users"))
    assert not learner.visits.any()


def test_evaluation_equals_plain_ranking():
    learner, model = build(user_lr=0.3)
    data = learner.dataset
    users = learner.users.weight.double().clone().requires_grad_()
    adam = torch.optim.Adam([users], lr=0.3)
    users.grad = torch.stack(
        [reference(learner, model, client, 1, pairs_of(learner, client))[2] for client in EVERYONE]
    )
    # In rounds 2 to 4 nobody trains, but momentum goes on.
    after = []
    for _ in range(4):
        adam.step()
        adam.zero_grad(set_to_none=False)
        after.append(users.detach().clone())
    learner.train(model, Job(EVERYONE, 1))
    got = learner.evaluate(model, EVERYONE, (3, 10), 4)
    items = model.snapshot()["items"].double()
    wanted, stale = (plain_ranking(data, each, items) for each in (after[3], after[0]))
    for split in ("valid", "test"):
        assert got[split] == pytest.approx(wanted[split])
    assert wanted != stale


def plain_ranking(data: RecDataset, users: torch.Tensor, items: torch.Tensor) -> dict[str, dict[str, float]]:
    """HR and NDCG at 3 and 10 of all users, one at a time."""
    found: dict[str, dict[str, float]] = {}
    for split in ("valid", "test"):
        ranks = []
        for client in np.flatnonzero(data.valid >= 0):
            train = data.train.items[data.train.indptr[client] : data.train.indptr[client + 1]]
            seen = train if split == "valid" else np.append(train, data.valid[client])
            target = (data.valid if split == "valid" else data.test)[client]
            scores = (items @ users[client]).numpy()
            scores[seen] = -np.inf
            ranks.append((scores > scores[target]).sum())
        found[split] = {}
        for k in (3, 10):
            found[split][f"HR@{k}"] = float((np.array(ranks) < k).mean())
            found[split][f"NDCG@{k}"] = float(np.mean([1 / np.log2(r + 2) if r < k else 0.0 for r in ranks]))
    return found


@pytest.mark.parametrize("wrong", [{"l2_rows": "whole"}, {"user_clock": "servr"}, {"user_clock": None}])
def test_misspelt_choices_are_refused(wrong):
    with pytest.raises(ConfigError, match=rf"model\.{next(iter(wrong))} is .*; it must be '\w+' or '\w+'"):
        MFConfig(**wrong)
    with pytest.raises(ConfigError, match="protocol is 'fare'; it must be 'paper' or 'fair'"):
        MFConfig().build(make_dataset(), "fare", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_rows", [100, 100_000])
def test_distinct(num_rows):
    rows = np.random.default_rng(0).integers(0, num_rows, 300)
    np.testing.assert_array_equal(distinct(rows, num_rows), np.unique(rows))
    assert distinct(rows[:0], num_rows).size == 0


def test_xavier_uniform():
    table = xavier_uniform(2000, 40, 1, "x")
    bound = (6 / 2040) ** 0.5
    assert table.dtype == torch.float32
    assert table.abs().max() <= bound
    assert table.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not torch.equal(table, xavier_uniform(2000, 40, 2, "x"))
    assert torch.equal(table, xavier_uniform(2000, 40, 1, "x"))


def test_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model 'mf' recommends items; this data set holds images: take .*cnn"):
        MFConfig().build(pictures(), "fair", 0)  # type: ignore[arg-type]
