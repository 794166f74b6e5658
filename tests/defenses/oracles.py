"""Small batches for tests of rules, and rules written as plain float64 loops."""

from __future__ import annotations

import numpy as np
import torch

from fedsiege.defenses import Defense, Outcome
from fedsiege.rng import generator
from fedsiege.updates import DenseBlock, UpdateBatch
from tests.worlds import World


def batch(matrix: np.ndarray, dtype: torch.dtype = torch.float64, counts: np.ndarray | None = None) -> UpdateBatch:
    """Return uploads of one dense block, client ids 0, 1, …"""
    n = matrix.shape[0]
    return UpdateBatch(
        np.arange(n),
        np.ones(n) if counts is None else counts,
        {"w": DenseBlock(torch.from_numpy(np.asarray(matrix, np.float64)).to(dtype))},
    )


def run(defense: Defense, updates: UpdateBatch, told: int | None = None) -> Outcome:
    """Return the outcome of one step from a fresh state."""
    world = World()
    state = defense.init(world.spec, generator(0, "defense-init"))
    return defense.step(updates, state, world.defense_view(told=told))[0]


def aggregate(outcome: Outcome) -> np.ndarray:
    """Return the aggregate of a `batch`, float64."""
    assert outcome.delta is not None
    return outcome.delta["w"].dense()[0].double().numpy()


def krum_scores(x: np.ndarray, f: int) -> np.ndarray:
    """Sums of the n − f − 2 (at least one) smallest squared distances, in loops."""
    n = x.shape[0]
    scores = []
    for i in range(n):
        others = sorted(float(((x[i] - x[j]) ** 2).sum()) for j in range(n) if j != i)
        scores.append(sum(others[: max(n - f - 2, 1)]))
    return np.array(scores)


def small_updates(n: int = 20, d: int = 4000, bad: int = 4, seed: int = 0) -> np.ndarray:
    """Honest updates 1e-4 of a model's scale that agree closely, and `bad` ones (the first) a little away."""
    rng = np.random.default_rng(seed)
    x = 1e-4 * (rng.normal(size=d) + 0.05 * rng.normal(size=(n, d)))
    x[:bad] += 1e-5 * rng.normal(size=d)
    return x
