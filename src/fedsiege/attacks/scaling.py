"""Scaling: a backdoor trained beside the task, in uploads enlarged until they outweigh the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from fedsiege.attacks.base import AttackBase, AttackView
from fedsiege.attacks.trigger import PIXELS, Pixels, Trigger, check_class
from fedsiege.capabilities import Capability
from fedsiege.checks import is_count, is_real, require
from fedsiege.learners.base import Goal, Held, Labelled, Pairs, State
from fedsiege.updates import UpdateBatch

if TYPE_CHECKING:
    from fedsiege.data.images import ImageDataset


def with_copies(data: Labelled) -> tuple[Labelled, np.ndarray]:
    """Return every client's samples followed by a copy of them, and bool ``(2 · total,)``: which are the copies."""
    owner = np.repeat(np.arange(data.clients.size), np.diff(data.ptr))
    sample = np.arange(owner.size)
    # Client i starts at 2 · ptr[i]; its copies follow its ptr[i + 1] − ptr[i] samples.
    source, copied = np.empty(2 * owner.size, np.int64), np.zeros(2 * owner.size, bool)
    source[data.ptr[owner] + sample] = sample
    source[data.ptr[owner + 1] + sample] = sample
    copied[data.ptr[owner + 1] + sample] = True
    index = torch.from_numpy(source).to(data.x.device)
    return replace(data, ptr=2 * data.ptr, x=data.x[index], y=data.y[index]), copied


@dataclass(frozen=True)
class Scaling(AttackBase):
    """Scaling: train on clean and triggered samples, then upload the update several times enlarged.

    A malicious client holds its own samples and a copy of each, in which the trigger is set and the label is the
    target class. What it learns from both is multiplied by `scale`.

    Reference: Bagdasaryan et al., How To Backdoor Federated Learning, AISTATS 2020, section 4.2 (as in Xie et al.,
    FedREDefense, ICML 2024, appendix A.2).

    Parameters
    ----------
    target : int
        Class that triggered inputs are to get.
    scale : float
        Factor of the uploads, above 0.
    pixels : tuple of (int, int)
        The trigger's pixels; see `Trigger`.
    channel : int
        Its channel.
    value : float
        Its value, in the (normalised) numbers that the model reads.
    """

    name: ClassVar[str] = "scaling"
    needs: ClassVar[frozenset[Capability]] = frozenset({"labels"})
    poisons_data: ClassVar[bool] = True
    target: int = 0
    scale: float = 3.0
    pixels: Pixels = PIXELS
    channel: int = 0
    value: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges."""
        require(is_count(self.target), f"{self.name}.target", self.target, "a class, an int of at least 0")
        require(is_real(self.scale) and self.scale > 0, f"{self.name}.scale", self.scale, "a finite number above 0")
        _ = self.trigger

    @property
    def trigger(self) -> Trigger:
        """The whole trigger."""
        return Trigger(self.pixels, self.channel, self.value)

    def goal(self) -> Goal:
        """Return that inputs with the whole trigger shall get the target class."""
        return Goal(self.target, None, self.trigger.apply)

    def check_images(self, images: ImageDataset) -> None:
        """Refuse a target or a trigger outside the images (ConfigError)."""
        check_class(f"{self.name}.target", self.target, len(images.classes))
        self.trigger.check(self.name, images.shape)

    def mark(self, x: torch.Tensor, clients: np.ndarray, coalition: np.ndarray) -> torch.Tensor:
        """Return inputs ``(n, *shape)`` with the trigger that each one's owner uses.

        Parameters
        ----------
        x : torch.Tensor
            The inputs.
        clients : numpy.ndarray
            int64 ``(n,)``: their owners.
        coalition : numpy.ndarray
            int64: ids of all malicious clients, ascending.
        """
        return self.trigger.apply(x)

    def poison(self, data: Held, rng: np.random.Generator) -> Pairs | Labelled:
        """Return each client's samples and, after them, their triggered copies."""
        assert isinstance(data, Labelled)
        check_class(f"{self.name}.target", self.target, data.num_classes)
        both, copied = with_copies(data)
        owner = np.repeat(both.clients, np.diff(both.ptr))
        places = torch.from_numpy(np.flatnonzero(copied)).to(both.x.device)
        # Both tensors are fresh, so writing into them changes nothing that anyone else holds.
        coalition = np.unique(data.clients) if data.coalition is None else data.coalition
        both.x[places] = self.mark(both.x[places], owner[copied], coalition)
        both.y[places] = self.target
        return both

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Enlarge the uploads."""
        return updates.scale(np.full(updates.n, self.scale)), state
