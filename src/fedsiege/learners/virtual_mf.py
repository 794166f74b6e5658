"""Training of matrix factorisation on distilled knowledge: virtual users who like and dislike items by degrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from fedsiege.learners.base import ModelView
from fedsiege.updates import RowBlock, UpdateBatch

MF_RATES: Mapping[str, Any] = {
    "pairs": 1,
    "inner": 1,
    "input_lr": 5e-4,
    "label_lr": 0.06,
    "virtual_lr": 64.0,
    "rate_lr": 0.0,
    "momentum": 0.8,
    "first": 400,
    "later": 400,
}
"""Fields of `FedREDefense` that suit this task, and that configurations get which leave them out; see `UserTask`."""

LENGTH = 0.1
"""About the length of a virtual user at first: so short that scores, and their curvature, play a small part."""


@dataclass(frozen=True)
class UserTask:
    """Training of an item table on virtual users, for FedREDefense with `MF`.

    Knowledge is a handful of user vectors (``inputs``) and, for every virtual user, one logit an item of the
    preference for each item row that the upload touches (``labels``). The loss is the binary cross entropy between
    preferences and scores, both per row, summed over users and rows and multiplied by ‖upload‖ / √rows. Logits are
    √rows times the labels. Both factors only condition the fit: with them one set of step sizes suits long and short
    histories, and early and late rounds; what can be reconstructed is the same without them.

    Which items a client touches may change from round to round (UNION's contrastive term draws some anew), so
    knowledge says which row each label belongs to, and `align` carries labels over by row: a row that was not
    touched last time starts at zero, and what is known of a row that is not touched any more is dropped.

    What the reconstruction tests is rank. An honest upload without dropout is, but for the L2 term, the outer product
    of one coefficient a row and the client's own vector, which one virtual user gives exactly. Each virtual user adds
    one to the rank within reach, so there have to be far fewer than `dim`: with as many as that, any direction can be
    reconstructed. Dropout at rate r draws masks for every pair and leaves one virtual user about 1 − (1 − r)² of the
    squared norm (0.36 at r = 0.2) as the least error when all embeddings are alike.

    The defense's defaults were made for images and do not suit: ten virtual users and five inner steps reconstruct
    anything, so nobody is rejected. `MF_RATES` holds values that do, with `gamma` at 0.6:
    one virtual user (a client *is* one user), one inner step (the upload is one gradient), a fixed virtual rate (the
    length of the user vector does its work) and ``start="normal"``; virtual users are short and the virtual rate is
    large, so that scores add little curvature. Larger step sizes diverge late in training. On generated data honest
    errors end between 0.1 and 0.5, those of ClusterAttack, Fang and Gaussian between 0.7 and 1. LIE is not always told
    apart: the coalition's mean, shifted, can be as near rank one as training is. UNION's contrastive term is training
    that virtual users do not do: with it honest uploads end between 0.5 and 0.7, so `gamma` would have to be higher.

    Parameters
    ----------
    dim : int
        Embedding size.
    block : str
        Name of the item table, the model's only block.
    """

    dim: int
    block: str = "items"

    def knowledge(self, count: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Return `count` users from N(0, 0.01 / dim) who know no row yet, float32; ``rows`` is int64."""
        inputs = rng.standard_normal((count, self.dim), np.float32) * np.float32(LENGTH / np.sqrt(self.dim))
        return {
            "inputs": torch.from_numpy(inputs),
            "labels": torch.zeros(count, 0),
            "rows": torch.zeros(0, dtype=torch.int64),
            "scale": torch.ones(()),
        }

    def _touched(self, upload: UpdateBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows, ascending, that the single `upload` touches and its values there."""
        block = upload.blocks[self.block]
        if isinstance(block, RowBlock):
            return block.rows, block.values
        values = block.dense()[0]
        rows = values.any(1).nonzero()[:, 0]
        return rows, values[rows]

    def align(self, knowledge: Mapping[str, torch.Tensor], upload: UpdateBatch) -> dict[str, torch.Tensor]:
        """Return `knowledge` with a label for each row that `upload` touches, and its norm as ``scale``."""
        rows, values = self._touched(upload)
        old, before = knowledge["rows"], knowledge["labels"]
        labels = before.new_zeros(before.shape[0], rows.numel())
        if old.numel():
            place = torch.searchsorted(old, rows).clamp(max=old.numel() - 1)
            known = old[place] == rows
            labels[:, known] = before[:, place[known]]
        return {**knowledge, "labels": labels, "rows": rows.clone(), "scale": values.double().norm().to(values.dtype)}

    def problem(self, model: ModelView, upload: UpdateBatch) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return the item rows that the single `upload` touches, in the model and in the upload."""
        rows, values = self._touched(upload)
        return {self.block: model.table(self.block, rows.numpy())[rows]}, {self.block: values}

    def loss(self, params: Mapping[str, torch.Tensor], knowledge: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return ‖upload‖ / √rows · Σ over users and rows of the cross entropy of preference and score."""
        scores = knowledge["inputs"] @ params[self.block].T
        root = scores.shape[1] ** 0.5
        preference = (root * knowledge["labels"]).sigmoid()
        return knowledge["scale"] / root * binary_cross_entropy_with_logits(scores, preference, reduction="sum")
