"""How well a defense tells malicious uploads from honest ones."""

from __future__ import annotations

import numpy as np


def mean_or_nan(values: np.ndarray) -> float:
    """Return the mean of the finite entries, NaN if there are none."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if kept.size else float("nan")


def per_round(rounds: np.ndarray, malicious: np.ndarray, accepted: np.ndarray, coalition: int) -> dict[str, float]:
    """Return detection metrics of a defense that judges every round.

    Definitions of Xie et al. (FedREDefense, ICML 2024), appendix A.4, averaged over rounds as in B.1 (ADACC, AFPR and
    AFNR there); a rate is left out of the mean in rounds where its denominator is zero.

    Only uploads that were made count: a client that is expelled drops out of numerator and denominator with its
    last upload. `final` counts clients.

    Parameters
    ----------
    rounds : numpy.ndarray
        int ``(uploads,)``: the round of each upload.
    malicious, accepted : numpy.ndarray
        bool ``(uploads,)``.
    coalition : int
        Number of malicious clients in the federation, sampled or not.

    Returns
    -------
    dict
        ``DACC`` (share of uploads judged rightly), ``FPR`` (benign uploads rejected), ``FNR`` (malicious uploads
        accepted), each a mean over rounds in [0, 1]; ``AAR``, the mean number of rounds in which a malicious client
        was aggregated; and the pooled counterparts ``FPR_pooled``, ``FNR_pooled`` over all uploads.
    """
    if rounds.size == 0:
        nan = float("nan")
        return {"DACC": nan, "FPR": nan, "FNR": nan, "AAR": nan, "FPR_pooled": nan, "FNR_pooled": nan}
    _, place = np.unique(rounds, return_inverse=True)
    size = place.max() + 1

    def count(mask: np.ndarray) -> np.ndarray:
        return np.bincount(place[mask], minlength=size).astype(np.float64)

    total, bad = count(np.ones(rounds.size, bool)), count(malicious)
    false_positive, false_negative = count(~malicious & ~accepted), count(malicious & accepted)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "DACC": mean_or_nan((total - false_positive - false_negative) / total),
            "FPR": mean_or_nan(false_positive / (total - bad)),
            "FNR": mean_or_nan(false_negative / bad),
            "AAR": float(false_negative.sum() / coalition) if coalition else float("nan"),
            "FPR_pooled": float(np.float64(false_positive.sum()) / (total - bad).sum()),
            "FNR_pooled": float(np.float64(false_negative.sum()) / bad.sum()),
        }


def final(malicious: np.ndarray, expelled: np.ndarray) -> dict[str, float]:
    """Return how well clients are told apart by whether they were expelled, at the end of a run.

    Definitions of Xie et al. (FedREDefense, ICML 2024), appendix A.4; a rate is NaN where its denominator is zero.

    Parameters
    ----------
    malicious : numpy.ndarray
        bool ``(clients,)``.
    expelled : numpy.ndarray
        int64: ids of expelled clients.

    Returns
    -------
    dict
        ``DACC_final``, ``FPR_final``, ``FNR_final`` in [0, 1].
    """
    out = np.zeros(malicious.size, bool)
    out[expelled] = True
    with np.errstate(invalid="ignore"):
        return {
            "DACC_final": float((out == malicious).mean()),
            "FPR_final": float(np.float64((out & ~malicious).sum()) / (~malicious).sum()),
            "FNR_final": float(np.float64((~out & malicious).sum()) / malicious.sum()),
        }
