"""Curves of finished runs as TensorBoard event files, one folder a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedsiege.arena.evaluations import evaluations
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.record import Record
from fedsiege.arena.sinks import Sent, missing
from fedsiege.errors import RunError

MARK = "fedsiege-run.txt"
"""Written last into each folder, with the configuration's hash: what has none is written again."""


def send(records: Sequence[Record], root: Path, target: str) -> Sent:
    """Write the runs under the folder `target`, each at its path in the store.

    Scalars are ``loss``, ``test/NAME`` and ``valid/NAME`` by round, and ``detection/NAME`` at the last round; the
    text ``run`` says what was run.

    Raises
    ------
    ConfigError
        If TensorBoard is not installed.
    RunError
        If the folder cannot be written or the rounds of a run cannot be read.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing("tensorboard", error) from error
    new = known = 0
    for record in records:
        place = Path(target) / (root.name if record.path == "." else record.path)
        mark = place / MARK
        try:
            if mark.is_file() and mark.read_text(encoding="utf-8") == record.config_hash:
                known += 1
                continue
            if mark.is_file():
                mark.unlink()
            for old in place.glob("events.out.tfevents.*"):
                old.unlink()
            writer: Any = SummaryWriter(str(place))
            try:
                _write(writer, record, RunFolder(root / record.path))
            finally:
                writer.close()
            mark.write_text(record.config_hash, encoding="utf-8")
        except (OSError, ValueError, KeyError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise RunError(f"run {record.path} cannot be written to {place}: {why}") from error
        new += 1
    return Sent(new, known, target)


def _write(writer: Any, record: Record, folder: RunFolder) -> None:
    for evaluation in evaluations(folder.rounds):
        step = evaluation["round"]
        if evaluation["loss"] is not None:
            writer.add_scalar("loss", evaluation["loss"], step)
        for split, scores in evaluation["metrics"].items():
            for name, value in scores.items():
                if value is not None:
                    writer.add_scalar(f"{split}/{name}", value, step)
    for name, value in record.detection.items():
        if math.isfinite(value):
            writer.add_scalar(f"detection/{name}", value, record.rounds)
    facts = ("card", "degree", "dataset", "model", "attack_label", "defense_label", "seed", "config_hash", "command")
    said = [f"- {name}: {getattr(record, name)}" for name in facts if getattr(record, name) not in (None, "")]
    writer.add_text("run", "\n".join(said))
