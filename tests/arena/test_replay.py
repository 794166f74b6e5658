"""Stored runs played again: equal where nothing has changed, and what differs is named."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fedsiege.arena.folder import RunFolder, Unreadable
from fedsiege.arena.replay import Replay, replay, replay_all
from fedsiege.arena.runs import execute
from fedsiege.errors import ConfigError
from tests.small import small


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replay") / "run"
    execute(small(federation={"rounds": 6, "evaluate_every": 2, "project_every": 2}), path, threads=1)
    return path


def changed(stored: Path, path: Path, round_: int, **values: object) -> Path:
    """A copy of the run in which a record differs."""
    lines = [json.loads(line) for line in (stored / "rounds.jsonl").read_text().splitlines()]
    lines[round_ - 1].update(values)
    path.mkdir()
    for name in ("config.yaml", "environment.json"):
        (path / name).write_bytes((stored / name).read_bytes())
    (path / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_run_comes_out_as_stored_and_nothing_is_written(stored: Path) -> None:
    before = {p.name: p.read_bytes() for p in stored.iterdir()}
    assert replay(stored, 4) == Replay(stored, 4)
    assert replay(stored, 4).same
    assert replay(stored, 100).rounds == 6
    assert {p.name: p.read_bytes() for p in stored.iterdir()} == before


def test_the_first_difference_is_named(stored: Path, tmp_path: Path) -> None:
    bad = changed(stored, tmp_path / "bad", 3, loss=0.5, applied=False)
    assert replay(bad, 2).same
    found = replay(bad, 6)
    assert (found.rounds, found.differs, found.same) == (2, "round 3: applied, loss", False)


def test_what_cannot_be_played_says_why(stored: Path, tmp_path: Path) -> None:
    assert replay(tmp_path).error.endswith("so it is not a run folder")
    empty = changed(stored, tmp_path / "empty", 1)
    (empty / "rounds.jsonl").write_text("")
    assert replay(empty).error == "no round is stored"
    other = changed(stored, tmp_path / "other", 1)
    environment = json.loads((other / "environment.json").read_text())
    (other / "environment.json").write_text(json.dumps({**environment, "config_hash": "0" * 12}))
    assert "and read as 000000000000 then" in replay(other).error
    data = {**environment["data"], "sha256": "f" * 64}
    (other / "environment.json").write_text(json.dumps({**environment, "data": data}))
    assert replay(other).error.startswith("the data are others: SHA-256 ")
    assert not replay(other).same


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"round": "\xff"}\n', r"rounds.jsonl is damaged ('utf-8' codec can't decode byte 0xff"),
        (b"5\n", "TypeError: "),
    ],
    ids=["not UTF-8", "no mapping"],
)
def test_a_damaged_record_is_the_error_of_its_run_alone(stored: Path, tmp_path: Path, line: bytes, said: str) -> None:
    bad = changed(stored, tmp_path / "bad", 1)
    (bad / "rounds.jsonl").write_bytes(line)
    found = {done.path: done for done in replay_all([stored, bad], 2, 1)}
    assert found[stored].same
    assert said in found[bad].error


def test_who_stops_looking_waits_for_no_run_that_has_not_begun(stored: Path) -> None:
    made: list[Any] = []

    class Watched(ProcessPoolExecutor):
        def submit(self, *given: Any, **more: Any) -> Any:
            made.append(super().submit(*given, **more))
            return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedsiege.arena.replay.ProcessPoolExecutor", Watched)
        found = replay_all([stored] * 400, 6, 1)
        assert next(found).same
        found.close()  # type: ignore[attr-defined]
    assert sum(future.cancelled() for future in made) > 100
    assert all(future.done() for future in made)


def test_many_are_played_side_by_side(stored: Path, tmp_path: Path) -> None:
    bad = changed(stored, tmp_path / "bad", 1, norm=[])
    found = {done.path: done for done in replay_all([stored, bad], 2, 2)}
    assert found[stored].same
    assert found[bad].differs == "round 1: norm"
    for rounds, jobs in ((0, 1), (1, 0)):
        with pytest.raises(ConfigError, match="must be at least 1"):
            next(replay_all([stored], rounds, jobs))


def test_records_that_the_system_does_not_give_are_named(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(changed(stored, tmp_path / "run", 1))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(Unreadable, match=r"rounds\.jsonl"):
        list(folder.read_rounds())
