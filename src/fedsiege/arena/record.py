"""One stored run as a flat record, read from the files of its folder alone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, Literal

import yaml

from fedsiege.arena.evaluations import evaluations
from fedsiege.arena.find import OUTCOME, cannot_be_read
from fedsiege.arena.folder import RunFolder, Unreadable
from fedsiege.arena.names import label
from fedsiege.errors import RunError

FAILED, COST = "failed.json", "cost.json"
TAIL = 10
"""So many of the last evaluations are kept in a record."""

Status = Literal["finished", "failed", "unfinished"]

NAN = float("nan")
# libyaml reads a configuration ten times faster, where PyYAML was built with it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SECTION = re.compile(r"^[a-z]\w*:.*\n(?:[ -].*\n)*", re.MULTILINE)
# No anchors, tags, quotes or several documents, each of which can reach beyond a section.
_PLAIN = re.compile(r"(?:[a-z]\w*:(?: [^&*!%'\"|>\n]*)?\n(?:[ -][^&*!%'\"|>\n]*\n)*)+")
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, RecursionError, yaml.YAMLError)


@dataclass(frozen=True)
class Record:
    """One stored run.

    Parameters
    ----------
    path : str
        The run folder, relative to the store's root, with slashes; ``"."`` for the root itself.
    status : {"finished", "failed", "unfinished"}
        A failed run has an `error`; scores are those of finished runs only.
    error : str or None
        What ended a failed run.
    config_hash : str
        Hash of the resolved configuration.
    card, card_hash : str or None
        Id and hash of the threat-model card; None without one.
    degree, division : str
        The card's degree and "closed" or "open"; empty without a card.
    changes : tuple of str
        In the open division, what differs from the card: dotted names with their values.
    dataset, model, attack, defense : str
        Names.
    attack_label, defense_label : str
        The name with the settings that differ from their defaults, such as ``"lie (z=0.3)"``.
    seed : int
        Address of all randomness.
    malicious : float
        Share of malicious clients in [0, 1].
    knowledge : str
        What the attacker knew, in words; empty unless finished.
    told : int or None
        How many attackers the defense was told of.
    told_norm : bool
        Whether it was told the mean norm of benign uploads.
    rounds : int
        Rounds of the configuration.
    metric : str
        The test metric that stands for the run, such as ``"HR@5"``; empty unless finished.
    value, best : float
        It after the last round, and in the best round.
    tail : tuple of float
        It at the last ten evaluations, oldest first.
    asr_tail : tuple of float
        The ASR at those evaluations, where it was measured and is not that metric.
    scores, detection : mapping of str to float
        All test scores after the last round, and rates of detection; NaN where undefined.
    finite, rejects : bool
        Whether the loss stayed finite, and whether any upload was rejected.
    seconds_per_round, wall_seconds, peak_bytes : float
        Costs; NaN where they were not measured.
    version, commit, data_sha256, hardware, command : str
        Version and commit of FedSiege, SHA-256 of the data, machine, and what repeats the run; empty where unknown.
    versions : mapping of str to str
        Versions of the packages.
    warnings : tuple of str
        What could not be read beside the result.
    """

    path: str
    status: Status
    error: str | None = None
    config_hash: str = ""
    card: str | None = None
    card_hash: str | None = None
    degree: str = ""
    division: str = ""
    changes: tuple[str, ...] = ()
    dataset: str = ""
    model: str = ""
    attack: str = ""
    defense: str = ""
    attack_label: str = ""
    defense_label: str = ""
    seed: int = 0
    malicious: float = 0.0
    knowledge: str = ""
    told: int | None = None
    told_norm: bool = False
    rounds: int = 0
    metric: str = ""
    value: float = NAN
    best: float = NAN
    tail: tuple[float, ...] = ()
    asr_tail: tuple[float, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)
    detection: Mapping[str, float] = field(default_factory=dict, hash=False)
    finite: bool = True
    rejects: bool = False
    seconds_per_round: float = NAN
    wall_seconds: float = NAN
    peak_bytes: float = NAN
    version: str = ""
    commit: str = ""
    data_sha256: str = ""
    hardware: str = ""
    versions: Mapping[str, str] = field(default_factory=dict, hash=False)
    command: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def adaptive(self) -> bool:
        """Whether the attack adapts to the defense that it faces."""
        return self.attack.startswith("adaptive")

    def dumps(self) -> str:
        """Return the record as a compact text for an index; `loads` gives it back."""
        return json.dumps([getattr(self, name) for name in FIELDS], separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> Record:
        """Return the record of a text that `dumps` wrote; ValueError or TypeError if it is another text."""
        values = dict(zip(FIELDS, json.loads(text), strict=True))
        for name in _TUPLES:
            values[name] = tuple(values[name])
        return cls(**values)


FIELDS = tuple(f.name for f in fields(Record))
_TUPLES = ("changes", "tail", "asr_tail", "warnings")


def read_record(folder: Path, root: Path) -> Record:
    """Return the record of a run folder under `root`.

    What stands beside the result (environment, timings, costs, rounds) may be missing, as in older folders; if it is
    damaged, the record says so in its warnings.

    Raises
    ------
    RunError
        If the configuration or the result is missing or damaged, naming the file.
    Unreadable
        If one of them cannot be read now.
    """
    run = RunFolder(folder)
    config = _part(run.config, parse_config)
    result = _part(run.result, json.loads) if run.result.is_file() else None
    failed = _part(folder / FAILED, json.loads) if result is None and (folder / FAILED).is_file() else None
    warnings: list[str] = []
    try:
        found = _configured(config)
        found |= _carded((result or {}).get("card") or config.get("card"), config)
    except _DAMAGE as error:
        raise _damaged(run.config, error) from error
    if result is not None:
        try:
            found |= _scored(result, found.pop("cutoff"))
        except _DAMAGE as error:
            raise _damaged(run.result, error) from error
        found["tail"], found["asr_tail"] = _tails(run.rounds, found["metric"], warnings)
    found.pop("cutoff", None)
    found |= _origin(run, warnings) | _costs(run, folder / COST, warnings)
    status: Status = "finished" if result is not None else "failed" if failed is not None else "unfinished"
    error_text = None if failed is None else str(failed.get("error") or "no reason was recorded")
    path = folder.relative_to(root).as_posix()
    return Record(path=path, status=status, error=error_text, warnings=tuple(warnings), **found)


@lru_cache(maxsize=4096)
def _section(text: str) -> Any:
    return yaml.load(text, Loader=_LOADER)


def parse_config(text: str) -> Any:
    """Return the values of a stored configuration; yaml.YAMLError if it is no YAML.

    The sections of the runs of a grid are mostly the same, and parsing is what reading a store spends most time on; so
    each section is parsed once. A text that is more than plain sections one below the other is parsed as a whole.
    """
    if not _PLAIN.fullmatch(text):
        return yaml.load(text, Loader=_LOADER)
    found: dict[str, Any] = {}
    for section in _SECTION.findall(text):
        found.update(_section(section))
    return found


def _damaged(path: Path, error: BaseException) -> RunError:
    if isinstance(error, FileNotFoundError) and path.name == "config.yaml":
        strays = " and ".join(str(path.parent / name) for name in OUTCOME if (path.parent / name).is_file())
        if strays:
            return RunError(f"{strays} lies without config.yaml, so it is of no run; move it away, or put that back")
    if isinstance(error, OSError):
        return Unreadable(cannot_be_read(path, error))
    cause = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
    return RunError(f"{path} is damaged ({cause}); delete it and run the cell again")


def _part(path: Path, parse: Any) -> dict[str, Any]:
    """Return the mapping that a file holds; RunError names the file."""
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged (it holds no mapping); delete it and run the cell again")
    return found


def _beside(path: Path, warnings: list[str]) -> dict[str, Any]:
    """Return what a file beside the result holds; nothing if it is missing, and with a warning if it is damaged."""
    if not path.is_file():
        return {}
    try:
        return _part(path, json.loads)
    except RunError as error:
        warnings.append(str(error).partition(";")[0])
        return {}


def _configured(config: dict[str, Any]) -> dict[str, Any]:
    data, federation = config["dataset"], config["federation"]
    return {
        "dataset": str(data.get("name") or PurePath(str(data.get("path"))).name),
        "model": str(config["model"]["name"]),
        "attack": str(config["attack"]["name"]),
        "defense": str(config["defense"]["name"]),
        "attack_label": label("attacks", config["attack"]),
        "defense_label": label("defenses", config["defense"]),
        "seed": int(config["seed"]),
        "malicious": float(federation["malicious"]),
        "rounds": int(federation["rounds"]),
        "cutoff": f"HR@{(federation.get('cutoffs') or [5])[0]}",
    }


def _changed(name: str, config: dict[str, Any]) -> str:
    """Return a changed setting with its value in `config`, such as ``"federation.rounds=100"``.

    Names without a dot (``seed``, ``knowledge``) stand for themselves, as do settings at their default.
    """
    found: Any = config if "." in name else None
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return name
        found = found[part]
    return f"{name}={json.dumps(found, sort_keys=True, separators=(',', ':'), ensure_ascii=False)}"


def _carded(card: Any, config: dict[str, Any]) -> dict[str, Any]:
    if not card:
        return {}
    return {
        "card": str(card["id"]),
        "card_hash": str(card["hash"]),
        "degree": str(card.get("degree") or ""),
        "division": str(card.get("division") or "closed"),
        "changes": tuple(_changed(str(change), config) for change in card.get("changes") or ()),
    }


def _number(value: Any) -> float:
    return NAN if value is None else float(value)


def _scored(result: dict[str, Any], cutoff: str) -> dict[str, Any]:
    test = {str(name): _number(value) for name, value in result["last"]["metrics"]["test"].items()}
    # Results of the first versions do not name their metric.
    metric = str(result.get("metric") or ("TACC" if "TACC" in test else cutoff))
    told = result["threat_model"]["told_byzantine"]
    return {
        "config_hash": str(result["config_hash"]),
        "knowledge": str(result["threat_model"]["knowledge"]),
        "told": None if told is None else int(told),
        "told_norm": bool(result["threat_model"].get("told_norm")),
        "metric": metric,
        "value": test.get(metric, NAN),
        "best": _number(result["best"]["metrics"]["test"].get(metric)),
        "scores": test,
        "detection": {str(name): _number(value) for name, value in result["detection"].items()},
        "finite": bool(result["finite"]),
        "rejects": bool(result["rejects"]),
    }


def _tails(rounds: Path, metric: str, warnings: list[str]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the last scores of `metric` and, where it was measured besides, of ASR."""
    try:
        last = [e["metrics"]["test"] for e in evaluations(rounds, TAIL)]
    except _DAMAGE as error:
        warnings.append(str(_damaged(rounds, error)).partition(";")[0])
        return (), ()
    besides = [test["ASR"] for test in last if "ASR" in test] if metric != "ASR" else []
    return tuple(_number(test.get(metric)) for test in last), tuple(map(_number, besides))


def _origin(run: RunFolder, warnings: list[str]) -> dict[str, Any]:
    environment = _beside(run.environment, warnings)
    try:
        versions = {str(k): str(v) for k, v in (environment.get("versions") or {}).items()}
        hardware = environment.get("hardware") or {}
        threads, device = hardware.get("threads"), hardware.get("device")
        words = [str(hardware.get("cpu") or "")]
        words += [f"{threads} thread{'' if threads == 1 else 's'}"] if threads else []
        words += [str(device)] if device not in (None, "cpu") else []
        found = {
            "version": versions.get("fedsiege", ""),
            "commit": str(environment.get("commit") or ""),
            "data_sha256": str((environment.get("data") or {}).get("sha256") or ""),
            "hardware": ", ".join(word for word in words if word),
            "versions": versions,
            "command": str(environment.get("command") or ""),
        }
    except _DAMAGE as error:
        warnings.append(str(_damaged(run.environment, error)).partition(";")[0])
        return {}
    if not run.result.is_file() and environment.get("config_hash"):
        found["config_hash"] = str(environment["config_hash"])
    return found


def _costs(run: RunFolder, cost: Path, warnings: list[str]) -> dict[str, Any]:
    spent = _beside(cost, warnings)
    found: dict[str, Any] = {}
    for name in ("wall_seconds", "peak_bytes"):
        value = spent.get(name)
        found[name] = float(value) if isinstance(value, int | float) and math.isfinite(value) else NAN
    try:
        found["seconds_per_round"] = run.seconds_per_round()
    except _DAMAGE as error:
        warnings.append(str(_damaged(run.timing, error)).partition(";")[0])
    return found
