"""``fedsiege serve`` and ``fedsiege report --format``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.fakes import write_store


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return write_store(tmp_path / "runs", ("none", "fang"), ("none", "median"), 2)


def test_serve_tells_its_address_and_ends_with_ctrl_c(runs: Path) -> None:
    command = [sys.executable, "-m", "fedsiege.cli", "serve", str(runs), "--port", "0", "--title", "Seen live"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url + "status.json", timeout=60) as answer:
            assert json.load(answer)["finished"] == 8
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "")
    assert err.strip() == "stopped"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere"], "nowhere is not a folder"),
        ([".", "--port", "70000"], "--port 70000"),
        ([".", "--host", "203.0.113.1", "--port", "0"], "--host"),
    ],
)
def test_serve_errors_are_one_line(fedsiege: Callable, words: list[str], expected: str) -> None:
    said = fedsiege("serve", *words)
    assert said.status == 2
    assert said.err.startswith("error: ")
    assert expected in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(("format_", "name"), [("md", "report.md"), ("latex", "report.tex"), ("svg", "report-svg")])
def test_report_writes_the_format_asked_for(fedsiege: Callable, runs: Path, format_: str, name: str) -> None:
    said = fedsiege("report", runs, "--format", format_)
    assert (said.status, said.out.strip()) == (0, str(runs / name))
    assert (runs / name).exists()


def test_report_refuses_an_unknown_format(fedsiege: Callable, runs: Path) -> None:
    assert fedsiege("report", runs, "--format", "docx").status == 2
