"""The contrastive task: what it draws, and its loss and gradient against float64 autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.errors import ConfigError
from fedsiege.kernels import contrastive as kernels
from fedsiege.kernels.rowsets import row_sets
from fedsiege.learners.contrastive import ContrastiveTask
from fedsiege.rng import client_keys
from tests.deadline import within

LENGTHS = (6, 1, 0, 25, 2)


def store(num_items: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = [rng.permutation(num_items)[:n] for n in LENGTHS]
    return np.concatenate([[0], np.cumsum(LENGTHS)]), np.concatenate(rows).astype(np.int32)


def draw(task: ContrastiveTask, num_items: int, clients: np.ndarray, round_: int = 1):
    indptr, items = store(num_items)
    keys = client_keys(3, "task", round_, clients)
    return task.draw(indptr, items, clients, keys, num_items)


@pytest.mark.parametrize("num_items", [41, 5000, kernels.MAPPED + 1])  # The last is searched, not mapped.
def test_draws(num_items):
    indptr, items = store(num_items)
    clients = np.array([3, 1, 0, 2, 4])
    positives = []
    for round_ in range(1, 40):
        ptr, draws = draw(ContrastiveTask(negatives=15), num_items, clients, round_)
        np.testing.assert_array_equal(np.diff(ptr), [25, 0, 6, 0, 2])
        assert draws.shape == (33, 17)
        for k, client in enumerate(clients):
            mine = items[indptr[client] : indptr[client + 1]]
            rows = draws[ptr[k] : ptr[k + 1]]
            if not rows.size:
                continue
            np.testing.assert_array_equal(rows[:, 0], mine)
            assert np.isin(rows[:, 1], mine).all()
            assert (rows[:, 1] != rows[:, 0]).all()
            assert not np.isin(rows[:, 2:], mine).any()
            assert ((rows[:, 2:] >= 0) & (rows[:, 2:] < num_items)).all()
            assert all(np.unique(row[2:]).size == 15 for row in rows)
        positives.append(draws[ptr[2], 1])
    # Every other item of a client gets its turn.
    assert np.unique(positives).size == 5


@pytest.mark.parametrize("num_items", [41, kernels.MAPPED + 1])
def test_an_item_is_never_its_own_positive_however_often_it_was_visited(num_items):
    rows = [[7, 7, 3, 7, 7, 5], [2, 2, 2], [9], [4, 1]]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    items, clients = np.concatenate(rows).astype(np.int32), np.arange(4)
    seen = set()
    with within(60):
        for round_ in range(1, 60):
            keys = client_keys(3, "task", round_, clients)
            ptr, draws = ContrastiveTask(negatives=4).draw(indptr, items, clients, keys, num_items)
            # A client of one item has no other, though it came three times.
            np.testing.assert_array_equal(np.diff(ptr), [6, 0, 0, 2])
            np.testing.assert_array_equal(draws[:, 0], [7, 7, 3, 7, 7, 5, 4, 1])
            assert (draws[:, 1] != draws[:, 0]).all()
            assert np.isin(draws[:6, 1], [7, 3, 5]).all()
            assert not np.isin(draws[:6, 2:], [7, 3, 5]).any()
            seen |= set(draws[0, 1:2].tolist())
    assert seen == {3, 5}


def test_visits_are_not_taken_for_items_when_negatives_are_few():
    # Of five items the client has three, in eight visits: two are left.
    indptr, items = np.array([0, 8]), np.array([0, 0, 1, 1, 2, 2, 2, 0], np.int32)
    keys, clients = client_keys(3, "task", 1, np.array([0])), np.array([0])
    _, draws = ContrastiveTask(negatives=2).draw(indptr, items, clients, keys, 5)
    assert (np.sort(draws[:, 2:]) == [3, 4]).all()
    with pytest.raises(ConfigError, match="touched 3 of 5 items"):
        ContrastiveTask(negatives=3).draw(indptr, items, clients, keys, 5)


def test_draws_cover_the_catalog_evenly():
    counts = np.zeros(200)
    for round_ in range(1, 301):
        _, draws = draw(ContrastiveTask(negatives=4), 200, np.array([4]), round_)
        np.add.at(counts, draws[:, 2:].reshape(-1), 1)
    indptr, items = store(200)
    free = np.setdiff1d(np.arange(200), items[indptr[4] :])
    assert counts[items[indptr[4] :]].sum() == 0
    expected = counts.sum() / free.size
    # χ² of 197 degrees of freedom has mean 197 and standard deviation 20.
    assert ((counts[free] - expected) ** 2 / expected).sum() < 197 + 5 * 20


def test_draws_of_a_client_do_not_depend_on_the_cohort():
    task = ContrastiveTask()
    ptr, draws = draw(task, 5000, np.array([3, 0, 4]))
    for k, client in enumerate((3, 0, 4)):
        np.testing.assert_array_equal(draw(task, 5000, np.array([client]))[1], draws[ptr[k] : ptr[k + 1]])


@pytest.mark.parametrize("scale", [0.5, 8.0])
@pytest.mark.parametrize("alpha", [1.0, 0.25])
def test_loss_and_gradient_equal_autograd(alpha, scale):
    task, num_items, dim = ContrastiveTask(alpha, 7), 60, 9
    clients = np.array([3, 1, 0, 4])
    ptr, draws = draw(task, num_items, clients)
    width = draws.shape[1]
    none = np.zeros(clients.size + 1, np.int64)
    indptr, rows, _, slots = row_sets(none, np.empty(0, np.int32), ptr * width, draws.reshape(-1), num_items)
    table = (scale * np.random.default_rng(2).normal(size=(num_items, dim))).astype(np.float32)
    before = np.random.default_rng(3).normal(size=(rows.size, dim)).astype(np.float32)
    values = before.copy()
    losses = task.accumulate(ptr, slots.reshape(-1, width), table, indptr, rows, values)
    for k in range(clients.size):
        p = torch.from_numpy(table).double().requires_grad_()
        mine = torch.from_numpy(draws[ptr[k] : ptr[k + 1]]).long()
        part = slice(indptr[k], indptr[k + 1])
        if not len(mine):
            assert losses[k] == 0
            assert part.start == part.stop
            continue
        logits = torch.einsum("ad,and->an", p[mine[:, 0]], p[mine[:, 1:]])
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(len(mine), dtype=torch.long))
        (alpha * loss).backward()
        assert losses[k] == pytest.approx(loss.item(), rel=1e-5, abs=1e-6)
        np.testing.assert_allclose(
            values[part] - before[part], -p.grad[rows[part]].numpy(), rtol=1e-3, atol=1e-5 * scale
        )


def test_too_few_untouched_items_are_refused():
    with pytest.raises(ConfigError, match="lower `negatives`"):
        draw(ContrastiveTask(negatives=16), 40, np.array([0, 3]))
    assert draw(ContrastiveTask(negatives=15), 40, np.array([0, 3]))[1].shape == (31, 17)
