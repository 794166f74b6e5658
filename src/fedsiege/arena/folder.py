"""The run folder: what a run leaves behind, and from which everything else is made.

=====================  =======================================================================
``config.yaml``        the resolved configuration
``environment.json``   versions, hardware, commit, checksums of data and plug-ins, the command that repeats it
``rounds.jsonl``       one record per round: loss, metrics, cohort, verdict of every upload
``timing.jsonl``       wall seconds per stretch of rounds (kept apart: results must not depend on them)
``checkpoint``         the newest resumable state (safetensors)
``model.safetensors``  the final shared parameters
``result.json``        the result; its presence means that the run is finished
``cost.json``          wall seconds and peak memory, of all sittings of the run (kept apart, as timings are)
``failed.json``        what ended the run, if it failed; gone when it is started anew
=====================  =======================================================================
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fedsiege.arena.find import cannot_be_read
from fedsiege.errors import RunError

UNSELECTED = "last round"
"""What ``selected_by`` of a result says where there are no validation scores to choose the best round by."""


class Unreadable(RunError):
    """The system does not let us read a file of a run, which may be whole."""


class Busy(RunError):
    """Another process is working in the run folder."""


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """Path of the resolved configuration."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Path of the environment."""
        return self.path / "environment.json"

    @property
    def rounds(self) -> Path:
        """Path of the per-round records."""
        return self.path / "rounds.jsonl"

    @property
    def timing(self) -> Path:
        """Path of the timings."""
        return self.path / "timing.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Path of the newest checkpoint."""
        return self.path / "checkpoint"

    @property
    def model(self) -> Path:
        """Path of the final shared parameters."""
        return self.path / "model.safetensors"

    @property
    def result(self) -> Path:
        """Path of the result."""
        return self.path / "result.json"

    @property
    def cost(self) -> Path:
        """Path of what the run cost."""
        return self.path / "cost.json"

    @property
    def failed(self) -> Path:
        """Path of what ended the run, if it failed."""
        return self.path / "failed.json"

    @property
    def finished(self) -> bool:
        """Whether the run has ended; RunError if the folder cannot be read."""
        return self._there(self.result)

    @property
    def begun(self) -> bool:
        """Whether there is more than a configuration, and why it came to nothing: a run was ready for its rounds."""
        return any(map(self._there, (self.environment, self.rounds, self.checkpoint, self.result)))

    @property
    def threads(self) -> int | None:
        """Threads of the newest sitting; None where it told of none, or that cannot be read."""
        try:
            found = self.read_environment()["hardware"]["threads"]
        except (RunError, KeyError, TypeError):
            return None
        return found if isinstance(found, int) else None

    def read_result(self) -> dict[str, Any]:
        """Return the result; RunError if the run is not finished or the file is damaged."""
        return self._json(self.result, "the run is not finished; start `fedsiege run` on the folder to resume it")

    def read_environment(self) -> dict[str, Any]:
        """Return the environment; RunError if it is missing."""
        return self._json(self.environment, "the folder is not a run folder, or the run never started")

    def read_config(self) -> dict[str, Any]:
        """Return the resolved configuration as plain values; RunError if it is missing."""
        if not self._there(self.config):
            raise RunError(f"{self.path} holds no config.yaml, so it is not a run folder")
        try:
            found = yaml.safe_load(self._text(self.config))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            found, cause = None, " ".join(str(error).split())[:200]
        else:
            cause = "it holds no mapping"
        if not isinstance(found, dict):
            raise RunError(f"{self.config} is damaged ({cause}); delete the folder and start the run over")
        return found

    @staticmethod
    def _there(path: Path) -> bool:
        try:
            return path.is_file()
        except OSError as error:
            raise Unreadable(cannot_be_read(path.parent, error)) from error

    @staticmethod
    def _text(path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise Unreadable(cannot_be_read(path, error)) from error

    def _json(self, path: Path, remedy: str) -> dict[str, Any]:
        if not self._there(path):
            raise RunError(f"{path} does not exist: {remedy}")
        try:
            return json.loads(self._text(path))
        except ValueError as error:
            raise RunError(f"{path} is damaged ({error}); delete it and resume the run") from error

    def read_rounds(self) -> Iterator[dict[str, Any]]:
        """Yield the records of the rounds; a torn last line (of a killed run) is left out.

        RunError if another line is damaged, and if the file cannot be read.
        """
        if not self._there(self.rounds):
            return
        try:
            with self.rounds.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    yield self._record(line)
        except OSError as error:
            raise Unreadable(cannot_be_read(self.rounds, error)) from error

    def _record(self, line: bytes) -> dict[str, Any]:
        try:
            return json.loads(line.decode("utf-8"))
        except ValueError as error:
            raise RunError(f"{self.rounds} is damaged ({error}); delete the folder and start over") from error

    def seconds_per_round(self) -> float:
        """Return the median wall seconds of a round without its evaluation, NaN if nothing was timed."""
        if not self.timing.is_file():
            return float("nan")
        lines = map(_timed, self.timing.read_text(errors="replace").splitlines())
        values = sorted(entry["seconds"] / entry["rounds"] for entry in lines if entry.get("rounds"))
        return values[len(values) // 2] if values else float("nan")

    def sweep(self) -> None:
        """Remove files that a kill left half written, as long as no other process can be writing: under `lock`."""
        for file in self.path.glob("*.part"):
            file.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; Busy if another process holds it, RunError if it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise RunError(f"cannot use run folder {self.path}: {error.strerror}; choose another with --out") from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy(f"another process is working in {self.path}; wait for it or choose another") from error
            except OSError as error:
                raise RunError(
                    f"cannot lock {self.path}: {error.strerror or error}; choose a folder on a file system with locks "
                    f"with --out"
                ) from error
            yield
        finally:
            os.close(handle)


def _timed(line: str) -> dict[str, Any]:
    """Return an entry of the timing; an empty one for a line that a full disk or a lost machine has cut short."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
