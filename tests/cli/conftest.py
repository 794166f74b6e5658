"""Helpers of the CLI tests: the program in this process, and a configuration that runs in a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from fedsiege.cli.main import main
from tests.small import small


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


@pytest.fixture
def fedsiege(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """Run a command line in a temporary folder, with room for wide tables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FEDSIEGE_THREADS", "1")

    def call(*words: object) -> Said:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as stop:  # How tyro ends after --help and after errors of usage.
            status = int(stop.code or 0)
        said = capsys.readouterr()
        return Said(status, said.out, said.err)

    return call


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Path of a small valid configuration."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(small(federation={"rounds": 12, "evaluate_every": 4}).to_dict()), "utf-8")
    return path
