"""Hit ratio and NDCG of one held-out item per user, with ties ranked fairly."""

from __future__ import annotations

import numpy as np
import torch

from fedsiege.kernels.ranking import count_above


def target_ranks(
    scores: torch.Tensor, targets: np.ndarray, ptr: np.ndarray, masked: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count, for each user, candidates scored above the target and level with it.

    Parameters
    ----------
    scores : torch.Tensor
        Float ``(users, items)``.
    targets : numpy.ndarray
        int ``(users,)``: the held-out item, or −1.
    ptr, masked : numpy.ndarray
        ``masked[ptr[i]:ptr[i + 1]]`` are the items of user i that are no candidates (the target always is one).

    Returns
    -------
    greater, equal : numpy.ndarray
        int64 ``(users,)``. Where a score is NaN or nothing is held out, the target counts as ranked last.
    """
    users = scores.shape[0]
    greater = np.empty(users, np.int64)
    equal = np.empty(users, np.int64)
    count_above(
        scores.cpu().numpy(),
        np.asarray(targets, np.int64),
        np.asarray(ptr, np.int64),
        np.asarray(masked, np.int32),
        greater,
        equal,
    )
    return greater, equal


def hit_ratio(greater: np.ndarray, equal: np.ndarray, k: int) -> np.ndarray:
    """Return the expected hit at `k` of each user over random orders of tied candidates, float64 in [0, 1].

    With g candidates above and e level with the target its rank is uniform on g … g + e, so the target is among
    the first k with probability ``clip(k − g, 0, e + 1) / (e + 1)``.
    """
    return np.clip(k - greater, 0, equal + 1) / (equal + 1)


def ndcg(greater: np.ndarray, equal: np.ndarray, k: int) -> np.ndarray:
    """Return the expected NDCG at `k` of each user over random orders of tied candidates, float64 in [0, 1].

    One relevant item makes the ideal gain 1 and the gain at 0-based rank r ``1 / log2(r + 2)``
    (Järvelin & Kekäläinen, 2002); the mean over ranks g … g + e is a difference of prefix sums.
    """
    gains = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    return (gains[np.minimum(greater + equal + 1, k)] - gains[np.minimum(greater, k)]) / (equal + 1)


def ranking_metrics(greater: np.ndarray, equal: np.ndarray, ks: tuple[int, ...]) -> dict[str, float]:
    """Return ``{"HR@k": …, "NDCG@k": …}``, means over users; NaN if there are none."""
    out: dict[str, float] = {}
    for k in ks:
        empty = greater.size == 0
        out[f"HR@{k}"] = float("nan") if empty else float(hit_ratio(greater, equal, k).mean())
        out[f"NDCG@{k}"] = float("nan") if empty else float(ndcg(greater, equal, k).mean())
    return out
