"""What one round leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedsiege.defenses.base import Verdicts


@dataclass(frozen=True)
class RoundRecord:
    """Evidence of one round: who took part, who was malicious (the simulator knows), and each verdict.

    Parameters
    ----------
    round : int
        Number from 1.
    loss : float
        Mean local loss of the benign clients of the cohort, but for clients of a classifier without samples (NaN if
        there were no others).
    cohort : numpy.ndarray
        int64 ``(n,)``: client ids in the order of the uploads.
    malicious : numpy.ndarray
        bool ``(n,)``: which of them attack.
    verdicts : Verdicts
        One per upload.
    norms : numpy.ndarray
        float64 ``(n,)``: L2 norms of the uploads.
    applied : bool
        False if no upload was left and the model stayed as it was.
    info : dict
        Numbers of the defense about the round.
    metrics : dict
        Scores by split, on rounds that end with an evaluation.
    projection : numpy.ndarray or None
        float64 ``(n, 2)``: first two principal components of the uploads, on rounds that are projected.
    """

    round: int
    loss: float
    cohort: np.ndarray
    malicious: np.ndarray
    verdicts: Verdicts
    norms: np.ndarray
    applied: bool
    info: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    projection: np.ndarray | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values; floats rounded to six significant digits (scores, which may
        differ by little, to twelve), NaN as null.
        """

        def number(x: float, digits: int = 6) -> float | None:
            return float(f"{x:.{digits}g}") if np.isfinite(x) else None

        v = self.verdicts
        rejected = [[int(self.cohort[i]), v.reason[i]] for i in np.flatnonzero(~v.accepted)]
        altered = [[int(self.cohort[i]), v.reason[i]] for i in np.flatnonzero(v.accepted) if v.reason[i]]
        return {
            "round": self.round,
            "loss": number(self.loss),
            "applied": self.applied,
            "cohort": self.cohort.tolist(),
            "malicious": self.cohort[self.malicious].tolist(),
            "rejected": rejected,
            "altered": altered,
            **({} if v.expelled is None else {"expelled": self.cohort[v.expelled].tolist()}),
            **({"expelled_absent": list(v.absent)} if v.absent else {}),
            **({"restart": True} if v.restart else {}),
            "score": None if np.isnan(v.score).all() else [number(x, 12) for x in v.score],
            "weight": [number(x) for x in v.weight],
            "norm": [number(x) for x in self.norms],
            "info": self.info,
            "metrics": {
                split: {name: (float(x) if np.isfinite(x) else None) for name, x in scores.items()}
                for split, scores in self.metrics.items()
            },
            **({} if self.projection is None else {"projection": [[number(x) for x in p] for p in self.projection]}),
        }
