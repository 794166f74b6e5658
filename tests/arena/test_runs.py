"""Runs: what they leave behind, and that a killed one ends with the bytes of one never killed."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml

from fedsiege import registry
from fedsiege.arena import runs
from fedsiege.arena.config import parse
from fedsiege.arena.flags import was_told
from fedsiege.arena.folder import Busy, RunFolder
from fedsiege.arena.record import read_record
from fedsiege.arena.runs import best_round, execute
from fedsiege.attacks.base import AttackBase, AttackView
from fedsiege.errors import ConfigError, RunError
from fedsiege.federation import checkpoint
from fedsiege.federation.loop import Federation
from fedsiege.federation.record import RoundRecord
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch
from tests.small import small

KEPT = ("result.json", "rounds.jsonl", "model.safetensors", "config.yaml")


def contents(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in KEPT}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "whole"
    execute(small(), path, threads=1, checkpoint_every=7)
    return path


def test_a_round_without_honest_clients_has_no_loss_and_is_nothing_to_flag(tmp_path: Path) -> None:
    sections = {"federation": {"cohort": 1, "malicious": 0.5, "rounds": 12, "evaluate_every": 6}, "attack": "gaussian"}
    result = execute(small(**sections), tmp_path / "alone", threads=1)
    losses = [r["loss"] for r in RunFolder(tmp_path / "alone").read_rounds()]
    assert None in losses
    assert any(losses)
    assert result["finite"]


def test_a_finished_run_holds_what_the_folder_promises(finished: Path) -> None:
    folder = RunFolder(finished)
    records = list(folder.read_rounds())
    result = folder.read_result()
    assert [r["round"] for r in records] == list(range(1, 31))
    assert all(len(r["cohort"]) == len(r["weight"]) == len(r["norm"]) == 12 for r in records)
    assert all(set(r["malicious"]) <= set(r["cohort"]) for r in records)
    assert [r["round"] for r in records if r["metrics"]] == [10, 20, 30]
    assert all(len(r["projection"]) == 12 for r in records if r["round"] % 10 == 0)
    assert result["last"]["metrics"] == records[-1]["metrics"]
    assert result["malicious_clients"] == 12
    assert result["scored_clients"] == 48
    assert result["threat_model"] == {"knowledge": "coalition + model", "told_byzantine": None}
    rejected = sum(len(r["rejected"]) for r in records)
    weights = sum(w == 0 for r in records for w in r["weight"])
    assert rejected == weights > 0
    environment = folder.read_environment()
    assert environment["config_hash"] == result["config_hash"] == small().hash
    assert environment["versions"]["torch"]
    assert not folder.checkpoint.exists()
    assert folder.seconds_per_round() > 0
    # All but the first and the three that are evaluated, and those in which kernels were read.
    assert 15 <= sum(json.loads(line)["rounds"] for line in folder.timing.read_text().splitlines()) <= 26


def test_rounds_that_compile_or_read_a_kernel_are_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, step = [3], Federation.step

    def stepped(self: Federation) -> RoundRecord:
        record = step(self)
        kernels[0] += record.round in (5, 10, 17)
        return record

    monkeypatch.setattr(Federation, "step", stepped)
    monkeypatch.setattr("fedsiege.arena.runs.readied", lambda: kernels[0])
    execute(small(), tmp_path / "run", threads=1)
    lines = (tmp_path / "run" / "timing.jsonl").read_text().splitlines()
    # Of thirty the first, three evaluated ones (10 is one of them) and two more are left out.
    assert sum(json.loads(line)["rounds"] for line in lines) == 24


def test_detection_is_recomputed_from_the_records(finished: Path) -> None:
    folder = RunFolder(finished)
    wrong = total = 0
    passed = 0
    daccs = []
    for record in folder.read_rounds():
        bad, out = set(record["malicious"]), {c for c, _ in record["rejected"]}
        errors = sum((c in bad) != (c in out) for c in record["cohort"])
        daccs.append(1 - errors / len(record["cohort"]))
        passed += len(bad - out)
        wrong += len(out - bad)
        total += len(record["cohort"]) - len(bad)
    detection = folder.read_result()["detection"]
    assert detection["DACC"] == pytest.approx(sum(daccs) / len(daccs))
    assert detection["AAR"] == pytest.approx(passed / 12)
    assert detection["FPR_pooled"] == pytest.approx(wrong / total)


def test_a_finished_run_is_not_run_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "assemble", lambda config: pytest.fail("it was run again"))
    assert execute(small(), finished) == RunFolder(finished).read_result()


def test_the_same_configuration_gives_the_same_bytes_on_any_number_of_threads(finished: Path, tmp_path: Path) -> None:
    execute(small(), tmp_path / "again", threads=2, checkpoint_every=100)
    assert contents(tmp_path / "again") == contents(finished)


class Stop(Exception):
    """Stands for a kill between two rounds."""


@pytest.mark.parametrize("at", [1, 6, 7, 8, 20, 29])
def test_a_run_stopped_between_rounds_resumes_to_the_same_bytes(finished: Path, tmp_path: Path, at: int) -> None:
    def stop(record: object, seconds: float) -> None:
        if record.round == at:  # type: ignore[attr-defined]
            raise Stop

    with pytest.raises(Stop):
        execute(small(), tmp_path / "cut", threads=1, checkpoint_every=7, progress=stop)
    assert not RunFolder(tmp_path / "cut").finished
    execute(small(), tmp_path / "cut", threads=1, checkpoint_every=7)
    assert contents(tmp_path / "cut") == contents(finished)


@pytest.mark.parametrize(("every", "expected"), [(100, 2), (2, 1)], ids=["no checkpoint", "a checkpoint"])
def test_a_resumed_run_has_the_threads_that_it_had(every: int, expected: int, tmp_path: Path) -> None:
    seen: list[int] = []

    def stop(record: object, seconds: float) -> None:
        seen.append(torch.get_num_threads())
        if record.round >= 4:  # type: ignore[attr-defined]
            raise Stop

    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Stop):
        execute(small(), folder.path, threads=1, checkpoint_every=every, progress=stop)
    assert folder.checkpoint.exists() == (every == 2)
    assert set(seen) == {1}
    seen.clear()
    # Without a checkpoint nothing is taken over, and the run may have other threads.
    with pytest.raises(Stop):
        execute(small(), folder.path, threads=2, progress=stop)
    assert set(seen) == {expected}
    assert folder.read_environment()["hardware"]["threads"] == expected


def test_rounds_that_take_long_are_saved_by_the_clock(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "PATIENCE", 0.0)

    def stop(record: object, seconds: float) -> None:
        if record.round == 9:  # type: ignore[attr-defined]
            raise Stop

    with pytest.raises(Stop):
        execute(small(), tmp_path / "cut", threads=1, checkpoint_every=1000, progress=stop)
    assert checkpoint.load(tmp_path / "cut" / "checkpoint")["federation"]["done"] == 8
    execute(small(), tmp_path / "cut", threads=1)
    assert contents(tmp_path / "cut") == contents(finished)


def start(config: Path, out: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from fedsiege.arena.config import read; "
        "from fedsiege.arena.runs import execute; "
        "execute(read(Path(sys.argv[1])), Path(sys.argv[2]), threads=1, checkpoint_every=50)"
    )
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code, str(config), str(out)], env=environment)


def test_kill_9_at_twenty_random_moments_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    config = small(federation={"rounds": 600, "evaluate_every": 50})
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(config.to_dict()))
    execute(config, tmp_path / "whole", threads=1)
    out, dice, kills, amid, beyond = tmp_path / "killed", random.Random(3), 0, 0, 0
    deadline = time.monotonic() + 400

    def written() -> int:
        return (out / "rounds.jsonl").stat().st_size if (out / "rounds.jsonl").exists() else 0

    while kills < 20:
        assert time.monotonic() < deadline
        process, before = start(file, out), written()
        # Most are killed amid rounds, at once or some rounds later, and a few while they start.
        early, wait = dice.random() < 0.2, dice.random()
        if early:
            time.sleep(2 * wait)
        while not early and process.poll() is None:
            if written() > before:
                time.sleep(0.2 * wait)
                break
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            kills, amid = kills + 1, amid + (written() > before)
            beyond += _ahead(out)
        else:
            # It ended first: the bytes are compared, and the killing starts over in a new folder.
            assert contents(out) == contents(tmp_path / "whole")
            out = tmp_path / f"killed{kills}"
    # Or the test has killed nothing but start-up, and no round had to be done again.
    assert amid >= 8
    assert beyond >= 4
    assert start(file, out).wait() == 0
    assert contents(out) == contents(tmp_path / "whole")


def _ahead(out: Path) -> bool:
    """Tell whether a killed run has written rounds that its last checkpoint does not know."""
    lines = (out / "rounds.jsonl").read_bytes().count(b"\n") if (out / "rounds.jsonl").exists() else 0
    found = (out / "checkpoint").exists()
    return lines > (checkpoint.load(out / "checkpoint")["federation"]["done"] if found else 0)


@pytest.fixture
def heeded() -> Iterator[None]:
    """Let this process heed Ctrl-C, which one in the background of a script ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_an_interrupt_leaves_a_checkpoint_of_the_last_whole_round(finished: Path, tmp_path: Path) -> None:
    def interrupt(record: object, seconds: float) -> None:
        if record.round == 11:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        execute(small(), tmp_path / "run", threads=1, checkpoint_every=1000, progress=interrupt)
    state = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert state["federation"]["done"] in (11, 12)
    execute(small(), tmp_path / "run", threads=1)
    assert contents(tmp_path / "run") == contents(finished)


def test_a_folder_of_another_configuration_is_refused(finished: Path) -> None:
    with pytest.raises(RunError, match=r"another configuration.*'server'"):
        execute(small(server={"lr": 0.5}), finished)


def test_a_configuration_that_differs_in_kind_alone_is_another(tmp_path: Path) -> None:
    federation = {"rounds": 1, "evaluate_every": 1}
    execute(small(federation={**federation, "cohort": 1.0}), tmp_path / "run", threads=1)
    with pytest.raises(RunError, match=r"another configuration.*'federation'"):
        execute(small(federation={**federation, "cohort": 1}), tmp_path / "run", threads=1)


@dataclass(frozen=True)
class Lost(AttackBase):
    """Opens a file that is not there, from the second round with an attacker on."""

    name: ClassVar[str] = "lost"

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        if state:
            Path("/nowhere/directions.npy").read_bytes()
        return updates, {"met": 1}


def test_a_file_that_an_attack_cannot_find_is_no_full_disk(tmp_path: Path) -> None:
    config = replace(small(attack="lie", defense="none"), attack=Lost())
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"directions\.npy"):
        execute(config, folder.path, threads=1)
    failed = json.loads(folder.failed.read_text())
    assert failed["kind"] == "FileNotFoundError"
    assert "directions.npy" in failed["error"]
    # So it is with whoever is told of the rounds.
    with pytest.raises(BrokenPipeError):
        execute(small(), tmp_path / "other", threads=1, progress=lambda record, seconds: os.write(_closed(), b"x"))


def _closed() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_not_another_process(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fedsiege.arena.folder.fcntl.flock", refuse)
    with pytest.raises(RunError, match=r"cannot lock .*file system with locks") as caught, RunFolder(tmp_path).lock():
        pass
    assert not isinstance(caught.value, Busy)


def test_a_line_of_the_timing_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    good = json.dumps({"round": 4, "rounds": 2, "seconds": 3.0})
    folder.timing.write_text(f'{{"round": 2, "ro{good}\n{good}\n7\n{{"rou')
    assert folder.seconds_per_round() == 1.5
    folder.timing.write_text("{}")
    assert math.isnan(folder.seconds_per_round())


def test_a_folder_whose_run_never_began_is_as_good_as_new(tmp_path: Path) -> None:
    wrong = {"name": "digits", "partition": "dirichlet", "samples": 60, "clients": 80}
    values: dict[str, Any] = {"dataset": wrong, "model": {"name": "mlp"}, "federation": {"rounds": 1, "cohort": 2}}
    with pytest.raises(ConfigError, match=r"^dataset\.clients=80: 60 samples"):
        execute(parse(values), tmp_path / "run", threads=1)
    assert (tmp_path / "run" / "failed.json").exists()
    right = parse({**values, "dataset": {**wrong, "clients": 3, "minimum": 1}})
    execute(right, tmp_path / "run", threads=1)
    assert parse(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text("utf-8"))).hash == right.hash
    assert not (tmp_path / "run" / "failed.json").exists()
    for name in ("environment.json", "rounds.jsonl", "checkpoint", "result.json"):
        other = tmp_path / name.partition(".")[0]
        other.mkdir()
        shutil.copy(tmp_path / "run" / "config.yaml", other)
        (other / name).write_text("{}", "utf-8")
        with pytest.raises(RunError, match="another configuration"):
            execute(parse(values), other, threads=1)


def test_a_plugin_that_is_no_longer_named_is_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_extra", dict(registry._extra))
    (tmp_path / "mine.py").write_text(
        "from fedsiege.defenses.none import FedAvg\n\n\nclass Mine(FedAvg):\n    name = 'mine'\n", encoding="utf-8"
    )
    values = small(federation={"rounds": 1, "evaluate_every": 1}).to_dict()
    execute(parse({**values, "plugins": ["mine.py"]}, tmp_path), tmp_path / "run", threads=1)
    with pytest.raises(RunError, match=r"another configuration.*'plugins'"):
        execute(parse(values), tmp_path / "run", threads=1)
    with pytest.raises(ConfigError, match="plugins must be a list of files"):
        parse({**values, "plugins": "mine.py"}, tmp_path)


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("not a run")
    with pytest.raises(RunError, match="not empty"):
        execute(small(), tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "not a run"


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.lock(), pytest.raises(RunError, match="another process"):
        execute(small(), tmp_path)


def test_a_damaged_checkpoint_is_named_with_its_remedy(tmp_path: Path) -> None:
    def stop(record: object, seconds: float) -> None:
        if record.round == 8:  # type: ignore[attr-defined]
            raise Stop

    with pytest.raises(Stop):
        execute(small(), tmp_path / "run", threads=1, checkpoint_every=7, progress=stop)
    (tmp_path / "run" / "checkpoint").write_bytes(b"torn")
    with pytest.raises(RunError, match=r"cannot be read.*delete it"):
        execute(small(), tmp_path / "run", threads=1)


def test_a_checkpoint_of_another_version_is_named_with_its_remedy(tmp_path: Path) -> None:
    def stop(record: object, seconds: float) -> None:
        if record.round == 8:  # type: ignore[attr-defined]
            raise Stop

    with pytest.raises(Stop):
        execute(small(), tmp_path / "run", threads=1, checkpoint_every=7, progress=stop)
    file = tmp_path / "run" / "checkpoint"
    state = checkpoint.load(file)
    state["federation"]["model"] = state["federation"].pop("models")
    checkpoint.save(file, state)
    with pytest.raises(RunError, match=r"another version.*'models'.*delete it"):
        execute(small(), tmp_path / "run", threads=1)


def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(record: object, seconds: float) -> None:
        if record.round == 8:  # type: ignore[attr-defined]
            raise Stop

    with pytest.raises(Stop):
        execute(small(), tmp_path / "run", threads=1, checkpoint_every=7, progress=stop)
    before = (tmp_path / "run" / "checkpoint").read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        execute(small(), tmp_path / "run", threads=1, checkpoint_every=7)
    assert (tmp_path / "run" / "checkpoint").read_bytes() == before


def test_the_best_round_is_the_earliest_of_the_highest_on_validation() -> None:
    def at(round_: int, valid: float | None) -> dict[str, object]:
        return {"round": round_, "metrics": {"valid": {"HR@5": valid}, "test": {"HR@5": 0.5}}}

    assert best_round([at(1, 0.1), at(2, 0.3), at(3, 0.3), at(4, None)], "HR@5")["round"] == 2


@pytest.mark.parametrize(
    ("defense", "federation", "told"),
    [
        # 12 of 60 clients are malicious. Where all take part, 0.2 is the truth and 0.25 is not.
        ({"name": "multikrum", "byzantine": 0.2}, {"cohort": 1.0}, 12),
        ({"name": "multikrum", "byzantine": 0.2}, {"cohort": 60}, 12),
        ({"name": "krum", "byzantine": 12}, {"cohort": 1.0}, 12),
        ({"name": "trimmedmean", "trim": 0.2}, {"cohort": 1.0}, 12),
        ({"name": "union+multikrum", "multikrum": {"byzantine": 12}}, {"cohort": 1.0}, 12),
        ({"name": "multikrum", "byzantine": 0.25}, {"cohort": 1.0}, None),
        ("median", {"cohort": 1.0}, None),
        # A tenth is what Multi-Krum assumes by itself.
        ("multikrum", {"cohort": 1.0, "malicious": 0.1}, 6),
        # Of a sample nobody knows how many are malicious, unless the number is fixed.
        ({"name": "multikrum", "byzantine": 0.2}, {"cohort": 15}, None),
        ({"name": "multikrum", "byzantine": 0.2}, {"cohort": 15, "attackers": 3}, 3),
        ({"name": "multikrum", "byzantine": 0.2}, {"cohort": 15, "attackers": 2}, None),
        # The threat model tells it, and it heeds that.
        ("multikrum", {"cohort": 15, "tell_defense": True}, 3),
        ("union-memory+krum", {"cohort": 15, "tell_defense": True}, 3),
        ({"name": "trimmedmean", "trim": None}, {"cohort": 15, "tell_defense": True}, 3),
        ({"name": "union", "as_published": True}, {"cohort": 15, "tell_defense": True}, 3),
        # The threat model tells it, but it goes by its settings, or reads no number at all.
        ({"name": "multikrum", "byzantine": 0.25}, {"cohort": 15, "tell_defense": True}, None),
        ("trimmedmean", {"cohort": 15, "tell_defense": True}, None),
        ("median", {"cohort": 15, "tell_defense": True}, None),
        ("union", {"cohort": 15, "tell_defense": True}, None),
        # A tenth is what the trimmed mean cuts by itself.
        ({"name": "trimmedmean", "trim": None}, {"cohort": 1.0, "malicious": 0.1}, 6),
        # Nobody attacks.
        ({"name": "multikrum", "byzantine": 0}, {"cohort": 1.0, "malicious": 0.0}, None),
    ],
)
def test_a_defense_whose_settings_are_the_truth_counts_as_told(
    defense: object, federation: dict[str, object], told: int | None
) -> None:
    config = small(defense=defense, federation=federation)
    assert runs.granted(runs.assemble(config)[0]) == told


def test_the_flag_is_raised_by_a_run_whose_settings_are_the_truth(tmp_path: Path) -> None:
    for name, byzantine in (("right", 0.2), ("wrong", 0.25)):
        defense = {"name": "multikrum", "byzantine": byzantine}
        execute(small(defense=defense, federation={"cohort": 1.0, "rounds": 2}), tmp_path / name, threads=1)
    right, wrong = (was_told([read_record(tmp_path / name, tmp_path)]) for name in ("right", "wrong"))
    assert right is not None
    assert "(12)" in right.message
    assert wrong is None


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(RunError, match="not finished"):
        folder.read_result()
    with pytest.raises(RunError, match="not a run folder"):
        folder.read_config()
    folder.result.write_text("{")
    with pytest.raises(RunError, match="damaged"):
        folder.read_result()
    folder.rounds.write_text(json.dumps({"round": 1}) + "\n" + '{"round": 2')
    assert [r["round"] for r in folder.read_rounds()] == [1]
