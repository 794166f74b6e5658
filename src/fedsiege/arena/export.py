"""Stored runs as one table, for Parquet, CSV and whatever reads them.

By default no column depends on a clock or a machine, so that a grid that was killed and continued gives the same bytes
as one that was not.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsiege.errors import ConfigError, RunError

if TYPE_CHECKING:
    import polars as pl

    from fedsiege.arena.record import Record

FORMATS = (".parquet", ".csv")
COSTS = ("seconds_per_round", "wall_seconds", "peak_bytes")
ORIGIN = ("hardware", "command", "versions")


def frame(records: Sequence[Record], *, costs: bool = False, origin: bool = False) -> pl.DataFrame:
    """Return one row per run, in the order of the records.

    Parameters
    ----------
    records : sequence of Record
        The runs.
    costs : bool
        Also ``seconds_per_round``, ``wall_seconds`` and ``peak_bytes``.
    origin : bool
        Also ``hardware``, ``command`` and ``versions`` (JSON).

    Returns
    -------
    polars.DataFrame
        The fields of a `Record`, then ``test NAME`` for every score and ``detection NAME`` for every rate of
        detection, sorted by name; null where a run has none. ``changes`` and tails are parted by spaces.
    """
    import polars as pl

    texts = (
        "path", "status", "error", "card", "card_hash", "degree", "division", "changes", "dataset", "model", "attack",
        "defense", "attack_label", "defense_label",
    )  # fmt: skip
    schema: dict[str, Any] = dict.fromkeys(texts, pl.String)
    schema |= {"seed": pl.Int64, "malicious": pl.Float64, "knowledge": pl.String, "told": pl.Int64}
    schema |= {"told_norm": pl.Boolean}
    schema |= {"adaptive": pl.Boolean, "rounds": pl.Int64, "metric": pl.String}
    schema |= {"value": pl.Float64, "best": pl.Float64, "tail": pl.String, "asr_tail": pl.String}
    schema |= {"finite": pl.Boolean, "rejects": pl.Boolean}
    schema |= dict.fromkeys(("config_hash", "version", "commit", "data_sha256"), pl.String)
    groups = {"test": "scores", "detection": "detection"}
    for word, name in groups.items():
        found = sorted({key for record in records for key in getattr(record, name)})
        schema |= {f"{word} {key}": pl.Float64 for key in found}
    schema |= dict.fromkeys(COSTS if costs else (), pl.Float64)
    schema |= dict.fromkeys(ORIGIN if origin else (), pl.String)
    rows = []
    for record in records:
        row = {name: getattr(record, name, None) for name in schema}
        row = {name: None if value == "" else value for name, value in row.items()}
        row["changes"] = " ".join(record.changes) or None
        row["tail"] = " ".join(map(repr, record.tail)) or None
        row["asr_tail"] = " ".join(map(repr, record.asr_tail)) or None
        row["versions"] = json.dumps(dict(record.versions), sort_keys=True)
        if record.status != "finished":
            row["finite"] = row["rejects"] = None
        for word, name in groups.items():
            row |= {f"{word} {key}": value for key, value in getattr(record, name).items()}
        rows.append([row.get(name) for name in schema])
    made = pl.DataFrame(rows, schema=schema, orient="row")
    return made.with_columns(pl.col(pl.Float64).fill_nan(None))


def write(table: pl.DataFrame, out: Path) -> None:
    """Write a table to a ``.parquet`` or ``.csv`` file, whole or not at all.

    Raises
    ------
    ConfigError
        For another ending.
    RunError
        If the file cannot be written.
    """
    if out.suffix.lower() not in FORMATS:
        raise ConfigError(f"cannot tell the format of {out}; let its name end in {' or '.join(FORMATS)}")
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
        with os.fdopen(handle, "wb") as file:
            if out.suffix.lower() == ".csv":
                table.write_csv(file)
            else:
                table.write_parquet(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, out)
    except Exception as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunError(f"cannot write {out}: {why}; make room or choose another place") from error
