"""The round: cohort, local training, attack, defense, server step. It knows no plug-in by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fedsiege.attacks.base import Attack, AttackView
from fedsiege.defenses.base import Defense, DefenseView
from fedsiege.defenses.gate import guarded_step
from fedsiege.errors import ConfigError, UploadError
from fedsiege.federation.record import RoundRecord
from fedsiege.federation.server import ServerConfig, ServerModel
from fedsiege.learners.base import Job, Learner, State, Trained
from fedsiege.rng import generator
from fedsiege.updates import UpdateBatch
from fedsiege.updates.projection import principal_components


@dataclass(frozen=True)
class FederationConfig:
    """Who takes part, for how long, and who is malicious.

    Parameters
    ----------
    rounds : int
        Number of rounds.
    cohort : int
        Clients drawn per round, uniformly without replacement.
    malicious : float
        Share of all clients that is malicious, in [0, 1); drawn once, rounded to a number of clients.
    reserved : float
        Share of clients left out of the scores, in [0, 1). The malicious are drawn first from these, so runs with
        different `malicious` up to this share are scored on the same clients.
    tell_defense : bool
        Whether the defense is told how many malicious clients the coalition can bring to a cohort on average,
        rounded up. Off unless a threat model grants it.
    evaluate_every : int
        Rounds between evaluations; the last round is always evaluated.
    evaluate_users : int or None
        Score a fixed random sample of so many benign clients instead of all.
    cutoffs : tuple of int
        K of HR@K and NDCG@K.
    project_every : int
        Rounds between projections of the uploads on their first two principal components, for plots; 0 for none.
    """

    rounds: int = 6000
    cohort: int = 50
    malicious: float = 0.01
    reserved: float = 0.05
    tell_defense: bool = False
    evaluate_every: int = 200
    evaluate_users: int | None = None
    cutoffs: tuple[int, ...] = (5, 10, 20)
    project_every: int = 200

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        for name in ("rounds", "cohort", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"federation.{name} = {getattr(self, name)} must be at least 1")
        for name in ("malicious", "reserved"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"federation.{name} = {getattr(self, name)} must lie in [0, 1)")


def usable(updates: UpdateBatch) -> bool:
    """Return whether all uploads are finite, so that their geometry means something."""
    return bool(updates.finite.all())


class Federation:
    """One simulated federation: a learner, an attack, a defense and a server.

    Parameters
    ----------
    learner, attack, defense
        The parts; see their protocols.
    config : FederationConfig
        Who takes part.
    server : ServerConfig
        Server optimizer.
    seed : int
        Address of all randomness of the run.
    """

    def __init__(
        self,
        learner: Learner,
        attack: Attack,
        defense: Defense,
        config: FederationConfig,
        server: ServerConfig,
        seed: int,
    ) -> None:
        self.learner, self.attack, self.defense = learner, attack, defense
        self.config, self.seed = config, seed
        if config.cohort > learner.num_clients:
            raise ConfigError(f"federation.cohort = {config.cohort} exceeds the {learner.num_clients} clients")
        self.model = ServerModel(learner.spec, learner.init(), server, learner.decay)
        order = generator(seed, "coalition").permutation(learner.num_clients)
        count = round(config.malicious * learner.num_clients)
        self.coalition = np.sort(order[:count])
        self.is_malicious = np.zeros(learner.num_clients, bool)
        self.is_malicious[self.coalition] = not attack.honest
        self.scored = np.sort(order[max(count, round(config.reserved * learner.num_clients)) :])
        if config.evaluate_users is not None and config.evaluate_users < self.scored.size:
            chosen = generator(seed, "scored").choice(self.scored, config.evaluate_users, replace=False)
            self.scored = np.sort(chosen)
        self.half = defense.client_half()
        self.attack_state = attack.init(learner.spec, generator(seed, "attack-init"))
        self.defense_state = defense.init(learner.spec, generator(seed, "defense-init"))
        self.done = 0

    def cohort(self, round_: int) -> np.ndarray:
        """Return the ids of the clients of a round, ascending; they depend on seed and round alone."""
        rng = generator(self.seed, "cohort", round_)
        return np.sort(rng.choice(self.learner.num_clients, self.config.cohort, replace=False))

    def _train(self, cohort: np.ndarray, bad: np.ndarray, round_: int) -> Trained:
        """Local training of the cohort; client-side halves bind honest clients, data poisoning the others."""
        poison = None
        if self.attack.poisons_data and bad.any():
            rng = generator(self.seed, "poison", round_)
            poison = lambda data: self.attack.poison(data, rng)  # noqa: E731
        task = self.half.task if self.half else None
        job = Job(cohort, round_, task, ~bad, poison, bad, commit=False)
        trained = self.learner.train(self.model, job)
        if self.half is None or not self.half.transforms:
            return trained
        good = np.flatnonzero(~bad)
        mine = trained.updates.select(good)
        ahead = None
        if self.half.wants_next:
            ahead = self.learner.train(self.model, Job(cohort[good], round_, task, commit=False, start=mine)).updates
        changed = self.half.transform(mine, ahead, self.seed, round_)
        return replace(trained, updates=trained.updates.replace(good, changed))

    def _honest(self, clients: np.ndarray, round_: int) -> UpdateBatch:
        return self.learner.train(self.model, Job(clients, round_, commit=False)).updates

    def _attack(self, updates: UpdateBatch, bad: np.ndarray, round_: int) -> UpdateBatch:
        """Let the attacker replace the uploads of its own clients."""
        places = np.flatnonzero(bad)
        own = updates.select(places)
        view = AttackView(
            self.attack.knowledge,
            self.learner.spec,
            self.seed,
            round_,
            updates.n,
            self.coalition,
            own.clients,
            self.model,
            lambda clients: self._honest(clients, round_),
            lambda clients, task: self.learner.task_update(self.model, Job(clients, round_, task, commit=False)),
            lambda: updates.select(~bad),
        )
        crafted, self.attack_state = self.attack.step(own, self.attack_state, view)
        if crafted is own:
            return updates
        if not np.array_equal(crafted.clients, own.clients):
            raise UploadError(f"attack {self.attack.name!r} returned uploads of other clients than it was given")
        crafted.check(self.learner.spec)
        return updates.replace(places, crafted)

    def told(self) -> int | None:
        """Return the number of attackers that the defense is told, or None."""
        if not self.config.tell_defense:
            return None
        return int(np.ceil(self.config.cohort * self.coalition.size / self.learner.num_clients))

    def step(self) -> RoundRecord:
        """Run one round and return its record."""
        round_ = self.done + 1
        cohort = self.cohort(round_)
        bad = self.is_malicious[cohort]
        trained = self._train(cohort, bad, round_)
        updates = self._attack(trained.updates, bad, round_) if bad.any() else trained.updates
        view = DefenseView(self.learner.spec, self.model, self.seed, round_, self.model.config.lr, self.told())
        outcome, self.defense_state = guarded_step(self.defense, updates, self.defense_state, view)
        # Personal parameters move last: until here the attacker may ask what its clients would do from the start.
        trained.commit()
        if outcome.delta is not None:
            self.model.apply(outcome.delta)
        self.done = round_
        due = round_ % self.config.evaluate_every == 0 or round_ == self.config.rounds
        loss = float(trained.loss[~bad].mean()) if (~bad).any() else float("nan")
        every = self.config.project_every
        projection = principal_components(updates) if every and round_ % every == 0 and usable(updates) else None
        return RoundRecord(
            round_,
            loss,
            cohort,
            bad,
            outcome.verdicts,
            updates.norms,
            outcome.delta is not None,
            dict(outcome.info),
            self.evaluate() if due else {},
            projection,
        )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Score the current model on the benign clients."""
        return self.learner.evaluate(self.model, self.scored, self.config.cutoffs, self.done)

    def rounds(self) -> Iterator[RoundRecord]:
        """Run the rounds that are left, one at a time."""
        while self.done < self.config.rounds:
            yield self.step()

    def state(self) -> State:
        """Return everything from which the run can go on, bit for bit."""
        return {
            "done": self.done,
            "model": self.model.state(),
            "learner": self.learner.state(),
            "attack": self.attack_state,
            "defense": self.defense_state,
        }

    def load(self, state: State) -> None:
        """Take over a saved `state`."""
        self.done = int(state["done"])
        self.model.load(state["model"])
        self.learner.load(state["learner"])
        self.attack_state, self.defense_state = state["attack"], state["defense"]
