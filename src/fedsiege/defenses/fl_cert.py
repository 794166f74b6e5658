"""FLCert: several global models that vote, each trained by a group of clients of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fedsiege import registry
from fedsiege.capabilities import Capability
from fedsiege.checks import is_count, require
from fedsiege.defenses.base import Defense, DefenseBase, DefenseView, Grant, Outcome, heeded, never_rejects
from fedsiege.errors import ConfigError
from fedsiege.fields import build
from fedsiege.learners.base import State
from fedsiege.updates import ModelSpec, UpdateBatch

if TYPE_CHECKING:
    from fedsiege.data.images import ImageDataset


@dataclass(frozen=True)
class FLCert(DefenseBase):
    """FLCert: clients fall into groups by lot, each group trains a global model, the models' majority predicts.

    A malicious client reaches the model of its own group only. Each group aggregates with a rule of its own choice,
    which sees that group's uploads alone.

    Reference: Cao et al., FLCert, IEEE TIFS 2022, section IV (FLCert-P); Xie et al., ICML 2024, A.3, for 10 groups
    with Median.

    Parameters
    ----------
    groups : int
        Number of groups and of global models, ≥ 2 and at most the number of clients.
    rule : str or mapping
        The aggregation rule within a group: its name, or a mapping with ``name`` and its settings. What it needs of the
        model and heeds of the threat model, FLCert needs and heeds too. A rule that keeps several models, expels
        clients or asks something of them is refused, and so are rules joined by ``+``: a group has one.
    """

    name: ClassVar[str] = "flcert"
    needs: ClassVar[frozenset[Capability]] = frozenset({"vote"})
    groups: int = 10
    rule: str | dict[str, Any] = "median"

    def __post_init__(self) -> None:
        """Check ranges and the rule, and write its settings out (ConfigError)."""
        require(is_count(self.groups) and self.groups >= 2, "flcert.groups", self.groups, "an int of at least 2")
        inner = self.inner
        if inner.models > 1 or inner.expels or inner.client_half() is not None:
            raise ConfigError(f"flcert.rule = {inner.name!r} must be a plain aggregation rule, such as 'median'")
        if not isinstance(self.rule, str):
            settings = {field.name: getattr(inner, field.name) for field in dataclasses.fields(inner)}  # type: ignore[arg-type]
            object.__setattr__(self, "rule", {"name": inner.name, **settings})
        object.__setattr__(self, "never_rejects", never_rejects(inner))
        # Each instance needs what its rule needs; the class keeps what all of them do, for `fedsiege list`.
        object.__setattr__(self, "needs", type(self).needs | inner.needs)

    @cached_property
    def inner(self) -> Defense:
        """The rule within a group (ConfigError if there is none such)."""
        asked = {"name": self.rule} if isinstance(self.rule, str) else self.rule
        name = asked.get("name") if isinstance(asked, Mapping) else None
        allowed = "the name of a rule, such as 'median', or a mapping with a `name` and its settings"
        require(isinstance(name, str), "flcert.rule", self.rule, allowed)
        name = str(name)
        if "+" in name and name not in registry.entries("defenses"):
            raise ConfigError(f"flcert.rule = {name!r} joins several, and a group has one rule; name one of them")
        values = {key: value for key, value in asked.items() if key != "name"}
        rule: Defense = build(registry.load("defenses", name), values, f"flcert.rule ({name})")
        return rule

    @property
    def models(self) -> int:
        """Number of global models."""
        return self.groups

    @property
    def heeds(self) -> frozenset[Grant]:
        """What the rule heeds; it is told the share of each group."""
        return heeded(self.inner)

    def check_images(self, images: ImageDataset) -> None:
        """Refuse a rule that asks for more training images than there are (ConfigError)."""
        if check := getattr(self.inner, "check_images", None):
            check(images)

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return the state of one group's rule."""
        return self.inner.init(spec, rng)

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Aggregate the uploads of one group."""
        return self.inner.step(updates, state, view)
