"""What attacks that wrap another one share: all but the uploads is the wrapped attack's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fedsiege.attacks.base import Knowledge
from fedsiege.capabilities import Capability
from fedsiege.learners.base import Goal, Held, Labelled, Pairs, State
from fedsiege.updates import ModelSpec

if TYPE_CHECKING:
    from fedsiege.data.images import ImageDataset


@dataclass(frozen=True)
class Wrapper:
    """Base of attacks around another one.

    Parameters
    ----------
    attack : Attack
        The wrapped attack; its goal, needs, knowledge, state and poisoned data stay its own.
    """

    prefix: ClassVar[str]
    """What stands before the brackets in its name."""

    attack: Any

    @property
    def name(self) -> str:
        """The prefix and, in brackets, the wrapped attack's name."""
        return f"{self.prefix}({self.attack.name})"

    @property
    def needs(self) -> frozenset[Capability]:
        """What the wrapped attack needs of the model."""
        return self.attack.needs

    @property
    def knowledge(self) -> Knowledge:
        """What the wrapped attack may see."""
        return self.attack.knowledge

    @property
    def poisons_data(self) -> bool:
        """Whether the wrapped attack poisons data."""
        return self.attack.poisons_data

    @property
    def honest(self) -> bool:
        """Whether the coalition does what honest clients do: never."""
        return self.attack.honest

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return the wrapped attack's state before the first round."""
        return self.attack.init(spec, rng)

    def goal(self) -> Goal | None:
        """Return what the wrapped attack wants."""
        return self.attack.goal()

    def check_images(self, images: ImageDataset) -> None:
        """Refuse a wrapped attack that aims outside the images (ConfigError)."""
        if check := getattr(self.attack, "check_images", None):
            check(images)

    def poison(self, data: Held, rng: np.random.Generator) -> Pairs | Labelled:
        """Return the data that the wrapped attack poisons."""
        return self.attack.poison(data, rng)
