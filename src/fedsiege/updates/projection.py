"""Where uploads lie: their first two principal components, from inner products alone."""

from __future__ import annotations

import numpy as np

from fedsiege.updates.batch import UpdateBatch


def principal_components(updates: UpdateBatch, k: int = 2) -> np.ndarray:
    """Return the coordinates of n uploads on their first `k` principal axes, float64 ``(n, k)``.

    The centred Gram matrix has the same spectrum as the covariance, so nothing of the model's size is made
    (Schölkopf, Smola & Müller, 1998, with the linear kernel). The sign of each axis is fixed so that its largest
    coordinate is positive.
    """
    n = updates.n
    gram = updates.gram
    centred = gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()
    values, vectors = np.linalg.eigh(centred)
    top = vectors[:, ::-1][:, :k] * np.sqrt(np.maximum(values[::-1][:k], 0.0))
    coordinates = np.zeros((n, k))
    coordinates[:, : top.shape[1]] = top
    flip = np.sign(coordinates[np.abs(coordinates).argmax(0), np.arange(k)]) if n else np.ones(k)
    return coordinates * np.where(flip == 0, 1, flip)
