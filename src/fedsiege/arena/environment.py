"""Where a result was made: versions, hardware, commit and the command that repeats it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("fedsiege", "torch", "numpy", "numba", "scipy", "polars", "safetensors", "pydantic")


@cache
def commit() -> str | None:
    """Return the commit of the checkout that this package runs from (with ``+changes``), None outside one.

    It is read once, when a process starts to work: that is the code which the process goes on to run.
    """
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain", "--", str(here)],
            capture_output=True, text=True, timeout=5, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if dirty else "")


def processor() -> str:
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that can move a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
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


def describe(threads: int, command: str, device: str = "cpu") -> dict[str, Any]:
    """Return the environment of a run, which computes on a torch `device`, as JSON values."""
    return {
        "commit": commit(),
        "versions": versions(),
        "hardware": {"cpu": processor(), "cores": os.cpu_count(), "threads": threads, "device": accelerator(device)},
        "platform": platform.platform(),
        "command": command,
        "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }
