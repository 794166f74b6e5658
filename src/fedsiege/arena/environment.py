"""Where a result was made: versions, hardware, commit and the command that repeats it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from fedsiege.source import ROOT

PACKAGES = ("fedsiege", "torch", "numpy", "numba", "scipy", "scikit-learn", "polars", "safetensors", "pydantic")
ORIGIN = ("commit", "versions", "hardware", "platform")
"""What may differ between the sittings of a run that was stopped and resumed."""


@cache
def commit() -> str | None:
    """Return the commit of the checkout that this package runs from, None outside one.

    With ``+changes`` if any file of the package is not as the commit has it. A package that was installed below another
    repository is none of that one's files. It is read once, when a process starts to work: that is the code which the
    process goes on to run.
    """
    try:
        _git("ls-files", "--error-unmatch", "--", "__init__.py")
        return _git("rev-parse", "HEAD") + ("+changes" if _git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    """Return what git says in the folder of the package; OSError or SubprocessError if it cannot."""
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()


def processor() -> str:
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions(modules: Iterable[str] = ()) -> dict[str, str]:
    """Return the installed versions of the packages that can move a result, with those that brought `modules`."""
    found = {"python": platform.python_version()}
    tops = {module.partition(".")[0] for module in modules}
    brought = packages_distributions() if tops else {}
    for name in (*PACKAGES, *sorted({name for top in tops for name in brought.get(top, ())})):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def accelerator(device: str) -> str:
    """Return what a torch device is called, such as the name of a GPU; its own name for others."""
    if not device.startswith("cuda"):
        return device
    import torch

    return torch.cuda.get_device_name(device)


def describe(threads: int, command: str, device: str = "cpu", modules: Iterable[str] = ()) -> dict[str, Any]:
    """Return the environment of a run, which computes on a torch `device` with other people's `modules`, as JSON."""
    return {
        "commit": commit(),
        "versions": versions(modules),
        "hardware": {"cpu": processor(), "cores": os.cpu_count(), "threads": threads, "device": accelerator(device)},
        "platform": platform.platform(),
        "command": command,
        "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def joined(now: Mapping[str, Any], before: Mapping[str, Any] | None, done: int) -> dict[str, Any]:
    """Return the environment of a sitting together with those of the sittings before, where they differ.

    Parameters
    ----------
    now : mapping
        This sitting, as `describe` returns it.
    before : mapping or None
        What the sitting before wrote down; None if there was none. Files of older versions do.
    done : int
        Rounds that this sitting takes over; at 0 nothing of the former ones is left in the run.

    Returns
    -------
    dict
        `now`; if commit, versions, hardware or platform changed, with ``sittings``, one for each stretch of rounds:
        ``after``, the rounds before it, and what differs of `ORIGIN`. ``commit`` then names every commit in order.
    """
    mine = {"after": done, **{name: now.get(name) for name in ORIGIN}}
    earlier = _sittings(before) if before and done else []
    # A sitting that got no further than where this one starts has left nothing behind.
    every = [sitting for sitting in earlier if sitting["after"] < done]
    if not every or _origin(every[-1]) != _origin(mine):
        every.append(mine)
    if len(every) == 1:
        return dict(now)
    differs = [name for name in ORIGIN if any(sitting[name] != mine[name] for sitting in every)]
    commits = dict.fromkeys(str(sitting["commit"] or "unknown") for sitting in every)
    told = [{name: sitting[name] for name in ("after", *differs)} for sitting in every]
    return {**now, "commit": ", ".join(commits) if "commit" in differs else now.get("commit"), "sittings": told}


def each_commit(named: Iterable[str | None]) -> list[str]:
    """Return every commit once, sorted, of runs that name one, several in one text (see `joined`) or none."""
    return sorted({commit for names in named if names for commit in names.split(", ")})


def _origin(sitting: Mapping[str, Any]) -> list[Any]:
    return [sitting[name] for name in ORIGIN]


def _sittings(before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the sittings of an environment in full."""
    whole = {"after": 0, **{name: before.get(name) for name in ORIGIN}}
    return [{**whole, **sitting} for sitting in before.get("sittings") or [whole]]
