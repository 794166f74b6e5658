from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from fedsiege.data import Interactions, RecDataset, draw_negatives, load, synthetic_scale
from fedsiege.data.synthetic import synthetic
from fedsiege.errors import DataError


def hit_rate(scores: np.ndarray, data: RecDataset, k: int = 10) -> float:
    """HR@k of the test items over the whole catalog, training and validation items masked."""
    scores = scores.copy()
    scores[data.train.users(), data.train.items] = -np.inf
    scores[np.arange(data.num_users), data.valid] = -np.inf
    mine = scores[np.arange(data.num_users), data.test][:, None]
    return float(((scores > mine).sum(1) < k).mean())


def matrix_factorisation(data: RecDataset, epochs: int = 3, dim: int = 64) -> np.ndarray:
    """Scores of a plain centralised MF with BPR."""
    source = torch.Generator().manual_seed(0)
    users = torch.nn.Parameter(0.05 * torch.randn(data.num_users, dim, generator=source))
    items = torch.nn.Parameter(0.05 * torch.randn(data.num_items, dim, generator=source))
    optimiser = torch.optim.Adam([users, items], lr=0.02)
    who, positive = (torch.as_tensor(part.astype(np.int64)) for part in (data.train.users(), data.train.items))
    for epoch in range(epochs):
        negative = torch.as_tensor(draw_negatives(data.train, (), epoch).astype(np.int64))
        for batch in torch.randperm(len(who), generator=source).split(2048):
            u, p, n = users[who[batch]], items[positive[batch]], items[negative[batch]]
            loss = torch.nn.functional.softplus(-(u * (p - n)).sum(1)).mean()
            loss = loss + 5e-4 * (u.square() + p.square() + n.square()).sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return (users @ items.T).detach().numpy()


def test_the_default_has_the_shape_of_ml_100k() -> None:
    raw = synthetic()
    data = raw.interactions
    assert (data.num_users, data.num_items, data.nnz, raw.order) == (943, 1682, 100_000, "time")
    counts = data.counts()
    assert counts.min() >= 20
    assert 50 < np.median(counts) < 80
    assert 500 < counts.max() <= 841
    assert all(len(set(data.of(user).tolist())) == counts[user] for user in range(943))
    popularity = np.sort(data.popularity())[::-1]
    assert 0.04 < popularity[:17].sum() / 100_000 < 0.10
    assert popularity[: 1682 // 5].sum() / 100_000 > 0.45


def test_same_seed_same_data() -> None:
    sizes = {"users": 30, "items": 80, "interactions": 900}
    first, again, other = synthetic(**sizes), synthetic(**sizes), synthetic(**sizes, seed=1)
    assert np.array_equal(first.interactions.items, again.interactions.items)
    assert not np.array_equal(first.interactions.items, other.interactions.items)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Steps as small as these lose time to threads, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_factorisation_beats_popularity_by_far() -> None:
    data = load("synthetic")
    popular = hit_rate(np.tile(data.train.popularity().astype(np.float64), (data.num_users, 1)), data)
    assert 0.03 < popular < 0.08
    # 1.5 is what is promised; two standard errors of either rate (about 0.01 each) fit between.
    assert hit_rate(matrix_factorisation(data), data) >= 2 * popular


def test_the_last_items_tell_more_than_the_history() -> None:
    data = load("synthetic")
    every = np.zeros((data.num_users, data.num_items), np.float32)
    every[data.train.users(), data.train.items] = 1
    recent = np.zeros_like(every)
    for user in range(data.num_users):
        recent[user, data.train.of(user)[-10:]] = 1
    norm = np.linalg.norm(every, axis=0) + 1e-9
    likeness = (every / norm).T @ (every / norm)
    np.fill_diagonal(likeness, 0)
    assert hit_rate(recent @ likeness, data) > hit_rate(every @ likeness, data)


@pytest.mark.parametrize(
    ("users", "items", "interactions"), [(1, 6, 3), (7, 40, 140), (50, 20, 500), (40, 60, 200), (3, 1000, 60)]
)
@pytest.mark.parametrize("make", [synthetic, synthetic_scale])
def test_other_sizes_meet_their_counts(make: object, users: int, items: int, interactions: int) -> None:
    data: Interactions = make(users=users, items=items, interactions=interactions).interactions  # type: ignore[operator]
    assert (data.num_users, data.num_items, data.nnz) == (users, items, interactions)
    assert data.counts().min() >= min(20, max(3, interactions // (2 * users)), items // 2)
    for user in range(users):
        assert len(set(data.of(user).tolist())) == len(data.of(user)) <= items // 2


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 10, 10), "at least 1 user"),
        ((1, 1, 3), "at least 1 user and 2 items"),
        ((10, 100, 29), "between 30"),
        ((10, 100, 501), "and 500"),
    ],
)
def test_impossible_sizes_are_refused(sizes: tuple[int, int, int], message: str) -> None:
    for make in (synthetic, synthetic_scale):
        with pytest.raises(DataError, match=message):
            make(*sizes)
    with pytest.raises(DataError, match="dim"):
        synthetic(dim=0)


def test_scale_is_long_tailed_and_reproducible() -> None:
    data = synthetic_scale(40_000, 100_000, 2_000_000, seed=4).interactions
    popularity = np.sort(data.popularity())[::-1]
    assert popularity[:1000].sum() > 0.25 * data.nnz
    # The expected share of the top item is log((1 + s) / s) / log((n + s) / s), s = 50, less repeats.
    assert 0.001 * data.nnz < popularity[0] < 0.003 * data.nnz
    joint = data.users().astype(np.int64) * data.num_items + data.items
    assert len(np.unique(joint)) == data.nnz
    again = synthetic_scale(40_000, 100_000, 2_000_000, seed=4).interactions
    assert np.array_equal(data.items, again.items)
