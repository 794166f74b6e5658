"""FLTrust: uploads are trusted as far as they point where the server's own training points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fedsiege.capabilities import Capability
from fedsiege.checks import is_count, require
from fedsiege.defenses.base import DefenseBase, DefenseView, Outcome, Verdicts
from fedsiege.defenses.geometry import products
from fedsiege.errors import ConfigError
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch

if TYPE_CHECKING:
    from fedsiege.data.images import ImageDataset


@dataclass(frozen=True)
class FLTrust(DefenseBase):
    """FLTrust: weights uploads by their cosine with the server's own update, and gives all of them its length.

    The server trains on a small clean data set of its own, as clients do. The trust in an upload is the cosine of
    its angle to that update, or 0 if it is negative; such uploads are rejected. The verdict's score is the cosine.

    Reference: Cao et al., FLTrust, NDSS 2021, section IV, Algorithm 2.

    Parameters
    ----------
    samples : int
        Size of the server's data set, ≥ 1 (Xie et al., ICML 2024, A.3: 500) and at most the number of training
        images that there are. A simulation draws it from all of these, which are the clients' own too, also where
        ``dataset.samples`` gives clients fewer.
    """

    name: ClassVar[str] = "fltrust"
    needs: ClassVar[frozenset[Capability]] = frozenset({"root"})
    samples: int = 500

    def __post_init__(self) -> None:
        """Check ranges."""
        require(is_count(self.samples) and self.samples >= 1, "fltrust.samples", self.samples, "an int of at least 1")

    def check_images(self, images: ImageDataset) -> None:
        """Refuse more samples than there are training images (ConfigError)."""
        total = len(images.train)
        allowed = f"at most {total}, the number of training images"
        require(self.samples <= total, "fltrust.samples", self.samples, allowed)

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Average the uploads by trust, each scaled to the length of the server's update."""
        if view.root is None:
            raise ConfigError("fltrust trains on clean data of the server's own, which this model does not offer")
        root = view.root(self.samples)
        length = float(root.norms[0])
        along = np.zeros(updates.n)
        for name, block in root.blocks.items():
            along += products(updates.blocks[name], block.dense()[0])
        norms = updates.norms
        cosine = np.clip(along / np.where(norms > 0, norms, 1.0) / (length or 1.0), -1.0, 1.0)
        trust = np.maximum(cosine, 0.0)
        accepted = trust > 0
        weight = trust / trust.sum() if accepted.any() else trust
        reasons = tuple("" if ok else "points away from the server's update" for ok in accepted)
        verdicts = Verdicts(accepted, cosine, weight, reasons)
        info = {"root_norm": length, "trust": float(trust.sum())}
        if not accepted.any():
            return Outcome(None, verdicts, info), state
        factor = length / np.where(accepted, norms, 1.0)
        return Outcome(updates.weighted_sum(weight * factor), verdicts, info), state
