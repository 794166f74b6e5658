"""One run from configuration to result: started, killed at any moment, resumed, finished once."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import yaml

from fedsiege.arena import card_claim, cost, environment, failure, same_plugins
from fedsiege.arena.config import RunConfig, parse
from fedsiege.arena.data import load_dataset, remembered
from fedsiege.arena.folder import UNSELECTED, RunFolder
from fedsiege.arena.optimisation import Effort
from fedsiege.arena.same_data import refuse_others, refuse_replaced
from fedsiege.attacks.base import Knowledge
from fedsiege.defenses.base import heeded
from fedsiege.defenses.distances import assumed
from fedsiege.errors import RunError
from fedsiege.federation import checkpoint
from fedsiege.federation.loop import Federation
from fedsiege.federation.record import RoundRecord
from fedsiege.files import write_atomic
from fedsiege.kernels.jit import readied
from fedsiege.metrics.detection import final, per_round

environment.commit()
Progress = Callable[[RoundRecord, float], None]
PATIENCE = 60.0
"""Seconds after which a checkpoint is written, however few rounds have passed."""


class Stopped(Exception):
    """A run was told to stop and has written a checkpoint; it is not finished."""


@contextmanager
def thread_limit(threads: int | None) -> Iterator[int]:
    """Limit torch and numba to `threads` (default: all cores) for the time of a run; yields the number."""
    from fedsiege.heap import keep_freed_memory
    from fedsiege.threads import asked_threads
    from fedsiege.threads import threads as using

    count = threads or asked_threads() or os.cpu_count() or 1
    keep_freed_memory()
    with using(count):
        yield count


class Interrupt:
    """Turns Ctrl-C and SIGTERM into a request to stop after the current round; a second one stops at once.

    What the process ignores stays ignored: a terminal's Ctrl-C reaches the workers of a grid too, which leave it to the
    parent and stop when that tells them to.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __enter__(self) -> Interrupt:
        """Install the handlers, where this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def assemble(config: RunConfig, keep_data: bool = False) -> tuple[Federation, dict[str, Any]]:
    """Return the federation of a configuration and what is known of its data, which `keep_data` remembers."""
    dataset = (remembered if keep_data else load_dataset)(config.dataset, config.seed)
    learner = config.model.build(dataset, config.dataset.protocol, config.seed)
    federation = Federation(learner, config.attack, config.defense, config.federation, config.server, config.seed)
    return federation, dict(dataset.info)


def claim(config: RunConfig, folder: RunFolder) -> None:
    """Write the configuration into a new folder, or check that what it holds is this configuration (RunError).

    A folder whose run failed before its first round could be prepared is as good as new.
    """
    if folder.config.exists():
        theirs = parse(folder.read_config())
        if theirs.hash == config.hash:
            return
        if folder.begun:
            ours, other = config.to_dict(), theirs.to_dict()
            # A list of plug-in files stands in no configuration that has none.
            changed = next(k for k in {**ours, **other} if repr(ours.get(k)) != repr(other.get(k)))
            raise RunError(
                f"{folder.path} holds a run of another configuration (section {changed!r} differs); "
                f"choose another folder with --out"
            )
        folder.failed.unlink(missing_ok=True)
    # A kill may have come before the first file was whole.
    elif any(p.name != ".lock" and p.suffix != ".part" for p in folder.path.iterdir()):
        raise RunError(f"{folder.path} is not empty and not a run folder; choose another with --out")
    write_atomic(folder.config, yaml.safe_dump(config.to_dict(), sort_keys=False).encode())


def _resume(federation: Federation, folder: RunFolder, data: Mapping[str, Any]) -> None:
    """Load the newest checkpoint, if it is of these data, and cut the records back to it."""
    offset = 0
    if folder.checkpoint.exists():
        refuse_others(folder, data)
        state = checkpoint.load(folder.checkpoint)
        try:
            federation.load(state["federation"])
            offset = int(state["offset"])
        except (KeyError, ValueError) as error:
            raise RunError(
                f"{folder.checkpoint} was written by another version of FedSiege ({error}); delete it to start over"
            ) from error
    if folder.rounds.exists():
        if folder.rounds.stat().st_size < offset:
            raise RunError(f"{folder.rounds} is shorter than its checkpoint says; delete the folder and start over")
        os.truncate(folder.rounds, offset)


def again(path: Path) -> str:
    """Return the command that repeats the run in the folder `path`, from the configuration there, in another folder."""
    words = ["fedsiege", "run", str(path / "config.yaml"), "--out", str(Path("again") / path.resolve().name)]
    return shlex.join(words)


def _described(folder: RunFolder) -> dict[str, Any] | None:
    """Return what an earlier sitting wrote down, None without one, or if it cannot be read."""
    try:
        found = folder.read_environment()
    except RunError:
        return None
    return found if isinstance(found, dict) else None


def _threads(folder: RunFolder, asked: int | None) -> int | None:
    """Return the threads of a run: those of the sitting that it goes on from, as the bits of some models need that."""
    return (folder.threads if folder.checkpoint.exists() else None) or asked


def execute(
    config: RunConfig,
    path: Path,
    *,
    threads: int | None = None,
    checkpoint_every: int = 500,
    progress: Progress | None = None,
    command: str | None = None,
    stop: Callable[[], bool] | None = None,
    keep_data: bool = False,
) -> dict[str, Any]:
    """Run a configuration in the folder `path`, or resume what is there, and return the result.

    Parameters
    ----------
    config : RunConfig
        What to run.
    path : Path
        Run folder; made if needed. A finished one is not run again: its result is returned.
    threads : int, optional
        Threads of this run; results do not depend on it for matrix factorisation. A run that is resumed goes on with
        as many as it had, so that it ends bit-identical to one never stopped.
    checkpoint_every : int
        Rounds between checkpoints; rounds that take long are saved every minute. A killed run repeats the rest.
    progress : callable, optional
        Called after each round with its record and its wall seconds.
    command : str, optional
        The command line that repeats the run, but for the threads, which are added: the sums of some models depend on
        their number. Default: one that runs the folder's configuration, in another folder.
    stop : callable, optional
        Asked after each round but the last; where it says so, the run writes a checkpoint and ends.
    keep_data : bool
        Keep the data set in memory for the next run of this process, which may need the same.

    Raises
    ------
    RunError
        If the folder belongs to another configuration, to other data or to other versions of the plug-in files, or
        cannot be written. What ends a run is also recorded in its folder.
    Busy
        If another process is working in the folder.
    Stopped
        If `stop` said so.
    """
    folder, config = RunFolder(path), card_claim.judged(config, path)
    with folder.lock(), thread_limit(_threads(folder, threads)) as count:
        claim(config, folder)
        if folder.finished:
            result = folder.read_result()
            refuse_replaced(folder)
            same_plugins.refuse_edited(folder, config, "finished")
            return result
        folder.failed.unlink(missing_ok=True)
        folder.sweep()
        with failure.recorded(folder, Stopped):
            meter = cost.Meter(folder.cost)
            if folder.checkpoint.exists():
                same_plugins.refuse_edited(folder, config, "begun")
            same_plugins.sums(config)  # Before the data are read, which takes time enough to edit a file.
            federation, info = assemble(config, keep_data)
            _resume(federation, folder, info)
            device = str(getattr(federation.learner, "device", "cpu"))
            described = environment.describe(
                count, f"{command or again(path)} --threads {count}", device, same_plugins.modules(config)
            )
            described = environment.joined(described, _described(folder), federation.done)
            described |= {"data": info, "config_hash": config.hash}
            described |= {"plugins": plugins} if (plugins := same_plugins.sums(config)) else {}
            write_atomic(folder.environment, json.dumps(described, indent=2).encode())
            _rounds(federation, folder, checkpoint_every, progress, stop, meter)
            checkpoint.save(folder.model, federation.model.snapshot())
            result = summarise(config, federation, folder)
            meter.write()
            write_atomic(folder.result, (json.dumps(result, indent=2) + "\n").encode())
            folder.checkpoint.unlink(missing_ok=True)
            return result


def _rounds(
    federation: Federation,
    folder: RunFolder,
    every: int,
    progress: Progress | None,
    stop: Callable[[], bool] | None,
    meter: cost.Meter,
) -> None:
    """Run the rounds that are left, with records appended and checkpoints written.

    An interrupt ends the current round, writes a checkpoint and then raises KeyboardInterrupt; `stop` does the same
    and raises Stopped.
    """
    timed, seconds, started, kernels = 0, 0.0, time.perf_counter(), readied()
    saved = started
    # The first round of a sitting warms up; it is timed only where there is no other.
    cold = federation.done + 1 if federation.config.rounds > 1 else 0

    def clock() -> None:
        nonlocal timed, seconds
        if timed:
            with folder.timing.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"round": federation.done, "rounds": timed, "seconds": seconds}) + "\n")
        timed, seconds = 0, 0.0

    def save() -> None:
        nonlocal saved
        records.flush()
        os.fsync(records.fileno())
        checkpoint.save(folder.checkpoint, {"federation": federation.state(), "offset": folder.rounds.stat().st_size})
        clock()
        meter.write()
        saved = time.perf_counter()

    with _records(folder) as records, Interrupt() as interrupt:
        for record in federation.rounds():
            spent = time.perf_counter() - started
            # Later ones may compile a kernel too, such as the first in which an upload is rejected.
            warm = readied() == kernels or not cold
            with _written(folder):
                records.write(json.dumps(record.to_json(), separators=(",", ":")) + "\n")
            if not record.metrics and record.round != cold and warm:
                timed, seconds = timed + 1, seconds + spent
            if progress is not None:
                progress(record, spent)
            told = stop is not None and stop()
            due = record.round % every == 0 or time.perf_counter() - saved > PATIENCE
            if (due or interrupt.asked or told) and record.round < federation.config.rounds:
                with _written(folder):
                    save()
                if interrupt.asked:
                    raise KeyboardInterrupt
                if told:
                    raise Stopped
            started, kernels = time.perf_counter(), readied()
        with _written(folder):
            records.flush()
            os.fsync(records.fileno())
            clock()


@contextmanager
def _records(folder: RunFolder) -> Iterator[TextIO]:
    """Hold the file of records open; closing it writes what is left of it, and so fails like any write."""
    with _written(folder):
        file = folder.rounds.open("a", encoding="utf-8")
    try:
        yield file
    finally:
        with _written(folder):
            file.close()


@contextmanager
def _written(folder: RunFolder) -> Iterator[None]:
    """Turn an OSError of what is written inside into one that names the folder and the remedy (RunError)."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write to {folder.path}: {error.strerror or error}; make room and start again: the run resumes "
            f"from its last checkpoint"
        ) from error


def best_round(evaluations: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    """Return the evaluation with the highest validation `metric`, the earliest of equal ones; the last without any."""
    if not any("valid" in e["metrics"] for e in evaluations):
        return evaluations[-1]
    return max(evaluations, key=lambda e: (e["metrics"]["valid"].get(metric) or -math.inf, -e["round"]))


def granted(federation: Federation) -> int | None:
    """Return how many attackers the defense knows to be in a cohort, None if it has to guess.

    It knows what the threat model tells it, if it heeds that. It also knows a number that stands in its settings
    (`byzantine`, `trim`) and is the true one: the number in every cohort, where that is certain, since everybody takes
    part or ``federation.attackers`` fixes it.
    """
    told = federation.told()
    if told is not None and "count" in heeded(federation.defense):
        return told
    fixed, members = federation.config.attackers, int(federation.coalition.size)
    if fixed is None and federation.size < federation.learner.num_clients:
        return None
    true = members if fixed is None else min(fixed, members)
    return true if true and true in guesses(federation.defense, federation.size) else None


def granted_norm(federation: Federation) -> bool:
    """Return whether the defense is told the mean norm of benign uploads and heeds it."""
    return federation.config.tell_norm and "norm" in heeded(federation.defense)


def guesses(defense: Any, cohort: int) -> set[int]:
    """Return the numbers of attackers among `cohort` clients that the parts of a defense assume, if untold."""
    found = set()
    for part in getattr(defense, "parts", (defense,)):
        if hasattr(part, "byzantine"):
            found.add(assumed(part.byzantine, cohort, None))
        if hasattr(part, "trim"):
            found.add(assumed(part.trim, cohort, None))
    return found


def summarise(config: RunConfig, federation: Federation, folder: RunFolder) -> dict[str, Any]:
    """Return the result of a finished run from its records alone (no clock enters it)."""
    evaluations, rounds, malicious, accepted, applied, finite = [], [], [], [], 0, True
    judged, expelled, effort = False, set[int](), Effort()
    for record in folder.read_rounds():
        if record["metrics"]:
            evaluations.append({"round": record["round"], "metrics": record["metrics"]})
        rejected = {client for client, _ in record["rejected"]}
        bad = set(record["malicious"])
        judged = judged or bool(rejected)
        expelled |= {*record.get("expelled", ()), *record.get("expelled_absent", ())}
        applied += record["applied"]
        # The loss is that of honest clients: without one that moved in the round there is none, and nothing is wrong.
        if record["loss"] is None:
            moved = {client for client, norm in zip(record["cohort"], record["norm"], strict=True) if norm != 0}
            finite = finite and moved <= bad
        effort.add(record)
        for client in record["cohort"]:
            rounds.append(record["round"])
            malicious.append(client in bad)
            accepted.append(client not in rejected)
    attackers = int(federation.is_malicious.sum())
    detection = per_round(np.array(rounds), np.array(malicious, bool), np.array(accepted, bool), attackers)
    if config.defense.expels:
        detection |= final(federation.is_malicious, np.array(sorted(expelled), np.int64))
    validated = any("valid" in e["metrics"] for e in evaluations)
    best = best_round(evaluations, config.metric)
    optimisation = effort.summary()
    return {
        "config_hash": config.hash,
        "seed": config.seed,
        "attack": config.attack.name,
        "defense": config.defense.name,
        "model": config.model.name,
        "dataset": config.dataset.name or Path(str(config.dataset.path)).name,
        **({"card": config.card.to_dict()} if config.card else {}),
        "protocol": config.dataset.protocol,
        "rounds": federation.done,
        "rounds_applied": applied,
        "malicious_clients": attackers,
        "scored_clients": len(federation.scored),
        "threat_model": {
            "knowledge": Knowledge(config.attack.knowledge).words,
            "told_byzantine": granted(federation),
            **({"told_norm": True} if granted_norm(federation) else {}),
        },
        "last": evaluations[-1],
        "best": best,
        "metric": config.metric,
        "selected_by": f"valid {config.metric}" if validated else UNSELECTED,
        "rejects": judged,
        "detection": {k: (None if math.isnan(v) else v) for k, v in detection.items()},
        "finite": finite,
        **({"optimisation": optimisation} if optimisation else {}),
    }
