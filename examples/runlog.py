"""What a rehearsal leaves behind: a few lines with its command, versions, settings, verdicts and result."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("fedsiege", "flwr", "ray", "torch", "numpy")
HERE = Path(__file__).resolve().parents[1]
FOLDERS = ("--out", "--log", "--minutes", "--title", "nodes-folder", "out-folder")
"""Options and settings that the log leaves out: folders of this machine, and what changes nothing."""


def versions() -> str:
    """Return the versions of what ran."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def command(words: Sequence[str]) -> str:
    """Return a command line without the folders that it names; files of the project are named from its root."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in FOLDERS:
            skip = True
        elif word.split("=")[0] not in FOLDERS:
            path = Path(word)
            kept.append(str(path.resolve().relative_to(HERE)) if path.resolve().is_relative_to(HERE) else word)
    return "python " + shlex.join(kept)


def settings(app: Path, changes: Mapping[str, Any]) -> str:
    """Return an app's run configuration with its changes, without folders."""
    config = tomllib.loads((app / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["flwr"]["app"]["config"]
    held = {**config, **changes}
    return " ".join(f"{key}={json.dumps(value)}" for key, value in held.items() if key not in FOLDERS)


def spans(rounds: Sequence[int]) -> str:
    """Return round numbers as spans: 1-3, 5."""
    parts: list[list[int]] = []
    for r in sorted(rounds):
        if parts and r == parts[-1][1] + 1:
            parts[-1][1] = r
        else:
            parts.append([r, r])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def verdicts(rounds: Sequence[Mapping[str, Any]], places: Mapping[int, int], red: Mapping[int, str]) -> list[str]:
    """Return a line for each client: accepted when, rejected when and why, expelled when.

    Parameters
    ----------
    rounds : sequence of mapping
        Lines of the strategy's log of verdicts.
    places : mapping of int to int
        Which SuperNode (its place) has which node id, where that is known.
    red : mapping of int to str
        Attack of each malicious place.
    """
    lines: dict[str, list[tuple[int, str]]] = {}
    names: dict[str, str] = {}
    for entry in rounds:
        for one in entry["uploads"]:
            who = str(one["identity"])
            what = "expelled" if one["expelled"] else "accepted" if one["accepted"] else "rejected"
            reason = f": {one['reason']}" if one["reason"] and what != "accepted" else ""
            lines.setdefault(who, []).append((int(entry["round"]), what + reason))
            place = places.get(int(one["node"]))
            attack = f", malicious: {red[place]}" if place is not None and place in red else ""
            short = who if len(who) < 40 else who[:20] + "..."
            names[who] = f"client {one['client']} ({short}{'' if place is None else f', SuperNode {place}'}{attack})"
    told = []
    for who in sorted(lines, key=names.__getitem__):
        kinds: dict[str, list[int]] = {}
        for round_, what in lines[who]:
            kinds.setdefault(what, []).append(round_)
        shown = "; ".join(f"{what} [round {spans(when)}]" for what, when in kinds.items())
        told.append(f"{names[who]}  {shown}")
    return told


def entry(
    title: str,
    words: Sequence[str],
    app: Path,
    changes: Mapping[str, Any],
    said: Sequence[str],
    result: Mapping[str, Any],
    red: Mapping[int, str],
) -> str:
    """Return a rehearsal's entry for a log that others may read: no folder and no host is named.

    Parameters
    ----------
    title : str
        What the run is for.
    words : sequence of str
        The command line, ``sys.argv``.
    app : Path
        The app.
    changes : mapping
        Changes to its run configuration.
    said : sequence of str
        What `loopback.rehearse` has said.
    result : mapping
        What it has returned.
    red : mapping of int to str
        Attack of each malicious place.
    """
    rounds = result["rounds"]
    out = {k: v for k, v in result.items() if k not in ("rounds", "places")}
    unknown = [] if result["places"] else ["  (which virtual node holds which partition, the server does not know)"]
    return "\n".join(
        [
            f"== {title}",
            command(words),
            versions(),
            settings(app, changes),
            *said,
            f"{len(rounds)} rounds; verdicts:",
            *(f"  {line}" for line in verdicts(rounds, result["places"], red)),
            *unknown,
            f"result: {json.dumps(out)}",
            "",
            "",
        ]
    )
