"""FLCert: several global models that vote, each trained by a group of clients of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedsiege import registry
from fedsiege.capabilities import Capability
from fedsiege.checks import is_count, require
from fedsiege.defenses.base import Defense, DefenseBase, DefenseView, Outcome
from fedsiege.errors import ConfigError
from fedsiege.learners.base import State
from fedsiege.updates import ModelSpec, UpdateBatch


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
        Number of groups and of global models, ≥ 2.
    rule : str
        Name of the aggregation rule within a group, with its default parameters.
    """

    name: ClassVar[str] = "flcert"
    needs: ClassVar[frozenset[Capability]] = frozenset({"vote"})
    groups: int = 10
    rule: str = "median"

    def __post_init__(self) -> None:
        """Check ranges and the rule (ConfigError)."""
        require(is_count(self.groups) and self.groups >= 2, "flcert.groups", self.groups, "an int of at least 2")
        inner = self._rule()
        if inner.models > 1 or inner.expels or inner.client_half() is not None:
            raise ConfigError(f"flcert.rule = {self.rule!r} must be a plain aggregation rule, such as 'median'")

    def _rule(self) -> Defense:
        rule: Defense = registry.load("defenses", self.rule)()
        return rule

    @property
    def models(self) -> int:
        """Number of global models."""
        return self.groups

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return the state of one group's rule."""
        return self._rule().init(spec, rng)

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Aggregate the uploads of one group."""
        return self._rule().step(updates, state, view)
