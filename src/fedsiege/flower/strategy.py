"""`DefendedStrategy`: any Flower strategy with one of FedSiege's defenses between the replies and the aggregate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from logging import ERROR, INFO, WARNING
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from flwr.supercore import log

from fedsiege.defenses.base import Defense, Outcome
from fedsiege.files import make_folder
from fedsiege.flower.allowed import grid_for
from fedsiege.flower.counts import SampleCap
from fedsiege.flower.inner import check_inner, weight_key
from fedsiege.flower.intake import take_in
from fedsiege.flower.layout import to_record, to_values
from fedsiege.flower.logbook import Logbook
from fedsiege.flower.memory import Memory
from fedsiege.flower.metrics import fit_for_averaging
from fedsiege.flower.needs import Root, as_defense, check_needs, check_step, heeds_count
from fedsiege.flower.pulling import careful
from fedsiege.flower.server import Server
from fedsiege.learners.base import VirtualTask

STATE = "state.safetensors"
VERDICTS = "verdicts.jsonl"


class DefendedStrategy(Strategy):
    """A Flower strategy that judges every upload before the wrapped strategy sees the aggregate.

    In each round the replies are taken apart without trust, what is left becomes updates (received minus sent), the
    defense judges them with its memory of each client, and the wrapped strategy is handed one reply: the global model
    plus the aggregate. So FedAdam and its kin go on working, and no upload can stop a run. Whom the defense expels is
    not asked again. Where `folder` is given, model, memory and bans are saved after each round, and `start` resumes.

    Bans hold across restarts of a node where nodes authenticate themselves (they are known by their public key). On a
    SuperLink without node authentication a restarted SuperNode is a new node, and no ban can hold.

    Parameters
    ----------
    inner : Strategy
        A strategy of Flower's Message API that samples nodes and applies the aggregate: FedAvg, FedAvgM, FedProx,
        FedAdam, FedYogi, FedAdagrad or your own.
    defense : Defense or str
        One of FedSiege's defenses, or a name such as ``"multikrum"`` or ``"union+multikrum"``.
    seed : int
        Address of the defense's randomness.
    items : str, optional
        Name of the array that is the table of item embeddings, for defenses of recommenders.
    root : callable, optional
        ``root(arrays, samples) -> ArrayRecord``: the model after training on so many clean samples of the server's
        own, as clients train; for FLTrust.
    virtual : VirtualTask, optional
        Training on distilled knowledge, for FedREDefense; see `fedsiege.flower.virtual.module_task`.
    client_half : bool
        Says that the ClientApp carries the defense's mod of `fedsiege.flower.mods`, where the defense has one.
    told : int, optional
        How many clients of a round may be malicious, if you know; None: the defense is not told. Krum and Multi-Krum
        heed it, and the trimmed mean where it goes by its name or has ``trim=None``; a warning says where nothing does.
    cap : SampleCap
        How far declared sample counts are believed.
    min_uploads : int
        Fewer well-formed and finite uploads than this leave the model as it is, ≥ 1.
    expel_after : int, optional
        Ban a client that is rejected, for whatever reason, in so many of its rounds in a row; None: only the defense
        expels. Not for Krum, which rejects all but one in each round, nor for Multi-Krum, which rejects f uploads in
        each, attacked or not: honest clients that differ from the rest would be banned one after another. Others too
        reject honest uploads without an attack (FLTrust 5 to 14 % in the stored runs of ``img-untargeted-v1-lite``),
        those of the same clients again and again: take more than the longest run of rejections in a rehearsal.
    folder : path, optional
        Where the state and the verdicts are kept; None: nothing is written.

    Raises
    ------
    ConfigError
        If the defense needs something that was not handed over or that Flower cannot give, or if `inner` needs the
        single uploads or, for a defense that looks ahead (UNION), has no step of Flower's below its own.
    """

    def __init__(
        self,
        inner: Strategy,
        defense: Defense | str,
        *,
        seed: int = 0,
        items: str | None = None,
        root: Root | None = None,
        virtual: VirtualTask | None = None,
        client_half: bool = False,
        told: int | None = None,
        cap: SampleCap | None = None,
        min_uploads: int = 1,
        expel_after: int | None = None,
        folder: str | Path | None = None,
    ) -> None:
        self.inner, self.defense = inner, as_defense(defense, told)
        if told is not None and not heeds_count(self.defense):
            log(WARNING, "told=%s changes nothing: %s heeds no number of malicious clients", told, self.defense.name)
        check_inner(inner)
        check_needs(self.defense, items, root, virtual, client_half)
        check_step(self.defense, inner)
        self.cap = SampleCap() if cap is None else cap
        self.server = Server(inner, self.defense, seed, items, root, virtual, told, self.cap, min_uploads, expel_after)
        place = None if folder is None else Path(folder)
        if place is not None:
            make_folder(place)
        self.memory = Memory(None if place is None else place / STATE)
        self.logbook = Logbook(None if place is None else place / VERDICTS)
        self.history: list[dict[str, Any]] = []
        self.on_outcome: Callable[[int, Outcome, list[int]], None] | None = None
        self._offset = 0
        self._asked: dict[int, Message] = {}
        self._evaluated: list[int] = []

    @property
    def banned(self) -> dict[str, dict[str, Any]]:
        """Round and reason of every ban, by identity."""
        return dict(self.server.roster.banned)

    def summary(self) -> None:
        """Log what runs."""
        log(INFO, "\t├──> Defense: %s", self.defense)
        self.inner.summary()

    def resume(self, arrays: ArrayRecord) -> ArrayRecord:
        """Take up what was saved in the folder, if anything was; return the model to go on with.

        Parameters
        ----------
        arrays : ArrayRecord
            The initial model.

        Raises
        ------
        RunError
            If what was saved is damaged or belongs to another model or defense.
        """
        if self.server.begun:
            return arrays
        self.server.begin(to_values(arrays))
        saved = self.memory.load(self.server.owner)
        if saved is None:
            self.history = self.logbook.resume(0)
            return arrays
        self.server.load(saved)
        self._offset = self.server.done
        self.history = self.logbook.resume(self.server.done)
        log(INFO, "Resumed after round %s with %s bans", self.server.done, len(self.banned))
        return to_record(self.server.values)

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run up to round `num_rounds`, going on after the last round; see Flower's `Strategy.start`.

        Rounds count from the first ever, in a second start of the same strategy as after a restart of the server:
        ``start(…, 2)`` and then ``start(…, 5)`` are five rounds. A second start goes on from the arrays it is given.
        """
        arrays = self.resume(initial_arrays)
        self._offset = offset = self.server.done
        shifted = None if evaluate_fn is None else lambda r, a: evaluate_fn(r + offset, a)
        left = max(num_rounds - offset, 0)
        if not left:
            log(WARNING, "Nothing to do: %s rounds are done of %s, counted from the first ever", offset, num_rounds)
        result = super().start(careful(grid), arrays, left, timeout, train_config, evaluate_config, shifted)
        if offset:
            for field in ("train_metrics_clientapp", "evaluate_metrics_clientapp", "evaluate_metrics_serverapp"):
                setattr(result, field, {r + offset: m for r, m in getattr(result, field).items()})
        # A round that leaves the model as it is gives no arrays, and there may be no round left.
        result.arrays = to_record(self.server.values)
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the wrapped strategy choose nodes, without those that are banned."""
        self.resume(arrays)
        round_, roster = server_round + self._offset, self.server.roster
        chosen = grid_for(self.inner, grid, roster, "train")
        messages = list(self.inner.configure_train(round_, arrays, config, chosen))
        # A strategy may have its nodes from elsewhere.
        chosen.meet()
        self._asked = {}
        unknown: dict[int, bytes] = {}
        for message in messages:
            node = message.metadata.dst_node_id
            if node in self._asked or roster.is_banned(node):
                continue
            if node not in roster.nodes:
                if roster.keyed:
                    log(INFO, "\t> node %s is not asked: it is not connected, and its key is not known", node)
                    continue
                unknown[node] = b""
            if not message.metadata.group_id:
                message.metadata.group_id = str(round_)
            self._asked[node] = message
        roster.meet(unknown)
        self.server.receive_model(to_values(arrays))
        return list(self._asked.values())

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Judge the uploads and let the wrapped strategy apply the aggregate; None if the model stays as it is."""
        round_ = server_round + self._offset
        server = self.server
        intake = take_in(
            replies or [], self._asked, server.layout, weight_key(self.inner), server.roster, server.model_digest
        )
        done = server.step(round_, intake)
        if done.outcome is not None and self.on_outcome is not None:
            self.on_outcome(round_, done.outcome, [node for node, _ in intake.uploads])
        self._report(done.entry)
        # The verdicts come first: a crash in between repeats the round, and its old line is dropped.
        self.history.append(done.entry)
        self.logbook.write(done.entry)
        if self.memory.path is not None:
            self.memory.save(server.state())
        return done.arrays, done.metrics

    def _report(self, entry: dict[str, Any]) -> None:
        """Log a round in a few lines."""
        good = sum(one["accepted"] for one in entry["uploads"])
        log(INFO, "aggregate_train: %s uploads accepted of %s", good, len(entry["uploads"]))
        for one in entry["uploads"]:
            if one["expelled"]:
                log(WARNING, "\t> node %s is expelled: %s", one["node"], one["reason"])
            elif not one["accepted"]:
                log(INFO, "\t> node %s is rejected: %s", one["node"], one["reason"])
        for number in entry["expelled_absent"]:
            log(WARNING, "\t> client %s, which is not in this round, is expelled", number)
        if not entry["applied"]:
            log(ERROR if entry["failed"] else WARNING, "\t> the model stays as it was: %s", entry["why"])
        if entry["restart"]:
            log(WARNING, "\t> training starts over from the initial model")

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the wrapped strategy choose nodes, without those that are banned."""
        chosen = grid_for(self.inner, grid, self.server.roster, "evaluate")
        messages = list(self.inner.configure_evaluate(server_round + self._offset, arrays, config, chosen))
        messages = [m for m in messages if not self.server.roster.is_banned(m.metadata.dst_node_id)]
        self._evaluated = [m.metadata.dst_node_id for m in messages]
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Let the wrapped strategy average the metrics of well-formed replies, sample counts capped."""
        good, bad = fit_for_averaging(replies or [], self._evaluated, weight_key(self.inner), self.cap)
        for node, reason in bad.items():
            log(INFO, "\t> evaluation reply of node %s is left out: %s", node, reason)
        return self.inner.aggregate_evaluate(server_round + self._offset, good)
