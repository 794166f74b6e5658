"""FLTrust against a loop over clients, and what it does without trust."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsiege.defenses.fl_trust import FLTrust
from fedsiege.errors import ConfigError
from fedsiege.updates import DenseBlock, UpdateBatch
from tests.worlds import World


def batch(matrix: np.ndarray) -> UpdateBatch:
    n = matrix.shape[0]
    return UpdateBatch(np.arange(n), np.ones(n), {"w": DenseBlock(torch.from_numpy(matrix))})


def outcome(matrix: np.ndarray, root: np.ndarray):
    asked: list[int] = []
    view = replace(World().defense_view(), root=lambda samples: asked.append(samples) or batch(root[None]))
    result, _ = FLTrust(samples=7).step(batch(matrix), {}, view)
    assert asked == [7]
    return result


@pytest.mark.parametrize("seed", range(3))
def test_trust_is_the_positive_cosine_and_every_upload_gets_the_length_of_the_servers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, root = rng.normal(size=(9, 6)), rng.normal(size=6)
    total, sum_of_trust, cosines = np.zeros(6), 0.0, []
    for upload in matrix:
        cosine = float(upload @ root / np.linalg.norm(upload) / np.linalg.norm(root))
        trust = max(cosine, 0.0)
        total += trust * np.linalg.norm(root) / np.linalg.norm(upload) * upload
        sum_of_trust += trust
        cosines.append(cosine)
    got = outcome(matrix, root)
    np.testing.assert_allclose(got.delta["w"].dense()[0].numpy(), total / sum_of_trust, rtol=1e-12)
    np.testing.assert_allclose(got.verdicts.score, cosines, rtol=1e-12)
    np.testing.assert_array_equal(got.verdicts.accepted, np.array(cosines) > 0)
    assert got.verdicts.weight.sum() == pytest.approx(1)


def test_uploads_that_all_point_away_leave_the_model_as_it_is() -> None:
    got = outcome(-np.ones((3, 2)), np.ones(2))
    assert got.delta is None
    assert not got.verdicts.accepted.any()


def test_zero_uploads_and_a_server_that_learns_nothing_are_no_division_by_zero() -> None:
    got = outcome(np.array([[0.0, 0.0], [1.0, 1.0]]), np.ones(2))
    assert got.verdicts.accepted.tolist() == [False, True]
    assert outcome(np.ones((2, 2)), np.zeros(2)).delta is None


def test_a_model_without_clean_data_on_the_server_is_refused() -> None:
    with pytest.raises(ConfigError, match="clean data"):
        FLTrust().step(batch(np.ones((2, 2))), {}, replace(World().defense_view(), root=None))
    with pytest.raises(ConfigError, match="samples"):
        FLTrust(samples=0)
