"""Plug-ins that are edited under a run: a resumed run and a finished one are held to the sums that they told."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedsiege import registry
from fedsiege.arena import same_plugins
from fedsiege.arena.config import RunConfig, parse
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.grid import Cell, run_cells
from fedsiege.arena.replay import replay
from fedsiege.arena.runs import Stopped, execute
from fedsiege.arena.same_plugins import sums, told
from fedsiege.errors import RunError
from tests.arena.games import Here
from tests.arena.stored import edit
from tests.small import small

KEPT = ("result.json", "rounds.jsonl", "model.safetensors", "config.yaml")
SAID = r"on another version of plug-in file .*mine\.py: SHA-256 .* then; put the old file back, .*--out"


def write(path: Path, remark: str = "") -> Path:
    """Write a plug-in file; another `remark` is another version of it."""
    path.write_text(
        "from dataclasses import dataclass\n\nfrom fedsiege.defenses.none import FedAvg\n\n\n"
        f"@dataclass(frozen=True)\nclass Mine(FedAvg):\n    name = 'mine'  # {remark}\n",
        "utf-8",
    )
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "mine.py")


def config(file: Path, seed: int = 0) -> RunConfig:
    federation = {"rounds": 6, "evaluate_every": 3, "project_every": 3}
    values = small(attack="none", defense="none", federation=federation, seed=seed).to_dict()
    return parse({**values, "defense": "mine", "plugins": [str(file)]})


def stopped(file: Path, path: Path) -> RunFolder:
    """Stop a run after four rounds, with a checkpoint."""
    rounds = iter(range(3))
    with pytest.raises(Stopped):
        execute(config(file), path, threads=1, stop=lambda: next(rounds, None) is None)
    return RunFolder(path)


def test_a_run_tells_the_sums_of_its_plugin_files(tmp_path: Path, file: Path) -> None:
    execute(config(file), tmp_path / "run", threads=1)
    assert told(RunFolder(tmp_path / "run")) == {str(file): hashlib.sha256(file.read_bytes()).hexdigest()}
    execute(small(federation={"rounds": 1}), tmp_path / "plain", threads=1)
    assert "plugins" not in RunFolder(tmp_path / "plain").read_environment()


def test_a_run_goes_on_with_its_own_version_alone(tmp_path: Path, file: Path) -> None:
    execute(config(file), tmp_path / "whole", threads=1)
    folder = stopped(file, tmp_path / "run")
    before = folder.environment.read_bytes(), folder.checkpoint.read_bytes(), folder.rounds.read_bytes()
    write(file, "edited")
    with pytest.raises(RunError, match=f"was begun {SAID}"):
        execute(config(file), folder.path, threads=1)
    assert (folder.environment.read_bytes(), folder.checkpoint.read_bytes(), folder.rounds.read_bytes()) == before
    assert json.loads(folder.failed.read_text())["kind"] == "RunError"
    # The remedies work: a new folder, or the old file back.
    execute(config(file), tmp_path / "new", threads=1)
    write(file)
    execute(config(file), folder.path, threads=1)
    assert all((folder.path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in KEPT)


def test_a_run_without_a_checkpoint_starts_with_the_file_that_is_there(tmp_path: Path, file: Path) -> None:
    folder = stopped(file, tmp_path / "run")
    folder.checkpoint.unlink()
    write(file, "edited")
    execute(config(file), folder.path, threads=1)
    assert told(folder) == {str(file): hashlib.sha256(file.read_bytes()).hexdigest()}


def test_a_finished_run_of_an_edited_file_is_not_passed_off_as_one_of_the_new(tmp_path: Path, file: Path) -> None:
    result = execute(config(file), tmp_path / "run", threads=1)
    assert execute(config(file), tmp_path / "run") == result
    assert replay(tmp_path / "run").same
    write(file, "edited")
    with pytest.raises(RunError, match=f"was finished {SAID}"):
        execute(config(file), tmp_path / "run")
    assert "on another version of plug-in file" in replay(tmp_path / "run").error
    assert not (tmp_path / "run" / "failed.json").exists()


@pytest.mark.parametrize("left", ["nothing", "other files", "torn"])
def test_an_older_run_that_told_no_sum_is_held_to_nothing(tmp_path: Path, file: Path, left: str) -> None:
    execute(config(file), tmp_path / "done", threads=1)
    folder = stopped(file, tmp_path / "run")
    for path in (folder.environment, tmp_path / "done" / "environment.json"):
        if left == "torn":
            path.write_text("{")
        else:
            edit(path, plugins=None if left == "nothing" else {"/elsewhere/mine.py": "ab" * 32})
    write(file, "edited")
    assert execute(config(file), folder.path, threads=1)["rounds"] == 6
    assert execute(config(file), tmp_path / "done")["rounds"] == 6


def test_a_grid_does_not_take_cells_of_an_edited_file_for_finished(tmp_path: Path, file: Path) -> None:
    cells = [Cell(config(file, seed), tmp_path / str(seed), f"seed{seed}") for seed in range(2)]
    assert run_cells(cells[:1], executor=Here())[0].result is not None
    write(file, "edited")
    old, new = run_cells(cells, executor=Here())
    assert old.result is None
    assert f"{old.cell.path} was finished on another version of plug-in file {file}" in str(old.error)
    assert new.result is not None
    write(file)
    assert [o.error is None for o in run_cells(cells, executor=Here())] == [True, False]


def test_the_sum_is_that_of_what_is_played_if_the_file_is_edited_meanwhile(tmp_path: Path, file: Path) -> None:
    played, first = config(file), hashlib.sha256(file.read_bytes()).hexdigest()
    write(file, "edited")
    execute(played, tmp_path / "run", threads=1)
    assert told(RunFolder(tmp_path / "run")) == {str(file): first}
    assert sums(config(file)) == {str(file): hashlib.sha256(file.read_bytes()).hexdigest()}


def test_a_file_of_the_same_size_and_second_is_another_file_and_an_unchanged_one_is_no_new_module(file: Path) -> None:
    write(file, "gain 1")
    stamp = file.stat().st_mtime_ns
    first = type(config(file).defense)
    assert type(config(file).defense) is first
    write(file, "gain 9")
    os.utime(file, ns=(stamp, stamp))
    second = type(config(file).defense)
    assert second is not first
    assert sums(config(file)) == {str(file): hashlib.sha256(file.read_bytes()).hexdigest()}
    assert not list(file.parent.rglob("*.pyc"))


def installed(folder: Path, remark: str = "") -> Path:
    """Install a package with a rule, an attack, and a function that makes a network; `remark` makes a version of it."""
    (folder / "brought").mkdir(parents=True, exist_ok=True)
    (folder / "brought" / "__init__.py").write_text("", "utf-8")
    path = folder / "brought" / "code.py"
    path.write_text(
        "from dataclasses import dataclass\n\nimport torch\n\nfrom fedsiege.attacks.lie import LIE\n"
        "from fedsiege.defenses.none import FedAvg\n\n\n"
        f"@dataclass(frozen=True)\nclass Rule(FedAvg):\n    name = 'brought-rule'  # {remark}\n\n\n"
        "@dataclass(frozen=True)\nclass Attack(LIE):\n    name = 'brought-attack'\n\n\n"
        "def small(shape, classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(shape[1] * shape[2], classes))\n",
        "utf-8",
    )
    told = folder / "their_package-1.5.dist-info"
    told.mkdir(exist_ok=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.5\n", "utf-8")
    (told / "top_level.txt").write_text("brought\n", "utf-8")
    points = ("[fedsiege.attacks]", "brought-attack = brought.code:Attack")
    points += ("[fedsiege.defenses]", "brought-rule = brought.code:Rule")
    (told / "entry_points.txt").write_text("\n".join(points), "utf-8")
    return path


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = installed(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry._installed.cache_clear()
    yield path
    registry._installed.cache_clear()
    same_plugins._IMPORTED.clear()
    for module in ("brought.code", "brought"):
        sys.modules.pop(module, None)


PLAYED: dict[str, dict[str, Any]] = {
    "rule": {"defense": "brought-rule", "attack": "none"},
    "first part": {"defense": "brought-rule+median", "attack": "none"},
    "inner rule": {"defense": {"name": "flcert", "groups": 2, "rule": "brought-rule"}, "dataset": "digits"},
    "attack": {"defense": "none", "attack": "brought-attack"},
    "wrapped attack": {"defense": "none", "attack": "noise(brought-attack)"},
}


@pytest.mark.parametrize("sections", PLAYED.values(), ids=PLAYED)
def test_installed_code_is_summed_by_module(code: Path, sections: dict[str, Any]) -> None:
    made = parse(sections) if "dataset" in sections else small(**sections)
    assert sums(made) == {"brought.code": hashlib.sha256(code.read_bytes()).hexdigest()}


@pytest.mark.parametrize("what", ["rule", "make"])
def test_a_run_is_held_to_installed_code(
    tmp_path: Path, code: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "rule":
        played = small(**PLAYED["rule"], federation={"rounds": 2, "evaluate_every": 2})
    else:
        # Not imported yet when a finished run is looked at: found in the folder of the start.
        monkeypatch.chdir(tmp_path / "site")
        played = parse(
            {
                "dataset": {"name": "digits", "clients": 5, "partition": "iid"},
                "model": {"name": "torch-module", "make": "brought.code:small"},
                "federation": {"rounds": 2, "evaluate_every": 2},
            }
        )
    result = execute(played, tmp_path / "run", threads=1)
    found = RunFolder(tmp_path / "run").read_environment()
    assert found["plugins"] == {"brought.code": hashlib.sha256(code.read_bytes()).hexdigest()}
    assert found["versions"]["their-package"] == "1.5"
    assert execute(played, tmp_path / "run") == result
    installed(tmp_path / "site", "edited")
    # This process plays what it has imported; it is the next one that meets the edited file.
    assert execute(played, tmp_path / "run") == result
    assert sums(played) == found["plugins"]
    same_plugins._IMPORTED.clear()
    with pytest.raises(RunError, match=r"was finished on another version of module brought\.code: SHA-256 .* --out"):
        execute(played, tmp_path / "run")
    assert "on another version of module brought.code" in replay(tmp_path / "run").error
    (outcome,) = run_cells([Cell(played, tmp_path / "run", "it")], executor=Here())
    assert "on another version of module brought.code" in str(outcome.error)
    # A run of before this was told is held to nothing, and takes the file that is there.
    edit(tmp_path / "run" / "environment.json", plugins=None)
    assert execute(played, tmp_path / "run") == result


def test_a_network_that_is_not_there_has_no_sum() -> None:
    for make in ("", "nowhere_at_all:small", "nowhere_at_all.deep:small", "builtins:max", "fedsiege.registry:load"):
        assert sums(parse({"dataset": "digits", "model": {"name": "torch-module", "make": make}})) == {}, make
