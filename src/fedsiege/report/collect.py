"""Stored runs become a board: one row per run, and the evidence that plots need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from fedsiege.arena.folder import RunFolder, Unreadable
from fedsiege.errors import FedSiegeError
from fedsiege.report.labels import label_runs
from fedsiege.report.rounds import VERDICTS, Scan, scan

# libyaml reads the 500 configurations of a large grid 30 times faster, where PyYAML was built with it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

DETECTION = ("DACC", "FPR", "FNR", "AAR")
# Of defenses that expel clients: the share of the benign ones that is out at the end, which uploads no more.
EXPELLED = "FPR_final"
MOMENTS = ("last", "best")
# Rounds files of further seeds are read for curves up to this size; the first seed of a cell always is.
CURVE_BUDGET = 400 * 2**20

_DAMAGE = (
    FedSiegeError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError,
    yaml.YAMLError,
)  # fmt: skip

_RUNS: dict[str, Any] = {
    "run": pl.Int64, "path": pl.String, "group": pl.String, "dataset": pl.String, "model": pl.String,
    "attack": pl.String, "defense": pl.String, "attack_name": pl.String, "defense_name": pl.String,
    "malicious": pl.Float64, "seed": pl.Int64, "rounds": pl.Int64, "rounds_applied": pl.Int64,
    "scored_clients": pl.Int64, "malicious_clients": pl.Int64, "protocol": pl.String, "knowledge": pl.String,
    "told_byzantine": pl.Int64, "selected_by": pl.String, "rejects": pl.Boolean, "finite": pl.Boolean,
    "seconds_per_round": pl.Float64, "config_hash": pl.String, "command": pl.String, "commit": pl.String,
    "hardware": pl.String, "last_round": pl.Int64, "best_round": pl.Int64, "card": pl.String,
    **dict.fromkeys((*DETECTION, EXPELLED), pl.Float64),
}  # fmt: skip
_CURVES: dict[str, Any] = {"run": pl.Int64, "round": pl.Int64, "loss": pl.Float64, **dict.fromkeys(VERDICTS, pl.Int64)}
_POINTS: dict[str, Any] = {
    "run": pl.Int64, "round": pl.Int64, "malicious": pl.Boolean, "rejected": pl.Boolean,
    "x": pl.Float64, "y": pl.Float64,
}  # fmt: skip
_SCORES: dict[str, Any] = {
    "run": pl.Int64, "round": pl.Int64, "malicious": pl.Boolean, "rejected": pl.Boolean, "score": pl.Float64,
}  # fmt: skip
_FITS: dict[str, Any] = {
    "run": pl.Int64, "client": pl.Int64, "round": pl.Int64, "malicious": pl.Boolean, "iterations": pl.Int64,
    "step": pl.Int64, "error": pl.Float64,
}  # fmt: skip
_RULES: dict[str, Any] = {"run": pl.Int64, "gamma": pl.Float64, "budget": pl.Int64, "early": pl.Boolean}
# The defense that reconstructs uploads, and the settings that make its verdicts.
_RECONSTRUCTING = "redefense"


@dataclass(frozen=True)
class Board:
    """Everything a report is made of.

    Parameters
    ----------
    root : Path
        Folder under which the runs were found.
    runs : polars.DataFrame
        One row per run: what was run (``group, dataset, model, attack, defense, malicious, seed, …``), test
        scores ``"last HR@5"``, ``"best HR@5"``, … , detection, timing, how to repeat it, and ``card`` (null without).
    members : polars.DataFrame
        ``group, run``: the runs of each group. A run without an attack may stand in several (see `collect`).
    curves : polars.DataFrame
        ``run, round, loss, HR@5, …``: test scores of evaluated rounds, and counts of the round's `VERDICTS`.
    points : polars.DataFrame
        ``run, round, malicious, rejected, x, y``: uploads on their first two principal components.
    scores : polars.DataFrame
        ``run, round, malicious, rejected, score``: what verdicts rested on.
    metrics : tuple of str
        ``HR@5, HR@10, …, NDCG@5, …``.
    warnings : tuple of str
        What could not be read.
    unfinished : int
        Runs that have started and not ended.
    fits : polars.DataFrame
        ``run, client, round, malicious, iterations, step, error, gamma, budget, early``: where uploads were
        reconstructed, the errors of each client's first fit before outer steps, NaN where not finite. ``gamma`` is the
        error that is accepted, ``budget`` the most iterations, ``early`` whether a fit ends once it is below gamma.
    """

    root: Path
    runs: pl.DataFrame
    members: pl.DataFrame
    curves: pl.DataFrame
    points: pl.DataFrame
    scores: pl.DataFrame
    metrics: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unfinished: int = 0
    fits: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={**_FITS, **_RULES}))

    @property
    def grouped(self) -> pl.DataFrame:
        """The runs of every group, one row per membership."""
        return self.members.join(self.runs.drop("group"), on="run", how="left", maintain_order="left")

    @property
    def groups(self) -> list[str]:
        """Names of the groups in order."""
        return self.members["group"].unique(maintain_order=True).to_list()


def find(root: Path, warnings: list[str]) -> tuple[list[Path], int]:
    """Return finished run folders under `root` in order, and the number of unfinished ones; `warnings` may grow.

    A result without a configuration beside it is of no run and hides none.
    """
    finished, unfinished = [], 0

    def closed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):  # Else gone since its parent was listed.
            warnings.append(f"{_name(Path(error.filename or root), root)}: {_refused(error)}")

    for folder, children, files in os.walk(root, onerror=closed):
        children.sort()
        if "result.json" in files and "config.yaml" in files:
            finished.append(Path(folder))
            children.clear()
        elif "result.json" in files:
            name = _name(Path(folder), root)
            warnings.append(f"{name}: result.json lies without config.yaml, so it is of no run; move it away")
        elif "config.yaml" in files and "rounds.jsonl" in files:
            unfinished += 1
    return finished, unfinished


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _refused(error: OSError) -> str:
    return f"left out, cannot be read ({error.strerror or error}); check its rights"


def metric_order(name: str) -> tuple[str, int, str]:
    """Return a key that sorts metrics by kind, then by cutoff; what a run is judged by comes first."""
    kind, _, cutoff = name.partition("@")
    return ("" if kind == "TACC" else kind, int(cutoff) if cutoff.isdigit() else 0, name)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _read(path: Path, root: Path, warnings: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the row and the configuration of one run; an exception of `_DAMAGE` means that it is damaged."""
    folder = RunFolder(path)
    result = folder.read_result()
    config = yaml.load(folder.config.read_text(encoding="utf-8"), Loader=_LOADER)
    name = path.relative_to(root).as_posix() if path != root else path.name
    told = result["threat_model"]["told_byzantine"]
    row: dict[str, Any] = {
        "path": name,
        "dataset": str(result["dataset"]),
        "model": str(result["model"]),
        "attack_name": str(config["attack"]["name"]),
        "defense_name": str(config["defense"]["name"]),
        "malicious": float(config["federation"]["malicious"]),
        "reserved": float(config["federation"].get("reserved") or 0.0),
        "tell_defense": bool(config["federation"].get("tell_defense")),
        "seed": int(result["seed"]),
        "rounds": int(result["rounds"]),
        "rounds_applied": int(result["rounds_applied"]),
        "scored_clients": int(result["scored_clients"]),
        "malicious_clients": int(result["malicious_clients"]),
        "protocol": str(result["protocol"]),
        "knowledge": str(result["threat_model"]["knowledge"]),
        "told_byzantine": None if told is None else int(told),
        "selected_by": str(result["selected_by"]),
        "rejects": bool(result["rejects"]),
        "finite": bool(result["finite"]),
        "config_hash": str(result["config_hash"]),
        "card": str(config["card"]["id"]) if config.get("card") else None,
    }
    for moment in MOMENTS:
        row[f"{moment}_round"] = int(result[moment]["round"])
        for metric, value in result[moment]["metrics"]["test"].items():
            row[f"{moment} {metric}"] = _number(value)
    for metric in (*DETECTION, EXPELLED):
        row[metric] = _number(result["detection"].get(metric))
    row["rule"] = _rule(config["defense"])
    row.update(_circumstances(folder, name, warnings))
    return row, config


def _rule(defense: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the verdicts of a defense by reconstruction depend on, and the prefix of what it tells."""
    parts = str(defense["name"]).split("+")
    if _RECONSTRUCTING not in parts:
        return None
    alone = len(parts) == 1
    spec = defense if alone else defense.get(_RECONSTRUCTING) or {}
    if not {"gamma", "first", "schedule"} <= spec.keys():
        return None
    return {
        "prefix": "" if alone else f"{_RECONSTRUCTING}.",
        "gamma": float(spec["gamma"]),
        "budget": int(spec["first"]),
        "early": spec["schedule"] in ("dynamic", "label-start"),
    }


def _circumstances(folder: RunFolder, name: str, warnings: list[str]) -> dict[str, Any]:
    """Return what a result stands without: timing and environment."""
    row: dict[str, Any] = {"seconds_per_round": None, "command": None, "commit": None, "hardware": None}
    try:
        seconds = folder.seconds_per_round()
        row["seconds_per_round"] = seconds if np.isfinite(seconds) else None
    except _DAMAGE as error:
        warnings.append(f"{name}: timing.jsonl cannot be read ({_cause(error)})")
    try:
        environment = folder.read_environment()
        row["command"] = _text(environment.get("command"))
        row["commit"] = _text(environment.get("commit"))
        hardware = environment.get("hardware") or {}
        row["hardware"] = f"{hardware.get('cpu', '?')}, {hardware.get('threads', '?')} thread(s)"
    except _DAMAGE as error:
        warnings.append(f"{name}: environment.json cannot be read ({_cause(error)})")
    return row


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _cause(error: BaseException) -> str:
    text = f"no {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(text.split())[:300]


def _drop_repeats(rows: list[dict[str, Any]], warnings: list[str]) -> list[dict[str, Any]]:
    """Keep one run of each configuration and seed: a repeat is no independent observation."""
    seen: dict[tuple[str, int], str] = {}
    kept = []
    for row in rows:
        key = row["variant"], row["seed"]
        if key in seen:
            warnings.append(f"{row['path']}: left out, repeats {seen[key]} (same configuration and seed)")
            continue
        seen[key] = row["path"]
        kept.append(row)
    return kept


def _lend(rows: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    """Yield the memberships of runs without an attack in groups that differ only in the malicious share.

    Nobody acts maliciously there and, up to the reserved share, the same clients are scored; so their result
    is what it would be in those groups too, unless the defense is told a number of attackers.
    """
    held = {(r["group"], r["attack"], r["defense"], r["seed"]) for r in rows}
    groups = {r["group"]: r for r in rows}
    for row in rows:
        if row["attack_name"] != "none" or row["tell_defense"] or row["malicious"] > row["reserved"]:
            continue
        for name, other in groups.items():
            key = (name, row["attack"], row["defense"], row["seed"])
            same = other["family"] == row["family"] and other["malicious"] <= row["reserved"]
            if same and key not in held:
                held.add(key)
                yield name, row["run"]


def _members(rows: list[dict[str, Any]]) -> pl.DataFrame:
    pairs = [(row["group"], row["run"]) for row in rows]
    lent = list(_lend(rows))
    pairs += lent
    lenders = {run for _, run in lent}
    # A group of lent runs alone says nothing that its borrowers do not say.
    useful = {row["group"] for row in rows if row["run"] not in lenders}
    for row in rows:
        if not any(run == row["run"] and group in useful for group, run in pairs):
            useful.add(row["group"])
    order = {r["group"]: (r["dataset"], r["model"], r["malicious"], r["group"]) for r in rows}
    pairs = sorted((p for p in pairs if p[0] in useful), key=lambda p: (order[p[0]], p[1]))
    return pl.DataFrame(pairs, schema={"group": pl.String, "run": pl.Int64}, orient="row")


def _scan_all(rows: list[dict[str, Any]], root: Path, warnings: list[str]) -> list[tuple[int, Scan]]:
    """Scan the rounds of the first readable seed of each cell, and curves of the others within the budget."""
    done: set[str] = set()
    found, budget = [], CURVE_BUDGET
    for row in sorted(rows, key=lambda r: (r["seed"], r["run"])):
        path = RunFolder(row["folder"]).rounds
        first = row["variant"] not in done
        try:
            budget -= path.stat().st_size
            if not first and budget < 0:
                continue
            fits = row["rule"]["prefix"] if first and row["rule"] else None
            read = scan(path, row["attack_name"] != "none", uploads=first, fits=fits)
        except OSError as error:
            warnings.append(f"{row['path']}: rounds.jsonl cannot be read ({error.strerror})")
            continue
        if read.damaged:
            warnings.append(f"{row['path']}: {read.damaged} damaged line(s) of rounds.jsonl left out")
        done.add(row["variant"])
        found.append((row["run"], read))
    return found


def _frame(scans: list[tuple[int, Scan]], what: str, schema: dict[str, Any]) -> pl.DataFrame:
    """Join per-round arrays of all scans."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in schema}
    for run, found in scans:
        for part in getattr(found, what):
            columns["run"].append(np.full(part["round"].size, run))
            for name, values in part.items():
                columns[name].append(values)
    return pl.DataFrame(
        {name: np.concatenate(parts) if parts else [] for name, parts in columns.items()}, schema=schema
    )


def collect(root: Path) -> Board:
    """Read the finished runs under `root`.

    A folder that cannot be read becomes a warning. Projections and scores are read for the first seed of
    each cell; curves for all seeds while their files are small (`CURVE_BUDGET`). A run without an attack also
    serves groups that differ from its own only in the malicious share, where that changes nothing.

    Parameters
    ----------
    root : Path
        A run folder, or a folder with run folders at any depth.

    Returns
    -------
    Board
        Empty frames if there is no finished run.
    """
    warnings: list[str] = []
    paths, unfinished = find(root, warnings)
    rows, configs = [], []
    for path in paths:
        try:
            row, config = _read(path, root, warnings)
            label_runs([config])  # one that cannot be named must not stop the others
        except (Unreadable, OSError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            assert isinstance(cause, OSError)
            warnings.append(f"{_name(path, root)}: {_refused(cause)}")
            continue
        except _DAMAGE as error:
            warnings.append(f"{_name(path, root)}: left out, damaged ({_cause(error)})")
            continue
        rows.append({**row, "folder": path})
        configs.append(config)
    for row, label in zip(rows, label_runs(configs)):
        row.update(vars(label))
    rows = _drop_repeats(rows, warnings)
    for number, row in enumerate(rows):
        row["run"] = number
    named = {key.removeprefix("last ") for row in rows for key in row if key.startswith("last ")}
    metrics = sorted(named - set(_CURVES), key=metric_order)
    columns = {**_RUNS, **{f"{moment} {name}": pl.Float64 for moment in MOMENTS for name in metrics}}
    scans = _scan_all(rows, root, warnings)
    curves = [{"run": run, **entry} for run, found in scans for entry in found.curve]
    rules = [{"run": row["run"], **row["rule"]} for row in rows if row["rule"]]
    table = [{name: row.get(name) for name in columns} for row in rows]
    return Board(
        root,
        pl.DataFrame(table, schema=columns),
        _members(rows),
        pl.DataFrame(
            [{name: entry.get(name) for name in (*_CURVES, *metrics)} for entry in curves],
            schema={**_CURVES, **dict.fromkeys(metrics, pl.Float64)},
        ),
        _frame(scans, "points", _POINTS),
        _frame(scans, "scores", _SCORES),
        tuple(metrics),
        tuple(warnings),
        unfinished,
        _frame(scans, "fits", _FITS).join(
            pl.DataFrame([{name: rule[name] for name in _RULES} for rule in rules], schema=_RULES),
            on="run",
            maintain_order="left",
        ),
    )
