"""Finished runs as runs of MLflow, one experiment a card."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedsiege.arena.evaluations import evaluations
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.record import Record
from fedsiege.arena.sinks import Sent, missing
from fedsiege.errors import RunError

EXPERIMENT = "fedsiege"
"""Experiment of the runs without a card."""

PARAMS = (
    "dataset", "model", "attack_label", "defense_label", "seed", "malicious", "knowledge", "told", "rounds", "card",
    "card_hash", "degree", "division", "changes",
)  # fmt: skip
TAGS = ("path", "config_hash", "version", "commit", "data_sha256", "hardware", "command")
_BATCH = 1000


def send(records: Sequence[Record], root: Path, target: str) -> Sent:
    """Log the runs to the tracking URI `target`, such as ``sqlite:///mlflow.db`` or ``http://localhost:5000``.

    Metrics are ``loss``, ``test/NAME`` and ``valid/NAME`` by round and ``detection/NAME`` at the last one (``@`` is
    written ``_at_``, which MLflow demands); parameters say what was run, tags how to repeat it.

    Raises
    ------
    ConfigError
        If MLflow is not installed.
    RunError
        If it refuses, or the rounds of a run cannot be read.
    """
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise missing("mlflow", error) from error
    new = known = 0
    try:
        client = MlflowClient(tracking_uri=target, registry_uri=target)
        experiments: dict[str, tuple[str, set[tuple[str, str]]]] = {}
        for record in records:
            name = record.card or EXPERIMENT
            if name not in experiments:
                experiments[name] = _experiment(client, name)
            identity, there = experiments[name]
            if (record.path, record.config_hash) in there:
                known += 1
                continue
            _log(client, identity, record, RunFolder(root / record.path))
            new += 1
    except (MlflowException, OSError, ValueError, KeyError) as error:
        raise RunError(f"MLflow at {target} did not take the runs: {' '.join(str(error).split())[:300]}") from error
    return Sent(new, known, target)


def _experiment(client: Any, name: str) -> tuple[str, set[tuple[str, str]]]:
    """Return the id of an experiment, made if there is none, and the runs that it holds whole."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name), set()
    there, token = set(), None
    while True:
        page = client.search_runs([found.experiment_id], max_results=1000, page_token=token)
        for run in page:
            tags = run.data.tags
            if "fedsiege.path" not in tags:
                continue
            if run.info.status == "FINISHED":
                there.add((tags["fedsiege.path"], tags["fedsiege.config_hash"]))
            else:  # An export was killed in the middle of it.
                client.delete_run(run.info.run_id)
        token = page.token
        if not token:
            return found.experiment_id, there


def _metrics(record: Record, folder: RunFolder) -> Iterator[tuple[str, float, int]]:
    """Yield name, value and round of every number."""
    for evaluation in evaluations(folder.rounds):
        if evaluation["loss"] is not None:
            yield "loss", float(evaluation["loss"]), evaluation["round"]
        for split, scores in evaluation["metrics"].items():
            for name, value in scores.items():
                if value is not None:
                    yield f"{split}/{name}", float(value), evaluation["round"]
    for name, value in record.detection.items():
        yield f"detection/{name}", value, record.rounds
    for name in ("seconds_per_round", "wall_seconds", "peak_bytes"):
        yield name, getattr(record, name), record.rounds


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _log(client: Any, experiment: str, record: Record, folder: RunFolder) -> None:
    from mlflow.entities import Metric, Param

    tags = {f"fedsiege.{name}": _text(getattr(record, name)) for name in TAGS}
    title = f"{record.attack_label} / {record.defense_label} / seed {record.seed}"
    run = client.create_run(experiment, tags=tags, run_name=title).info.run_id
    now = int(time.time() * 1000)
    params = [
        Param(name, _text(getattr(record, name))) for name in PARAMS if getattr(record, name) not in (None, "", ())
    ]
    client.log_batch(run, params=params)
    metrics = [
        Metric(name.replace("@", "_at_"), value, now, step)
        for name, value, step in _metrics(record, folder)
        if math.isfinite(value)
    ]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run, metrics=metrics[start : start + _BATCH])
    client.set_terminated(run)
