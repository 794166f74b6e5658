"""A Flower app folder: what its pyproject says, without importing any of its code."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedsiege.errors import ConfigError

NODES = 10
"""Nodes of a federation where nothing else is said, as in Flower's own local simulation."""
SOURCES = (".py", ".toml", ".yaml", ".yml", ".json")
"""Files whose content decides whether an audit may go on where it stopped."""


@dataclass(frozen=True)
class App:
    """A Flower app.

    Parameters
    ----------
    folder : Path
        Where its pyproject.toml is.
    name : str
        Project name.
    server, client : str
        References ``module:object`` of its ServerApp and ClientApp.
    run_config : mapping
        Its run configuration, flat, overrides applied.
    nodes : int
        Nodes of its default simulation.
    digest : str
        Hash of its sources.
    """

    folder: Path
    name: str
    server: str
    client: str
    run_config: Mapping[str, Any] = field(default_factory=dict)
    nodes: int = NODES
    digest: str = ""


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested tables as one, keys joined by dots, as Flower hands a run configuration to an app."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{above}{key}"
        out |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return out


def overrides(text: str) -> dict[str, Any]:
    """Return what ``key=value key=value`` says, values as in TOML, as ``flwr run --run-config`` reads it."""
    import shlex

    found: dict[str, Any] = {}
    try:
        words = shlex.split(text, posix=True)
    except ValueError as error:
        raise ConfigError(f"--run-config {text!r}: {error}") from error
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise ConfigError(f"--run-config: {word!r} is not of the form key=value")
        try:
            found[key] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found


def _nodes(flwr: Mapping[str, Any]) -> int:
    """Return the nodes of the default federation that an older pyproject may name."""
    federations = flwr.get("federations", {})
    chosen = federations.get(federations.get("default", ""), {})
    for one in (chosen, *(f for f in federations.values() if isinstance(f, Mapping))):
        count = one.get("options", {}).get("num-supernodes") if isinstance(one, Mapping) else None
        if isinstance(count, int) and count > 0:
            return count
    return NODES


def _digest(folder: Path, out: Path | None) -> str:
    total = hashlib.blake2b(digest_size=8)
    for path in sorted(p for p in folder.rglob("*") if p.suffix in SOURCES and p.is_file()):
        inside = path.relative_to(folder)
        if any(part.startswith((".", "audit-")) or part == "__pycache__" for part in inside.parts):
            continue
        # An audit in a folder above the app's holds all of the app, which is no reason to leave it out.
        if out is not None and out.is_relative_to(folder) and path.is_relative_to(out):
            continue
        total.update(str(inside).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def read_app(folder: Path, run_config: str = "", out: Path | None = None) -> App:
    """Read an app folder.

    Parameters
    ----------
    folder : Path
        The app.
    run_config : str
        Overrides, as ``flwr run --run-config`` takes them.
    out : Path, optional
        Folder of the audit. Where it lies inside the app's, it is no part of the app.

    Raises
    ------
    ConfigError
        If there is no valid pyproject.toml with ``[tool.flwr.app.components]``, an override has an unknown key, or
        `out` is the app's folder.
    """
    path = folder / "pyproject.toml"
    if not path.is_file():
        raise ConfigError(f"{folder} is no Flower app: it has no pyproject.toml")
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from error
    if out is not None and out.resolve() == folder.resolve():
        raise ConfigError(
            f"--out {out} is the app's own folder, which is left as it is; choose one inside or beside it"
        )
    flwr = project.get("tool", {}).get("flwr", {})
    components = flwr.get("app", {}).get("components", {})
    for key in ("serverapp", "clientapp"):
        if not isinstance(components.get(key), str) or ":" not in components[key]:
            raise ConfigError(f"{path} names no {key} under [tool.flwr.app.components], such as 'app.server_app:app'")
    config = flat(flwr.get("app", {}).get("config", {}))
    changed = overrides(run_config)
    if unknown := [key for key in changed if key not in config]:
        known = ", ".join(config) or "none"
        raise ConfigError(f"--run-config: the app has no setting {unknown[0]!r}; it has: {known}")
    name = str(project.get("project", {}).get("name", folder.resolve().name))
    return App(
        folder.resolve(),
        name,
        components["serverapp"],
        components["clientapp"],
        {**config, **changed},
        _nodes(flwr),
        _digest(folder.resolve(), None if out is None else out.resolve()),
    )
