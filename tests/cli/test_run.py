"""``fedsiege run``: start, resume, finish once, refuse, and stop cleanly."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from fedsiege.arena.config import read
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.runs import execute
from fedsiege.cli import progress


def test_run_makes_a_folder_and_shows_the_result(fedsiege: Callable, config: Path) -> None:
    said = fedsiege("run", config)
    assert said.status == 0
    folder = Path("runs") / f"small-{read(config).hash}"
    assert RunFolder(folder).finished
    assert f"run folder: {folder}" in said.out
    assert "HR@5" in said.out
    assert "detection: DACC" in said.out
    assert "round 12/12" in said.err


@pytest.mark.parametrize("words", [["--set", "attack=lie"], ["--out", "mine", "--threads", "1"]])
def test_the_stored_command_repeats_the_run_even_after_the_file_was_changed(
    fedsiege: Callable, config: Path, words: list[str]
) -> None:
    first = json.loads(fedsiege("run", config, "--json", *words).out)
    config.write_text("dataset: ml-1m", "utf-8")
    described = RunFolder(Path(first["folder"])).read_environment()
    command = described["command"]
    assert command.endswith(f"--threads {described['hardware']['threads']}")
    said = fedsiege(*shlex.split(command)[1:], "--json")
    assert "nothing to run" not in said.err
    again = json.loads(said.out)
    assert again.pop("folder") != first.pop("folder")
    assert again == first


def test_an_attack_without_attackers_is_told(fedsiege: Callable, config: Path) -> None:
    said = fedsiege("run", config, "--out", "few", "--set", "attack=lie", "federation.malicious=0.001")
    assert said.status == 0
    assert "nobody attacked: their share of the clients rounds to none; raise federation.malicious" in said.out
    assert "nobody attacked" not in fedsiege("run", config, "--out", "some", "--set", "attack=lie").out
    assert "nobody attacked" not in fedsiege("run", config, "--out", "clean", "--set", "attack=none").out


def test_a_finished_run_is_not_run_again(fedsiege: Callable, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = json.loads(fedsiege("run", config, "--out", "one", "--json").out)
    assert first["folder"] == "one"
    monkeypatch.setattr("fedsiege.arena.runs.assemble", lambda config: pytest.fail("it ran again"))
    for target in (["one"], [config, "--out", "one"]):
        said = fedsiege("run", *target, "--json")
        assert "one is finished" in said.err
        assert json.loads(said.out) == first


def test_a_finished_run_of_another_configuration_is_refused_and_nothing_else_is_said(
    fedsiege: Callable, config: Path
) -> None:
    fedsiege("run", config, "--out", "one")
    said = fedsiege("run", config, "--out", "one", "--set", "seed=4")
    assert (said.status, said.out) == (2, "")
    assert "holds a run of another configuration" in said.err
    assert said.err.count("\n") == 1


def test_a_half_done_run_resumes_to_the_same_bytes(fedsiege: Callable, config: Path) -> None:
    fedsiege("run", config, "--out", "whole")

    def stop(record: object, _: float) -> None:
        if record.round == 7:  # type: ignore[attr-defined]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        execute(read(config), Path("half"), threads=1, checkpoint_every=5, progress=stop)
    said = fedsiege("run", "half", "--threads", 1)
    assert "resuming after round 5 of 12" in said.err
    for name in ("result.json", "rounds.jsonl", "model.safetensors"):
        assert (Path("half") / name).read_bytes() == (Path("whole") / name).read_bytes()


def test_set_replaces_values(fedsiege: Callable, config: Path) -> None:
    said = fedsiege("run", config, "--out", "lie", "--json", "--set", "attack=lie", "attack.z=0.3", "seed=4")
    result = json.loads(said.out)
    assert (result["attack"], result["seed"]) == ("lie", 4)
    assert RunFolder(Path("lie")).read_config()["attack"] == {"name": "lie", "z": 0.3}


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("dataset: synthetic\natack: lie", [], "did you mean 'attack'"),
        ("dataset: [", [], "not valid YAML"),
        ("dataset: [", ["--set", "seed=1"], "not valid YAML"),
        ("3", ["--set", "seed=1"], "not a mapping"),
        ("dataset: synthetic", ["--set", "server.rl=1"], "no field 'rl'"),
        ("dataset: synthetic", ["--threads", "0"], "at least 1"),
        ("dataset: synthetic", ["--set", "seed=1", "--set", "attack=lie"], "--set is given 2 times"),
        ("dataset: synthetic", ["--out=a", "--out", "b"], "behind one --out"),
        ("dataset: synthetic", ["--set", "federation.cohort=99999"], "exceeds the 943 clients"),
        ("dataset: digits", ["--set", "model=mf"], "model 'mf' recommends items; this data set holds images"),
        ("dataset: synthetic", ["--set", "model=mlp"], "model 'mlp' classifies images; this data set holds"),
    ],
)
def test_errors_are_one_line_and_status_two(
    fedsiege: Callable, tmp_path: Path, text: str, words: list[str], expected: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    said = fedsiege("run", "bad.yaml", *words)
    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert expected in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--set", "seed=1"]])
def test_an_absent_file_is_named(fedsiege: Callable, words: list[str]) -> None:
    said = fedsiege("run", "absent.yaml", *words)
    assert (said.status, "absent.yaml" in said.err) == (2, True)


def test_a_run_folder_keeps_its_configuration(fedsiege: Callable, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    assert "not a run folder" in fedsiege("run", "some").err
    assert "leave out --out and --set" in fedsiege("run", "some", "--set", "seed=1").err


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, config: Path) -> None:
    values = yaml.safe_load(config.read_text("utf-8"))
    values["federation"] |= {"rounds": 100_000, "evaluate_every": 100_000, "project_every": 0}
    config.write_text(yaml.safe_dump(values), "utf-8")
    words = [sys.executable, "-m", "fedsiege.cli", "run", str(config), "--out", "long", "--threads", "1"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        records = tmp_path / "long" / "rounds.jsonl"
        deadline = time.monotonic() + 120
        while not (records.exists() and records.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"resume with: fedsiege run {config} --out long --threads 1" in err
    assert (tmp_path / "long" / "checkpoint").exists()


def test_a_terminal_gets_a_bar(fedsiege: Callable, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(force_terminal=True, width=150, record=True)
    monkeypatch.setattr(progress, "err", lambda: console)
    monkeypatch.setattr(progress, "REFRESH", 0.0)
    said = fedsiege("run", config, "--out", "bar")
    assert said.status == 0
    shown = console.export_text()
    for words in ("round", "12/12", "rounds/s", "loss", "HR@5"):
        assert words in shown
