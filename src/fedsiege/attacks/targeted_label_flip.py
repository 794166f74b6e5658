"""TargetedLabelFlip: one class shall be taken for another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from fedsiege.attacks.base import AttackBase
from fedsiege.attacks.trigger import check_class
from fedsiege.capabilities import Capability
from fedsiege.checks import is_count, require
from fedsiege.learners.base import Goal, Held, Labelled, Pairs

if TYPE_CHECKING:
    from fedsiege.data.images import ImageDataset


@dataclass(frozen=True)
class TargetedLabelFlip(AttackBase):
    """TargetedLabelFlip: malicious clients train honestly, with one class labelled as another.

    The attacker needs nothing but its own data. A client without a sample of the source class trains like an honest
    one.

    Reference: Tolpegin et al., ESORICS 2020, section 3 (classes as in Xie et al., FedREDefense, ICML 2024, section
    6.1).

    Parameters
    ----------
    source : int
        Class whose samples are relabelled.
    target : int
        The label that they get, another class.
    """

    name: ClassVar[str] = "targeted-labelflip"
    needs: ClassVar[frozenset[Capability]] = frozenset({"labels"})
    poisons_data: ClassVar[bool] = True
    source: int = 0
    target: int = 2

    def __post_init__(self) -> None:
        """Check ranges."""
        require(is_count(self.source), f"{self.name}.source", self.source, "a class, an int of at least 0")
        ok = is_count(self.target) and self.target != self.source
        require(ok, f"{self.name}.target", self.target, "a class, an int of at least 0, and not the source")

    def goal(self) -> Goal:
        """Return that samples of the source class shall get the target class."""
        return Goal(self.target, self.source)

    def check_images(self, images: ImageDataset) -> None:
        """Refuse classes that the images do not have (ConfigError)."""
        self._check(len(images.classes))

    def _check(self, classes: int) -> None:
        for field in ("source", "target"):
            check_class(f"{self.name}.{field}", getattr(self, field), classes)

    def poison(self, data: Held, rng: np.random.Generator) -> Pairs | Labelled:
        """Return the samples with the source class relabelled."""
        assert isinstance(data, Labelled)
        self._check(data.num_classes)
        return replace(data, y=torch.where(data.y == self.source, self.target, data.y))
