"""FL-WBC: honest clients perturb what an attack could hide in for long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedsiege.capabilities import Capability
from fedsiege.checks import is_real, require
from fedsiege.defenses.base import ClientHalf, DefenseView, Filter, Verdicts
from fedsiege.errors import UploadError
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch
from fedsiege.updates.noise import laplace_where_flat, stored


@dataclass(frozen=True)
class Perturbation(ClientHalf):
    """The client half of `FLWBC`.

    Parameters
    ----------
    scale : float
        Standard deviation of the noise over the root mean square of the client's own upload.
    """

    scale: float = 0.4

    @property
    def transforms(self) -> bool:
        """Uploads change unless the scale is 0."""
        return self.scale > 0

    @property
    def wants_next(self) -> bool:
        """The change of the gradient is read from the next local step."""
        return self.transforms

    def transform(self, updates: UpdateBatch, next_updates: UpdateBatch | None, seed: int, round_: int) -> UpdateBatch:
        """Add noise where it is at least as large as the change between two consecutive local steps."""
        if not self.transforms:
            return updates
        if next_updates is None:
            raise UploadError("FL-WBC needs the next local step of each client, and the federation gave none")
        size = np.maximum(sum((stored(block) for block in updates.blocks.values()), np.zeros(updates.n)), 1.0)
        rms = updates.norms / np.sqrt(size)
        # A Laplace variable with parameter b has standard deviation √2·b.
        width = self.scale * rms / np.sqrt(2.0)
        blocks = {
            name: laplace_where_flat(
                block, next_updates.blocks[name], width, updates.clients, seed, f"fl-wbc/{name}", round_
            )
            for name, block in updates.blocks.items()
        }
        return UpdateBatch(updates.clients, updates.counts, blocks)


@dataclass(frozen=True)
class FLWBC(Filter):
    """FL-WBC: honest clients add Laplace noise where their gradient hardly changes; the server averages.

    A poisoned round lasts because the parameters it moved lie where the local loss is flat, so that honest
    steps do not move them back. Each honest client finds those coordinates by itself, as |change of the
    gradient between consecutive local steps| ≤ |noise|, and adds the noise there.

    Choices that the paper leaves open: with a single local step in a round, the change is between that step
    and one more from the parameters it leads to. The noise is measured in root mean squares of the client's
    own upload (over the values it stores), so one scale fits all models and rounds. In an item table only
    rows that the client touches anyway are perturbed, so uploads stay sparse and tell nothing new about
    other rows. The server keeps plain averaging, and malicious clients skip the perturbation.

    Reference: Sun et al., FL-WBC, NeurIPS 2021 (the perturbation of honest clients).

    Parameters
    ----------
    weighting : {"samples", "uniform"}
        Weights of the mean.
    scale : float
        Standard deviation of the noise over the root mean square of the client's upload, ≥ 0.
    """

    name: ClassVar[str] = "fl-wbc"
    never_rejects: ClassVar[bool] = True
    needs: ClassVar[frozenset[Capability]] = frozenset({"again"})
    scale: float = 0.4

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        require(
            is_real(self.scale) and self.scale >= 0,
            "fl-wbc.scale",
            self.scale,
            "a finite number of at least 0",
        )

    def client_half(self) -> ClientHalf:
        """Return the perturbation of honest uploads."""
        return Perturbation(scale=self.scale)

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Accept everything."""
        return Verdicts.all_accepted(updates.n), state, {}
