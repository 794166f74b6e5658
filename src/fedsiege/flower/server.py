"""One round on the server: uploads stacked, judged, aggregated, and everything that outlives the round."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from logging import ERROR
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

from fedsiege.checks import is_count, require
from fedsiege.defenses.base import Defense, DefenseView, Outcome, heeded
from fedsiege.defenses.gate import LARGEST, guarded_step
from fedsiege.errors import ConfigError, UploadError
from fedsiege.flower.counts import SampleCap
from fedsiege.flower.identity import Roster
from fedsiege.flower.inner import finite, hand_over, learning_rate
from fedsiege.flower.intake import Intake
from fedsiege.flower.layout import Layout, Values, to_record
from fedsiege.flower.ledger import ban_absent, verdict_rows, with_verdicts
from fedsiege.flower.logbook import plain
from fedsiege.flower.memory import inner_state, load_inner, put_back, snapshot
from fedsiege.flower.metrics import averaged
from fedsiege.flower.needs import Root
from fedsiege.flower.parse import digest, read_arrays
from fedsiege.flower.stack import stack
from fedsiege.flower.view import ServerView
from fedsiege.learners.base import State, VirtualTask
from fedsiege.rng import generator
from fedsiege.updates import UpdateBatch

NON_FINITE = "the aggregate would have made the model non-finite"
NONE_LEFT = "no upload was accepted"


@dataclass(frozen=True)
class Round:
    """What a round came to.

    Parameters
    ----------
    arrays : ArrayRecord or None
        The new model; None: it stays as it was.
    metrics : MetricRecord
        Metrics of the wrapped strategy, and the verdicts in numbers.
    entry : dict
        The round's line in the logbook.
    outcome : Outcome or None
        What the defense decided; None if it was not asked.
    """

    arrays: ArrayRecord | None
    metrics: MetricRecord
    entry: dict[str, Any]
    outcome: Outcome | None


@dataclass
class Server:
    """The defense's side of a strategy; parameters as in `fedsiege.flower.strategy.DefendedStrategy`."""

    inner: Strategy
    defense: Defense
    seed: int
    items: str | None
    root: Root | None
    virtual: VirtualTask | None
    told: int | None
    cap: SampleCap
    min_uploads: int
    expel_after: int | None
    roster: Roster = field(default_factory=Roster)
    done: int = 0
    values: Values = field(default_factory=dict)
    defense_state: State = field(default_factory=dict)
    model_digest: str = ""

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        ok = is_count(self.min_uploads) and self.min_uploads >= 1
        require(ok, "min_uploads", self.min_uploads, "an int of at least 1")
        ok = self.expel_after is None or (is_count(self.expel_after) and self.expel_after >= 1)
        require(ok, "expel_after", self.expel_after, "an int of at least 1 or None")
        require(self.told is None or is_count(self.told), "told", self.told, "an int of at least 0 or None")
        self.layout = Layout(())
        self._initial: Values | None = None
        self._inner_at_first: dict[str, Any] = {}

    @property
    def begun(self) -> bool:
        """Whether the model is known."""
        return bool(self.layout.arrays)

    @property
    def owner(self) -> str:
        """Whose state this is; a saved state of another is refused."""
        return f"{self.defense!r} with seed {self.seed}"

    def begin(self, values: Values) -> None:
        """Learn what the model looks like, and make the defense's first state (ConfigError if they do not fit)."""
        layout = Layout.of(values, self.items)
        wanted: tuple[str, ...] = getattr(getattr(self.virtual, "spec", None), "names", ())
        if missing := [name for name in wanted if name not in layout.spec.names]:
            raise ConfigError(f"virtual is made of a network with {missing[0]!r}, which the model's arrays lack")
        self.layout, self.values = layout, values
        self.defense_state = self.defense.init(layout.spec, generator(self.seed, "defense-init"))
        if self.defense.expels:
            # A defense that expels may call for a fresh start.
            self._initial, self._inner_at_first = values, snapshot(self.inner)

    def receive_model(self, values: Values) -> None:
        """Take note of the model that the clients of a round start from."""
        self.values = values
        self.model_digest = digest({info.name: values[info.name] for info in self.layout.learnt})

    def _root(self, samples: int) -> UpdateBatch:
        """Return the update of the server's own training."""
        assert self.root is not None
        try:
            trained = read_arrays(self.root(to_record(self.values), samples), self.layout)
        except UploadError as error:
            raise ConfigError(f"root must return an ArrayRecord like the model's: {error}") from error
        except Exception as error:
            raise ConfigError(f"root failed with {type(error).__name__}: {error}") from error
        return stack(self.layout, self.values, [trained], [-1], np.ones(1))

    def view(self, round_: int) -> DefenseView:
        """Return what the defense sees besides the uploads."""
        model = ServerView(self.values, self.layout, self.inner, round_)
        root = None if self.root is None else self._root
        rate = learning_rate(self.inner)
        told = self.told if "count" in heeded(self.defense) else None
        return DefenseView(self.layout.spec, model, self.seed, round_, rate, told, root, self.virtual)

    def judge(self, round_: int, updates: UpdateBatch) -> Outcome | str:
        """Let the defense judge; if it fails, say why, log it and leave its state alone.

        Raises
        ------
        ConfigError
            If what the user has handed over does not work.
        """
        try:
            outcome, self.defense_state = guarded_step(self.defense, updates, self.defense_state, self.view(round_))
        except ConfigError:
            raise
        except Exception as error:
            log(ERROR, "defense %s failed:\n%s", self.defense.name, traceback.format_exc())
            return f"the defense failed: {type(error).__name__}: {error}"
        return outcome

    def step(self, round_: int, intake: Intake) -> Round:
        """Judge a round's uploads and move the model."""
        received = [upload for _, upload in intake.uploads]
        declared = np.array([upload.count for upload in received], np.float64)
        believed = declared.copy()
        for node, upload in intake.uploads:
            self.roster.remember(node, self.model_digest, upload.digest)
        clients = [self.roster.number(node) for node, _ in intake.uploads]
        updates = stack(self.layout, self.values, [upload.values for upload in received], clients, believed)
        with np.errstate(over="ignore", invalid="ignore"):
            usable = updates.norms < LARGEST
        # Only uploads that can be used have a say in which counts are believed; `updates` reads them from here.
        believed[usable] = self.cap.believed(declared[usable])
        judged: Outcome | str = f"{usable.sum()} usable uploads are fewer than min_uploads = {self.min_uploads}"
        if enough := int(usable.sum()) >= self.min_uploads:
            judged = self.judge(round_, updates)
        outcome, why = (None, judged) if isinstance(judged, str) else (judged, NONE_LEFT)
        new: Values | None = None
        metrics: MetricRecord | None = None
        if outcome is not None and outcome.delta is not None:
            good = np.flatnonzero(outcome.verdicts.accepted)
            seen = averaged([received[i].metrics for i in good], believed[good])
            moved = self.layout.step(self.values, outcome.delta)
            if finite(moved):
                new, metrics = hand_over(self.inner, self.layout, round_, moved, seen)
            why = NON_FINITE if new is None else ""
        restart = outcome is not None and outcome.verdicts.restart
        if restart:
            new, why = self._start_over(), ""
        if new is not None:
            self.values = new
        self.done = round_
        each = [why if ok else "non-finite" for ok in usable]
        cut = (believed < declared) & (not self.cap.uniform)
        entry = {
            "round": round_,
            "applied": new is not None,
            "why": why,
            "failed": enough and outcome is None,
            "restart": restart,
            "uploads": verdict_rows(round_, intake, outcome, cut, each, self.roster, self.expel_after),
            "absent": list(intake.absent),
            "expelled_absent": ban_absent(outcome, round_, self.roster),
            "info": {} if outcome is None else plain(dict(outcome.info)),
        }
        arrays = None if new is None else to_record(new)
        return Round(arrays, with_verdicts(metrics, entry, len(self.roster.banned)), entry, outcome)

    def _start_over(self) -> Values:
        """Return the initial model, with the wrapped strategy as it was at first."""
        assert self._initial is not None
        put_back(self.inner, self._inner_at_first)
        return self._initial

    def state(self) -> State:
        """Return everything from which the next round can go on."""
        return {
            "owner": self.owner,
            "round": self.done,
            "model": self.layout.pack(self.values),
            "initial": None if self._initial is None else self.layout.pack(self._initial),
            "inner": inner_state(self.inner),
            "defense": self.defense_state,
            "roster": self.roster.state(),
        }

    def load(self, state: State) -> None:
        """Take over a saved `state` (RunError if it is of another model)."""
        self.values = self.layout.unpack(state["model"])
        self._initial = None if state["initial"] is None else self.layout.unpack(state["initial"])
        load_inner(self.inner, state["inner"])
        self.roster.load(state["roster"])
        self.defense_state, self.done = state["defense"], int(state["round"])
