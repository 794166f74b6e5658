"""Clients in groups, each with a global model of its own, and a round put together from what each group did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fedsiege.defenses.base import Outcome, Verdicts
from fedsiege.errors import ConfigError
from fedsiege.rng import generator


@dataclass(frozen=True)
class Groups:
    """Which group each client belongs to, by lot and for good; groups differ in size by one client at most.

    Parameters
    ----------
    count : int
        Number of groups, and of global models.
    of_client : numpy.ndarray
        int64 ``(clients,)``, in [0, `count`).
    """

    count: int
    of_client: np.ndarray

    @classmethod
    def of(cls, count: int, clients: int, seed: int, what: str = "groups") -> Groups:
        """Deal `clients` to `count` groups.

        Raises
        ------
        ConfigError
            If there are more groups than clients; `what` is how to call their number.
        """
        if count > clients:
            raise ConfigError(
                f"{what} = {count} exceeds the {clients} clients, so untrained models would vote; take at most that"
            )
        if count == 1:
            return cls(1, np.zeros(clients, np.int64))
        return cls(count, generator(seed, "groups").permutation(clients) % count)

    @property
    def addresses(self) -> list[tuple[int, ...]]:
        """What tells the random numbers of the groups apart; nothing if there is one."""
        return [()] if self.count == 1 else [(g,) for g in range(self.count)]

    def split(self, cohort: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each group that has clients in `cohort` with those clients, ascending."""
        if self.count == 1 and cohort.size:
            yield 0, cohort
            return
        for group in range(self.count):
            members = cohort[self.of_client[cohort] == group]
            if members.size:
                yield group, members


@dataclass(frozen=True)
class Part:
    """What happened to the clients of one group in a round.

    Parameters
    ----------
    cohort : numpy.ndarray
        int64 ``(n,)``: client ids.
    bad : numpy.ndarray
        bool ``(n,)``: which of them attack.
    loss, norms : numpy.ndarray
        float64 ``(n,)``: local losses, and norms of the uploads.
    counts : numpy.ndarray
        float64 ``(n,)``: how many samples of its own each client trained on.
    outcome : Outcome
        What the defense decided.
    projection : numpy.ndarray or None
        float64 ``(n, 2)``: principal components of the uploads, if wanted.
    """

    cohort: np.ndarray
    bad: np.ndarray
    loss: np.ndarray
    norms: np.ndarray
    counts: np.ndarray
    outcome: Outcome
    projection: np.ndarray | None = None


def join(parts: Sequence[Part]) -> Part:
    """Return the round of all groups: clients ascending; weights are shares in the client's own group.

    The outcome's aggregate is that of the first group that has one; numbers about the round carry the group's place.
    """
    if len(parts) == 1:
        return parts[0]
    if not parts:
        nobody = np.empty(0)
        return Part(
            nobody.astype(np.int64),
            nobody.astype(bool),
            nobody,
            nobody,
            nobody,
            Outcome(None, Verdicts.all_accepted(0)),
        )
    cohort = np.concatenate([part.cohort for part in parts])
    order = np.argsort(cohort)
    verdicts = [part.outcome.verdicts for part in parts]
    reasons = [reason for v in verdicts for reason in v.reason]
    expelled = None
    if any(v.expelled is not None for v in verdicts):
        flags = [np.zeros(v.accepted.size, bool) if v.expelled is None else v.expelled for v in verdicts]
        expelled = np.concatenate(flags)[order]
    merged = Verdicts(
        np.concatenate([v.accepted for v in verdicts])[order],
        np.concatenate([v.score for v in verdicts])[order],
        np.concatenate([v.weight for v in verdicts])[order],
        tuple(reasons[i] for i in order),
        expelled,
        any(v.restart for v in verdicts),
        tuple(sorted(client for v in verdicts for client in v.absent)),
    )
    delta = next((part.outcome.delta for part in parts if part.outcome.delta is not None), None)
    info = {f"{i}.{key}": value for i, part in enumerate(parts) for key, value in part.outcome.info.items()}
    return Part(
        cohort[order],
        np.concatenate([part.bad for part in parts])[order],
        np.concatenate([part.loss for part in parts])[order],
        np.concatenate([part.norms for part in parts])[order],
        np.concatenate([part.counts for part in parts])[order],
        Outcome(delta, merged, info),
    )
