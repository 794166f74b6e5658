"""LabelFlip and FedAttack against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.attacks import fed_attack
from fedsiege.attacks.fed_attack import FedAttack, extremes
from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.errors import ConfigError
from fedsiege.learners.base import LocalData, Pairs
from tests.worlds import StaticModel, World

CLIENTS = np.array([4, 9, 1, 7, 3])


def test_label_flip_swaps_every_pair() -> None:
    data = World().local_data(CLIENTS)
    got = LabelFlip().poison(data, np.random.default_rng(0))
    np.testing.assert_array_equal(got.items, data.pairs.items[:, [1, 0]])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_fed_attack_takes_the_hardest_items(k: int) -> None:
    world = World()
    data = world.local_data(CLIENTS)
    got = FedAttack(k=k).poison(data, np.random.default_rng(0))
    scores = data.users.double().numpy() @ world.model.table("items").double().numpy().T
    for i in range(CLIENTS.size):
        ranking = np.argsort(-scores[i])
        for p in range(data.pairs.ptr[i], data.pairs.ptr[i + 1]):
            allowed = set(ranking[: 2 * k]) - {data.pairs.items[p, 0]}
            assert got.items[p, 0] == ranking[-1]
            assert got.items[p, 1] in allowed


def test_fed_attack_draws_all_candidates_but_the_true_positive() -> None:
    table = torch.arange(10.0)[:, None]
    pairs = np.stack([np.tile([9, 8, 7, 0], 500), np.full(2000, 1)], 1).astype(np.int32)
    data = LocalData(
        Pairs(np.array([5]), np.array([0, 2000]), pairs), torch.ones(1, 1), StaticModel({"items": table}), 10
    )
    got = FedAttack(k=2).poison(data, np.random.default_rng(0)).items
    for positive, allowed in ((9, [6, 7, 8]), (8, [6, 7, 9]), (7, [6, 8, 9]), (0, [6, 7, 8, 9])):
        drawn, times = np.unique(got[pairs[:, 0] == positive, 1], return_counts=True)
        assert drawn.tolist() == allowed
        assert times.min() > 0.7 * times.mean()
    assert (got[:, 0] == 0).all()


@pytest.mark.parametrize("items", [1, 2, 3])
def test_fed_attack_on_tiny_catalogs(items: int) -> None:
    pairs = np.array([[0, items - 1], [items - 1, 0]], np.int32)
    model = StaticModel({"items": torch.zeros(items, 2)})
    data = LocalData(Pairs(np.array([5]), np.array([0, 2]), pairs), torch.zeros(1, 2), model, items)
    got = FedAttack(k=4).poison(data, np.random.default_rng(0)).items
    assert got.min() >= 0
    assert got.max() < items
    if items > 1:
        assert (got[:, 0] != got[:, 1]).all()


def test_batches_of_users_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(0)
    users, items = torch.randn(7, 4, generator=rng), torch.randn(30, 4, generator=rng)
    whole = extremes(users, items, 3)
    monkeypatch.setattr(fed_attack, "SCORES_AT_ONCE", 60)
    parts = extremes(users, items, 3)
    assert torch.equal(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])


@pytest.mark.parametrize("k", [0, -1, 1.5])
def test_ranges(k: float) -> None:
    with pytest.raises(ConfigError, match=r"fedattack\.k"):
        FedAttack(k=k)  # type: ignore[arg-type]
