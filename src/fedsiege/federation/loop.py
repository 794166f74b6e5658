"""The round: cohort, local training, attack, defense, server step. It knows no plug-in by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np
import torch

from fedsiege.attacks.base import Attack, AttackView, Knowledge, Rehearsal, held
from fedsiege.checks import is_count, require
from fedsiege.defenses.base import Defense, DefenseView, heeded
from fedsiege.defenses.gate import LARGEST, guarded_step
from fedsiege.errors import ConfigError, UploadError
from fedsiege.federation.groups import Groups, Part, join
from fedsiege.federation.reach import check_reach
from fedsiege.federation.record import RoundRecord
from fedsiege.federation.server import ServerConfig, ServerModel
from fedsiege.learners.base import Job, Learner, RootLearner, State, Trained, VirtualLearner, VotingLearner
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
    cohort : int or float
        Clients drawn per round, uniformly without replacement: a number, or a fraction of all in (0, 1], such as 0.1
        for a tenth and 1.0 for all (1 is a single client).
    malicious : float
        Share of all clients that is malicious, in [0, 1); drawn once, rounded to a number of clients.
    reserved : float
        Share of clients left out of the scores, in [0, 1). The malicious are drawn first from these, so runs with
        different `malicious` up to this share are scored on the same clients.
    tell_defense : bool
        Whether the defense is told how many malicious clients the coalition can bring to a cohort on average,
        rounded up; the expelled do not count. Off unless a threat model grants it. Told are defenses that heed a number
        (`krum` and `multikrum` without `byzantine`, `trimmedmean` with ``trim: null``, `union` as published, `flcert`
        with such a rule); others run as ever, and count as untold.
    tell_norm : bool
        Whether the defense is told the mean norm of the benign uploads of each round, which only an oracle knows.
        `normbound` heeds it, with ``bound: null``; others run as ever.
    evaluate_every : int
        Rounds between evaluations; the last round is always evaluated.
    evaluate_users : int or None
        Score a fixed random sample of so many benign clients instead of all.
    cutoffs : tuple of int
        K of HR@K and NDCG@K.
    project_every : int
        Rounds between projections of the uploads on their first two principal components, for plots; 0 for none.
    attackers : int or None
        So many malicious clients in every cohort, or all that are left if they are fewer; None: as many as chance
        brings. Published code differs in this, and it moves results.
    """

    younger: ClassVar[tuple[str, ...]] = ("attackers", "tell_norm")
    rounds: int = 6000
    cohort: int | float = 50
    malicious: float = 0.01
    reserved: float = 0.05
    tell_defense: bool = False
    evaluate_every: int = 200
    evaluate_users: int | None = None
    cutoffs: tuple[int, ...] = (5, 10, 20)
    project_every: int = 200
    attackers: int | None = None
    tell_norm: bool = False

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        for name in ("rounds", "cohort", "evaluate_every"):
            value = getattr(self, name)
            if value < 1 and not (isinstance(value, float) and value > 0):
                raise ConfigError(f"federation.{name} = {value} must be at least 1")
        whole = all(is_count(k) and k > 0 for k in self.cutoffs)
        require(bool(self.cutoffs) and whole, "federation.cutoffs", self.cutoffs, "numbers of items of at least 1")
        users = self.evaluate_users
        require(
            users is None or (is_count(users) and users > 0),
            "federation.evaluate_users", users, "at least 1 client, or null for all",
        )  # fmt: skip
        require(is_count(self.project_every), "federation.project_every", self.project_every, "0 or a number of rounds")
        if isinstance(self.cohort, float) and self.cohort > 1:
            raise ConfigError(f"federation.cohort = {self.cohort} must be a number of clients or a fraction in (0, 1]")
        if self.attackers is not None and self.attackers < 0:
            raise ConfigError(f"federation.attackers = {self.attackers} must be a number of clients, or null")
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
        for plugin in (attack, defense):
            check_reach(plugin, getattr(learner, "dataset", None))
        self.learner, self.attack, self.defense = learner, attack, defense
        self.config, self.seed = config, seed
        n = learner.num_clients
        self.size = max(1, round(config.cohort * n)) if isinstance(config.cohort, float) else config.cohort
        if self.size > n:
            raise ConfigError(f"federation.cohort = {config.cohort} exceeds the {n} clients")
        if config.attackers is not None and config.attackers > self.size:
            raise ConfigError(f"federation.attackers = {config.attackers} exceeds the cohort of {self.size}")
        order = generator(seed, "coalition").permutation(n)
        count = round(config.malicious * n)
        self.coalition = np.sort(order[:count])
        if config.attackers is not None and n - count < self.size - config.attackers:
            raise ConfigError(
                f"federation.attackers = {config.attackers} leaves {self.size - config.attackers} places of a cohort "
                f"to {n - count} benign clients; draw fewer clients or more attackers"
            )
        self.is_malicious = np.zeros(n, bool)
        self.is_malicious[self.coalition] = not attack.honest
        self.scored = np.sort(order[max(count, round(config.reserved * n)) :])
        if config.evaluate_users is not None and config.evaluate_users < self.scored.size:
            chosen = generator(seed, "scored").choice(self.scored, config.evaluate_users, replace=False)
            self.scored = np.sort(chosen)
        self.half = defense.client_half()
        self.groups = Groups.of(defense.models, n, seed, f"{defense.name.rpartition('+')[2]}.groups")
        self.expelled = np.zeros(n, bool)
        self.server = server
        self.models = self._initial_models()
        spec = learner.spec
        self.attack_state: list[State] = [
            attack.init(spec, generator(seed, "attack-init", *where)) for where in self.groups.addresses
        ]
        self.defense_state: list[State] = [
            defense.init(spec, generator(seed, "defense-init", *where)) for where in self.groups.addresses
        ]
        self.done = 0

    def _initial_models(self) -> list[ServerModel]:
        """Return the global models as they are before the first round; personal parameters are reset too."""
        spec, decay = self.learner.spec, self.learner.decay
        return [ServerModel(spec, self.learner.init(), self.server, decay) for _ in range(self.groups.count)]

    @property
    def model(self) -> ServerModel:
        """The global model (the first of several)."""
        return self.models[0]

    def cohort(self, round_: int) -> np.ndarray:
        """Return the ids of the clients of a round, ascending; they depend on seed, round and who was expelled."""
        rng = generator(self.seed, "cohort", round_)
        if self.config.attackers is not None:
            return self._arranged(rng, self.config.attackers)
        if not self.expelled.any():
            return np.sort(rng.choice(self.learner.num_clients, self.size, replace=False))
        left = np.flatnonzero(~self.expelled)
        if not left.size:
            return left
        return np.sort(rng.choice(left, min(self.size, left.size), replace=False))

    def _arranged(self, rng: np.random.Generator, attackers: int) -> np.ndarray:
        """Return a cohort with so many members of the coalition, whether they attack or not."""
        left = np.flatnonzero(~self.expelled)
        bad = np.isin(left, self.coalition)
        chosen = rng.choice(left[bad], min(attackers, int(bad.sum())), replace=False)
        others = rng.choice(left[~bad], min(self.size - attackers, int((~bad).sum())), replace=False)
        return np.sort(np.concatenate([chosen, others]))

    def _train(self, model: ServerModel, cohort: np.ndarray, bad: np.ndarray, round_: int) -> Trained:
        """Local training of the cohort; client-side halves bind honest clients, data poisoning the others."""
        poison = None
        if self.attack.poisons_data and bad.any():
            rng, level = generator(self.seed, "poison", round_), self.attack.knowledge
            poison = lambda data: self.attack.poison(held(data, level, self.coalition), rng)  # noqa: E731
        task = self.half.task if self.half else None
        job = Job(cohort, round_, task, ~bad, poison, bad, commit=False)
        trained = self.learner.train(model, job)
        if self.half is None or not self.half.transforms:
            return trained
        good = np.flatnonzero(~bad)
        mine = trained.updates.select(good)
        ahead = None
        if self.half.wants_next:
            ahead = self.learner.train(model, Job(cohort[good], round_, task, commit=False, start=mine)).updates
        changed = self.half.transform(mine, ahead, self.seed, round_)
        return replace(trained, updates=trained.updates.replace(good, changed))

    def _attack(self, model: ServerModel, updates: UpdateBatch, bad: np.ndarray, view: DefenseView) -> UpdateBatch:
        """Let the attacker replace the uploads of its own clients."""
        round_, group = view.round, self.models.index(model)
        places = np.flatnonzero(bad)
        own = updates.select(places)
        # Who may rehearse a round must meet it rounded alike, whether anything was rehearsed or not.
        again = (Knowledge.ORACLE | Knowledge.BENIGN) in self.attack.knowledge

        def honest(clients: np.ndarray) -> UpdateBatch:
            if not self.attack.poisons_data and np.isin(clients, own.clients).all():
                return own.select(np.searchsorted(own.clients, clients))
            return self.learner.train(model, Job(clients, round_, commit=False)).updates

        def accepts(uploads: UpdateBatch) -> np.ndarray:
            return guarded_step(self.defense, uploads, self.defense_state[group], view)[0].verdicts.accepted

        def rehearse(uploads: UpdateBatch) -> Rehearsal:
            whole = updates.replace(places, uploads, again)
            outcome, _ = guarded_step(self.defense, whole, self.defense_state[group], view)
            return Rehearsal(outcome.verdicts.accepted[places], outcome.delta)

        shown = AttackView(
            self.attack.knowledge,
            self.learner.spec,
            self.seed,
            round_,
            updates.n,
            self.coalition,
            own.clients,
            model,
            honest,
            lambda clients, task: self.learner.task_update(model, Job(clients, round_, task, commit=False)),
            lambda: updates.select(~bad),
            accepts,
            rehearse,
        )
        crafted, self.attack_state[group] = self.attack.step(own, self.attack_state[group], shown)
        if crafted is own:
            return updates
        if not np.array_equal(crafted.clients, own.clients):
            raise UploadError(f"attack {self.attack.name!r} returned uploads of other clients than it was given")
        crafted.check(self.learner.spec)
        return updates.replace(places, crafted, again)

    def told(self, clients: int | None = None) -> int | None:
        """Return how many attackers among so many clients of the cohort at hand the defense is told of, or None.

        Who has been expelled counts no more. The default is a whole cohort of the first round, before anybody is.
        """
        if not self.config.tell_defense:
            return None
        left = np.ones_like(self.expelled) if clients is None else ~self.expelled
        members, everyone = int(left[self.coalition].sum()), int(left.sum())
        if self.config.attackers is not None:
            others = min(self.size - self.config.attackers, everyone - members)
            members = min(self.config.attackers, members)
            everyone = members + others
        size = min(self.size, everyone) if clients is None else clients
        return int(np.ceil(size * members / max(everyone, 1)))

    def _view(self, model: ServerModel, round_: int, clients: int, benign: np.ndarray | None = None) -> DefenseView:
        """Return what the server sees besides the uploads of so many `clients`, of which `benign` are norms."""
        learner, root, virtual = self.learner, None, None
        if "root" in self.defense.needs:
            root = lambda samples: cast(RootLearner, learner).root_update(model, samples, round_)  # noqa: E731
        if "virtual" in self.defense.needs:
            virtual = cast(VirtualLearner, learner).virtual()
        heeds = heeded(self.defense)
        told = self.told(clients) if "count" in heeds else None
        norm = None
        if "norm" in heeds and self.config.tell_norm and benign is not None:
            # An honest client that has diverged is no measure of the others.
            sound = benign[benign < LARGEST]
            norm = float(sound.mean()) if sound.size else None
        return DefenseView(learner.spec, model, self.seed, round_, model.config.lr, told, root, virtual, norm)

    def _round(self, group: int, cohort: np.ndarray, round_: int) -> Part:
        """Train, attack and defend the clients of one global model, and apply what is left."""
        model = self.models[group]
        bad = self.is_malicious[cohort]
        trained = self._train(model, cohort, bad, round_)
        view = self._view(model, round_, cohort.size, trained.updates.norms[~bad])
        updates = self._attack(model, trained.updates, bad, view) if bad.any() else trained.updates
        outcome, self.defense_state[group] = guarded_step(self.defense, updates, self.defense_state[group], view)
        # Personal parameters move last: until here the attacker may ask what its clients would do from the start.
        trained.commit()
        if outcome.delta is not None:
            model.apply(outcome.delta)
        every = self.config.project_every
        drawn = every and round_ % every == 0 and self.groups.count == 1 and usable(updates)
        projection = principal_components(updates) if drawn else None
        return Part(cohort, bad, trained.loss, updates.norms, trained.updates.counts, outcome, projection)

    def step(self) -> RoundRecord:
        """Run one round and return its record."""
        round_ = self.done + 1
        parts = {g: self._round(g, members, round_) for g, members in self.groups.split(self.cohort(round_))}
        part = join(list(parts.values()))
        verdicts = part.outcome.verdicts
        if verdicts.expelled is not None:
            self.expelled[part.cohort[verdicts.expelled]] = True
        self.expelled[list(verdicts.absent)] = True
        if verdicts.restart:
            # Only where it was asked for: a detector of another group remembers the model that it has watched.
            initial = self._initial_models()
            for group in (g for g, found in parts.items() if found.outcome.verdicts.restart):
                self.models[group] = initial[group]
        self.done = round_
        due = round_ % self.config.evaluate_every == 0 or round_ == self.config.rounds
        # Without samples a classifier's client has no loss; NaN of a client that has some is a divergence.
        good = ~part.bad & ~(np.isnan(part.loss) & (part.counts == 0))
        return RoundRecord(
            round_,
            float(part.loss[good].mean()) if good.any() else float("nan"),
            part.cohort,
            part.bad,
            verdicts,
            part.norms,
            part.outcome.delta is not None,
            dict(part.outcome.info),
            self.evaluate() if due else {},
            part.projection,
        )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Score the current model on the benign clients, or the vote of several models."""
        goal = self.attack.goal()
        if len(self.models) > 1:
            return cast(VotingLearner, self.learner).vote(self.models, goal)
        return self.learner.evaluate(self.model, self.scored, self.config.cutoffs, self.done, goal)

    def rounds(self) -> Iterator[RoundRecord]:
        """Run the rounds that are left, one at a time."""
        while self.done < self.config.rounds:
            yield self.step()

    def state(self) -> State:
        """Return everything from which the run can go on, bit for bit."""
        return {
            "done": self.done,
            "models": {str(i): model.state() for i, model in enumerate(self.models)},
            "learner": self.learner.state(),
            "attack": {str(i): state for i, state in enumerate(self.attack_state)},
            "defense": {str(i): state for i, state in enumerate(self.defense_state)},
            "expelled": torch.from_numpy(self.expelled),
        }

    def load(self, state: State) -> None:
        """Take over a saved `state`."""
        self.done = int(state["done"])
        for i, model in enumerate(self.models):
            model.load(state["models"][str(i)])
            self.attack_state[i], self.defense_state[i] = state["attack"][str(i)], state["defense"][str(i)]
        self.learner.load(state["learner"])
        self.expelled[:] = state["expelled"].numpy()
