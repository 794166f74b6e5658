"""SASRec against an independent network of one client in float64, and the hooks of a learner."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from fedsiege.data.interactions import Interactions, RecDataset
from fedsiege.errors import ConfigError
from fedsiege.federation.server import ServerConfig, ServerModel
from fedsiege.learners.base import Job, LocalData, Pairs
from fedsiege.learners.contrastive import ContrastiveTask
from fedsiege.learners.sasrec import SASRec, SASRecConfig
from fedsiege.learners.sasrec_net import share_out
from fedsiege.rng import client_keys
from tests.pictures import pictures

ITEMS = 60
LENGTHS = (7, 1, 12, 2, 33, 0, 18, 5)


def make_dataset(lengths: tuple[int, ...] = LENGTHS, items: int = ITEMS, seed: int = 3) -> RecDataset:
    """Random sequences without repeats; users of at least one item have two held-out items."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(items)[: n + 2] for n in lengths]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat = np.concatenate([row[:n] for row, n in zip(rows, lengths)]).astype(np.int32)
    held = [np.array([row[n + k] if n else -1 for row, n in zip(rows, lengths)], np.int32) for k in (0, 1)]
    return RecDataset("made", Interactions(indptr, flat, items), held[0], held[1], "time")


def build(**changes: object) -> tuple[SASRec, ServerModel]:
    """A small learner and a model whose norms, biases and embeddings are not at their special initial values."""
    config = dataclasses.replace(SASRecConfig(dim=8, max_len=16, dropout=0.0, l2=1e-2), **changes)
    learner = config.build(make_dataset(), "fair", 5)
    gen = torch.Generator().manual_seed(1)
    params = {k: v + 0.3 * torch.randn(v.shape, generator=gen) for k, v in learner.init().items()}
    return learner, ServerModel(learner.spec, params, ServerConfig(), learner.decay)


def layer_norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], scale, shift, 1e-8)


def run_network(p: dict[str, torch.Tensor], inputs: np.ndarray, config: SASRecConfig, masks=None) -> torch.Tensor:
    """The network on one sequence, as one would write it for a single client."""
    m, d = len(inputs), config.dim
    keep = (lambda site, x: x) if masks is None else (lambda site, x: x * masks[site])
    x = p["items"][torch.from_numpy(inputs).long()] * d**0.5 + p["position"][config.max_len - m :]
    x = keep(0, x)
    above = torch.ones(m, m).triu(1).bool()
    for layer in range(config.layers):

        def get(name: str, layer: int = layer) -> torch.Tensor:
            return p[f"block{layer}.{name}"]

        a = layer_norm(x, get("norm1.scale"), get("norm1.shift"))
        heads = []
        for part in range(config.heads):
            columns = slice(part * d // config.heads, (part + 1) * d // config.heads)
            q, k, v = (a @ get(name)[:, columns] for name in ("query", "key", "value"))
            logits = (q @ k.T / (d / config.heads) ** 0.5).masked_fill(above, -torch.inf)
            heads.append(logits.softmax(1) @ v)
        x = x + keep(2 * layer + 1, torch.cat(heads, 1))
        f = layer_norm(x, get("norm2.scale"), get("norm2.shift"))
        h = torch.relu(f @ get("ffn1.weight") + get("ffn1.bias"))
        x = x + keep(2 * layer + 2, h @ get("ffn2.weight") + get("ffn2.bias"))
    return layer_norm(x, p["norm.scale"], p["norm.shift"])


def reference(learner: SASRec, model: ServerModel, client: int, round_: int = 1, pairs=None, seen=None):
    """Loss and minus gradient of one client by float64 autograd; `seen`: rows under weight decay."""
    c = learner.config
    p = {k: v.double().requires_grad_() for k, v in model.snapshot().items()}
    low, high = learner.store.indptr[client : client + 2]
    items, negatives = learner.store.items[low:high], learner.store.negatives[low:high]
    inputs = items[:-1][-c.max_len :]
    m = len(inputs)
    if pairs is None:
        pairs = np.stack([items[1:], negatives[1:]], 1)[-c.max_len :]
    masks = None
    if c.dropout:
        masks = dropout_masks(learner, client, round_, m)
    loss = torch.zeros((), dtype=torch.float64)
    if m:
        z = run_network(p, inputs, c, masks)
        positive, negative = (p["items"][torch.from_numpy(pairs[:, k]).long()] for k in (0, 1))
        loss = -torch.log(torch.sigmoid((z * (positive - negative)).sum(1)) + 1e-8).mean()
    rows = np.unique(np.concatenate([inputs, pairs.reshape(-1), [] if seen is None else seen])).astype(int)
    total = loss
    for name, value in p.items():
        if name != "items":
            total = total + c.l2 / 2 * value.square().sum()
        elif c.l2_rows == "touched":
            total = total + c.l2 / 2 * value[rows].square().sum()
    grads = torch.autograd.grad(total, list(p.values()), allow_unused=True)
    return loss.item(), {k: torch.zeros_like(v) if g is None else -g for (k, v), g in zip(p.items(), grads)}


def dropout_masks(learner: SASRec, client: int, round_: int, m: int) -> list[torch.Tensor]:
    """The masks of a client by site, from the documented addresses of the draws, in plain Python."""
    c = learner.config
    key = int(client_keys(learner.seed, "dropout", round_, np.array([client]))[0])
    words, full = -(-c.dim // 4), (1 << 64) - 1

    def draw(counter: int) -> int:
        z = (key + (counter + 1) * 0x9E3779B97F4A7C15) & full
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & full
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & full
        return z ^ (z >> 31)

    masks = []
    for site in range(2 * c.layers + 1):
        mask = torch.zeros(m, c.dim, dtype=torch.float64)
        for t in range(m):
            for j in range(c.dim):
                bits = draw((site * c.max_len + t) * words + j // 4) >> (16 * (j % 4))
                mask[t, j] = ((bits & 0xFFFF) >= round(c.dropout * 65536)) / (1 - c.dropout)
        masks.append(mask)
    return masks


def assert_close(actual: torch.Tensor, wanted: torch.Tensor, name: str) -> None:
    scale = wanted.abs().max().item() + 1e-6
    torch.testing.assert_close(
        actual.double(), wanted, rtol=1e-4, atol=2e-6 * max(scale, 1), msg=lambda m: f"{name}: {m}"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"l2": 0.0},
        {"l2_rows": "all"},
        {"heads": 2, "layers": 3},
        {"layers": 1, "dim": 12},
        {"max_len": 200, "dim": 64},
        {"max_len": 200, "dim": 68, "layers": 1},
        {"dropout": 0.5},
        {"dropout": 0.2, "heads": 2, "dim": 16},
    ],
)
def test_uploads_equal_float64_autograd(changes):
    learner, model = build(**changes)
    clients = np.arange(len(LENGTHS))
    trained = learner.train(model, Job(clients, 4))
    trained.updates.check(learner.spec)
    assert trained.updates.blocks["items"].dtype == torch.float32
    for client in clients:
        loss, wanted = reference(learner, model, client, 4)
        assert trained.loss[client] == pytest.approx(loss, rel=1e-5)
        for name, block in trained.updates.blocks.items():
            assert_close(block.dense()[client], wanted[name], f"{name} of client {client}")
    transitions = np.minimum(np.maximum(np.array(LENGTHS) - 1, 0), learner.config.max_len)
    np.testing.assert_array_equal(trained.updates.counts, transitions)


def same_bits(a, b) -> bool:
    """Whether two batches of uploads are equal bit for bit."""
    parts = [(a.clients, b.clients), (a.counts, b.counts)]
    for name, block in a.blocks.items():
        other = b.blocks[name]
        if name == "items":
            parts += list(zip(block.arrays, other.arrays))
        else:
            parts.append((block.values.numpy(), other.values.numpy()))
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in parts)


def test_upload_does_not_depend_on_the_cohort():
    learner, model = build(dropout=0.3)
    clients = np.arange(len(LENGTHS))
    whole = learner.train(model, Job(clients, 2))
    order = np.array([4, 0, 7, 3, 6, 1, 5, 2])
    assert same_bits(learner.train(model, Job(order, 2)).updates, whole.updates.select(order))
    for client in clients:
        alone = learner.train(model, Job(np.array([client]), 2, commit=False))
        assert same_bits(alone.updates, whole.updates.select(np.array([client])))
    assert not same_bits(learner.train(model, Job(clients, 3)).updates, whole.updates)


def test_uploads_do_not_depend_on_the_threads(monkeypatch):
    learner, model = build(dropout=0.3)
    job = Job(np.arange(len(LENGTHS)), 2)
    wanted = learner.train(model, job)
    for threads in (1, 3, 11):
        monkeypatch.setattr(
            "fedsiege.learners.sasrec.shares", lambda ptr, n, threads=threads: share_out(np.diff(ptr), threads, n)
        )
        assert same_bits(learner.train(model, job).updates, wanted.updates)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_share_out_deals_each_client_once_and_evenly(threads):
    lengths = np.random.default_rng(0).integers(0, 200, 50)
    order, bounds = share_out(lengths, threads, 200)
    assert sorted(order) == list(range(50))
    assert bounds[0] == 0
    assert bounds[-1] == 50
    work = [(lengths[order[a:b]] * (400 + lengths[order[a:b]])).sum() for a, b in itertools.pairwise(bounds)]
    assert max(work) <= 1.1 * min(work)


def test_poison_sees_the_last_representation_and_replaces_pairs_alone():
    learner, model = build(dropout=0.5)
    clients = np.array([4, 0, 2, 7])
    poisoned = np.array([True, False, False, True])
    seen: list[LocalData] = []

    def flip(data: LocalData) -> Pairs:
        seen.append(data)
        return Pairs(data.pairs.clients, data.pairs.ptr, np.ascontiguousarray(data.pairs.items[:, ::-1]))

    trained = learner.train(model, Job(clients, 1, poison=flip, poisoned=poisoned))
    honest = learner.train(model, Job(clients, 1))
    (data,) = seen
    store, p = learner.store, {k: v.double() for k, v in model.snapshot().items()}
    np.testing.assert_array_equal(data.pairs.clients, [4, 7])
    for k, client in enumerate((4, 7)):
        low, high = store.indptr[client : client + 2]
        wanted = np.stack([store.items[low + 1 : high], store.negatives[low + 1 : high]], 1)[-16:]
        mine = slice(data.pairs.ptr[k], data.pairs.ptr[k + 1])
        np.testing.assert_array_equal(data.pairs.items[mine], wanted)
        z = run_network(p, store.items[low : high - 1][-16:], learner.config)
        torch.testing.assert_close(data.users[k].double(), z[-1], rtol=1e-4, atol=1e-4)
        _, grads = reference(learner, model, client, 1, pairs=wanted[:, ::-1].copy())
        at = int(np.flatnonzero(clients == client)[0])
        for name, block in trained.updates.blocks.items():
            assert_close(block.dense()[at], grads[name], name)
    assert same_bits(trained.updates.select(~poisoned), honest.updates.select(~poisoned))


def test_task_adds_its_own_update():
    learner, model = build(l2=0.0)
    clients = np.array([4, 1, 2, 6])
    marked = np.array([True, True, False, True])
    job = Job(clients, 3, task=ContrastiveTask(negatives=4), task_for=marked)
    alone = learner.task_update(model, job)
    alone.check(learner.spec)
    together = learner.train(model, job).updates
    plain = learner.train(model, Job(clients, 3)).updates
    np.testing.assert_array_equal(alone.counts, plain.counts)
    for name, block in together.blocks.items():
        wanted = plain.blocks[name].dense() + alone.blocks[name].dense()
        torch.testing.assert_close(block.dense(), wanted, rtol=1e-5, atol=1e-6)
    # The third client is not marked; the second has one item, so nothing to contrast.
    assert (alone.norms > 0).tolist() == [True, False, False, True]


def test_evaluation_equals_ranking_by_float64_autograd():
    learner, model = build(dropout=0.5, heads=2)
    data, clients = learner.dataset, np.arange(len(LENGTHS))
    p = {k: v.double() for k, v in model.snapshot().items()}
    got = learner.evaluate(model, clients, (3, 10), 1)
    for split in ("valid", "test"):
        ranks = []
        for client in np.flatnonzero(data.valid >= 0):
            train = data.train.items[data.train.indptr[client] : data.train.indptr[client + 1]]
            seen = train if split == "valid" else np.append(train, data.valid[client])
            target = (data.valid if split == "valid" else data.test)[client]
            scores = (p["items"] @ run_network(p, seen[-16:], learner.config)[-1]).numpy()
            scores[seen] = -np.inf
            ranks.append((scores > scores[target]).sum())
        ranks = np.array(ranks)
        for k in (3, 10):
            assert got[split][f"HR@{k}"] == pytest.approx((ranks < k).mean())
            assert got[split][f"NDCG@{k}"] == pytest.approx(((ranks < k) / np.log2(ranks + 2.0)).mean())


def test_training_learns_and_repeats_itself():
    config = SASRecConfig(dim=16, layers=1, max_len=20)
    losses, ends = [], []
    for _ in range(2):
        learner = config.build(make_dataset((30,) * 12), "paper", 0)
        model = ServerModel(learner.spec, learner.init(), ServerConfig(lr=1e-2), learner.decay)
        for round_ in range(1, 31):
            trained = learner.train(model, Job(np.arange(12), round_))
            model.apply(trained.updates.weighted_sum(np.full(12, 1 / 12)))
            losses.append(trained.loss.mean())
        ends.append(model.snapshot())
        learner.load(learner.state())
    assert losses[29] < 0.6 * losses[0]
    assert losses[:30] == losses[30:]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in learner.spec.names)


def test_a_row_that_is_not_a_number_reaches_only_those_who_read_it():
    learner, model = build()
    clients = np.arange(len(LENGTHS))
    touched = [
        set(learner.store.items[a:b]) | set(learner.store.negatives[a + 1 : b]) if b - a > 1 else set()
        for a, b in itertools.pairwise(learner.store.indptr)
    ]
    row = int(learner.store.items[learner.store.indptr[0]])
    model.table("items")[row] = torch.nan
    finite = learner.train(model, Job(clients, 1)).updates.finite
    # Clients with more transitions than positions do not read their oldest items.
    for client in np.flatnonzero(np.array(LENGTHS) <= 16):
        assert finite[client] == (row not in touched[client])


@pytest.mark.parametrize("clients", [[], [5], [1, 5]])
def test_cohorts_without_a_transition(clients):
    learner, model = build(l2=0.0)
    trained = learner.train(model, Job(np.array(clients, np.int64), 1))
    assert trained.updates.n == len(clients)
    assert not trained.updates.counts.any()
    assert not trained.updates.norms.any()
    assert not trained.loss.any()


@pytest.mark.parametrize("changes", [{"dim": 10}, {"dim": 24, "heads": 4}, {"heads": 0}])
def test_impossible_shapes_are_refused(changes):
    with pytest.raises(ConfigError, match="multiple of 4"):
        SASRecConfig(**changes)


def test_misspelt_choices_are_refused():
    with pytest.raises(ConfigError, match=r"model\.l2_rows is 'whole'; it must be 'touched' or 'all'"):
        SASRecConfig(l2_rows="whole")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="protocol is 'fare'; it must be 'paper' or 'fair'"):
        SASRecConfig().build(make_dataset(), "fare", 0)  # type: ignore[arg-type]


def test_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="model 'sasrec' recommends items; this data set holds images"):
        SASRecConfig().build(pictures(), "fair", 0)  # type: ignore[arg-type]
