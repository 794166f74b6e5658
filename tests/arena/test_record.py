"""A run folder as a record: every field, older folders, damaged ones."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedsiege import registry
from fedsiege.arena.evaluations import evaluations
from fedsiege.arena.folder import Unreadable
from fedsiege.arena.record import FIELDS, Record, parse_config, read_record
from fedsiege.arena.runs import execute
from fedsiege.errors import RunError
from tests.arena.stored import CARD, begun, edit, failed, finished
from tests.report.fakes import write_run
from tests.small import small


def test_every_field_of_a_finished_run(tmp_path: Path) -> None:
    card = {**CARD, "degree": "skewed", "division": "open", "changes": ["server.lr", "model.none", "seed"]}
    more = {"attack_params": {"z": 0.5}, "told": 10, "malicious": 0.1, "command": "fedsiege run x.yaml"}
    folder = finished(tmp_path / "a" / "b", "lie", "krum", 3, value=0.25, card=card, **more)
    found = read_record(folder, tmp_path)
    expected = {
        "path": "a/b", "status": "finished", "error": None, "config_hash": "lie-krum-3", "card": "toy-v1",
        "card_hash": "0123456789ab", "degree": "skewed", "division": "open",
        "changes": ("server.lr=0.002", "model.none", "seed"),
        "dataset": "synthetic", "model": "mf", "attack": "lie", "defense": "krum", "attack_label": "lie (z=0.5)",
        "defense_label": "krum", "seed": 3, "malicious": 0.1, "knowledge": "coalition + model", "told": 10,
        "rounds": 12, "metric": "HR@5", "value": 0.25, "best": 0.25, "finite": True, "rejects": True,
        "seconds_per_round": pytest.approx(0.1), "wall_seconds": 12.5, "peak_bytes": 3e8, "version": "9.9",
        "commit": "0123456789abcdef0123", "data_sha256": "ab" * 32, "hardware": "test, 1 thread",
        "versions": {"python": "3.11", "fedsiege": "9.9"}, "command": "fedsiege run x.yaml", "warnings": (),
        "scores": pytest.approx({"HR@5": 0.25, "NDCG@5": 0.15, "HR@10": 0.5, "NDCG@10": 0.3}),
        "tail": pytest.approx((0.25 / 3, 0.5 / 3, 0.25)), "asr_tail": (), "told_norm": False,
    }  # fmt: skip
    assert expected.keys() | {"detection"} == set(FIELDS)
    for name, value in expected.items():
        assert getattr(found, name) == value, name
    assert found.detection["FPR"] == 0.0
    assert math.isnan(found.detection["FNR_final"])
    assert not found.adaptive
    assert repr(Record.loads(found.dumps())) == repr(found)


def test_a_run_of_the_program_becomes_a_record(tmp_path: Path) -> None:
    config = small(federation={"rounds": 24, "evaluate_every": 2}, attack={"name": "lie"}, defense="krum")
    result = execute(config, tmp_path / "run", threads=1)
    found = read_record(tmp_path / "run", tmp_path)
    assert (found.status, found.config_hash, found.metric) == ("finished", config.hash, config.metric)
    assert found.scores == result["last"]["metrics"]["test"]
    assert found.value == found.tail[-1] == found.scores[config.metric]
    assert len(found.tail) == 10
    assert (found.attack_label, found.defense_label) == ("lie", "krum")
    assert len(found.data_sha256) == 64
    assert found.commit
    assert found.seconds_per_round > 0
    assert str(tmp_path / "run") in found.command
    assert (found.warnings, found.rounds) == ((), 24)


def test_the_asr_has_a_tail_of_its_own(tmp_path: Path) -> None:
    folder = finished(tmp_path / "a", "dba", "none", 0)
    lines = [{"round": r, "loss": 1.0, "metrics": {"test": {"HR@5": r / 20, "ASR": r / 40}}} for r in range(1, 13)]
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_record(folder, tmp_path)
    assert found.tail == tuple(r / 20 for r in range(3, 13))
    assert found.asr_tail == tuple(r / 40 for r in range(3, 13))
    assert repr(Record.loads(found.dumps())) == repr(found)


def test_an_older_folder_reads_well(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "old", "lie", "krum", told=None)
    for name in ("environment.json", "timing.jsonl", "rounds.jsonl"):
        (folder / name).unlink()
    found = read_record(folder, tmp_path)
    assert (found.status, found.metric, found.card, found.card_hash, found.division) == (
        "finished", "HR@5", None, None, "",
    )  # fmt: skip
    assert (found.tail, found.version, found.data_sha256, found.versions, found.warnings) == ((), "", "", {}, ())
    assert all(math.isnan(x) for x in (found.wall_seconds, found.peak_bytes, found.seconds_per_round))
    assert found.told is None


def test_the_configuration_may_name_the_card(tmp_path: Path) -> None:
    folder = failed(tmp_path / "run", card=None)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "card": {**CARD, "degree": "iid"}}))
    assert (read_record(folder, tmp_path).card, read_record(folder, tmp_path).degree) == ("toy-v1", "iid")


def test_runs_without_a_result(tmp_path: Path) -> None:
    one = read_record(failed(tmp_path / "failed", "RunError: no room", attack="lie", seed=2), tmp_path)
    assert (one.status, one.error, one.attack, one.seed) == ("failed", "RunError: no room", "lie", 2)
    assert math.isnan(one.value)
    two = read_record(begun(tmp_path / "begun"), tmp_path)
    assert (two.status, two.error, two.metric) == ("unfinished", None, "")
    # A result outweighs what a former attempt left.
    folder = finished(tmp_path / "both")
    (folder / "failed.json").write_text('{"error": "x"}')
    assert (read_record(folder, tmp_path).status, read_record(folder, tmp_path).error) == ("finished", None)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("result.json", "", "result.json is damaged"),
        ("result.json", '{"config_hash": "0", "las', "result.json is damaged"),
        ("result.json", "[1, 2]", "holds no mapping"),
        ("result.json", '{"config_hash": "0"}', "result.json is damaged \\(no 'last'\\)"),
        ("result.json", "\x00\x00\x00", "result.json is damaged"),
        ("config.yaml", "seed: [", "config.yaml is damaged"),
        ("config.yaml", "seed: 0", "config.yaml is damaged \\(no 'dataset'\\)"),
        ("config.yaml", "", "holds no mapping"),
        ("config.yaml", None, r"result\.json lies without config\.yaml"),
    ],
)
def test_a_damaged_run_is_one_clear_error(tmp_path: Path, file: str, text: str | None, words: str) -> None:
    folder = finished(tmp_path / "run")
    (folder / file).unlink() if text is None else (folder / file).write_text(text)
    with pytest.raises(RunError, match=words) as caught:
        read_record(folder, tmp_path)
    assert "\n" not in str(caught.value)
    assert ("move it away" if text is None else "delete it") in str(caught.value)
    assert "folder" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    (folder / "result.json").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(RunError, match=r"result\.json is damaged"):
        read_record(folder, tmp_path)


def unreadable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the rights to read files of this name."""
    real = io.open

    def opening(path: Any, *args: Any, **more: Any) -> Any:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **more)

    monkeypatch.setattr(io, "open", opening)


@pytest.mark.parametrize("file", ["result.json", "config.yaml", "failed.json"])
def test_a_file_that_cannot_be_read_is_no_damage(tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = (failed if file == "failed.json" else finished)(tmp_path / "run")
    unreadable(file, monkeypatch)
    with pytest.raises(Unreadable) as caught:
        read_record(folder, tmp_path)
    assert str(caught.value) == f"{folder}/{file} cannot be read: Permission denied; check its rights"


@pytest.mark.parametrize("file", ["environment.json", "timing.jsonl", "cost.json", "rounds.jsonl"])
def test_what_cannot_be_read_beside_the_result_is_a_warning(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished(tmp_path / "run")
    unreadable(file, monkeypatch)
    assert read_record(folder, tmp_path).warnings == (f"{folder}/{file} cannot be read: Permission denied",)


@pytest.mark.parametrize("file", ["environment.json", "timing.jsonl", "cost.json", "rounds.jsonl"])
def test_damage_beside_the_result_is_a_warning(tmp_path: Path, file: str) -> None:
    folder = finished(tmp_path / "run")
    # Lines of the timing may be cut short, which costs those lines alone; numbers that are none are damage.
    timed = '{"round": 1, "rounds": 1, "seconds": "x"}\n'
    (folder / file).write_text(timed if file == "timing.jsonl" else '{"metrics":{"test":}}\n{]}\n')
    found = read_record(folder, tmp_path)
    assert found.value > 0
    assert len(found.warnings) == 1
    assert file in found.warnings[0]
    edit(folder / "result.json", metric="NDCG@5")
    assert read_record(folder, tmp_path).value == found.scores["NDCG@5"]


@pytest.mark.parametrize(
    "text",
    [
        "seed: 3\nplugins:\n- a.py\n- b.py\ndataset:\n  name: digits\n  sizes:\n  - 1\n  - 2.5\nserver: {lr: 1.0}\n",
        "a: &x\n  k: 1\nb: *x\n", "a: 'one\n\n  two'\nb: 2\n", "a: 1", "a: 1\n---\nb: 2\n", "a: |\n  t\nb: 1\n",
        "{a: 1,\nb: 2}\n", "a: [1,\n  2]\nb: null\n", "a: 1\na: 2\n", "# said\na: 1\n", "a:\n\n  b: 1\nc: 2\n", "- 1\n",
        "a: !!str 1\n", "\"a\": 1\n", "a:\n- 1\n-\n  b: 2\nc: x: y\n", "a: b\n\tc: d\n", "", "a: {b\nc: }\n", "1: 2\n",
        "a: one\n  two\nb: 3\n", "a: 1 # b\nb: 2\n", "a:\n  - [1, 2\nb: 3\n",
    ],
)  # fmt: skip
def test_sections_are_read_as_the_whole_is(text: str) -> None:
    def read(parse: Any) -> Any:
        try:
            return parse(text)
        except yaml.YAMLError:
            return "no YAML"

    assert read(parse_config) == read(yaml.safe_load)


def test_stored_configurations_are_read_as_a_whole_would_be() -> None:
    for attack in registry.entries("attacks"):
        values = {**small().to_dict(), "attack": {"name": attack, "power": 1e-9}, "card": {**CARD, "changes": ["a.b"]}}
        text = yaml.safe_dump(values, sort_keys=False)
        assert parse_config(text) == yaml.safe_load(text) == values


def slowly(path: Path) -> list[dict]:
    """Every line parsed: the reference for `evaluations`."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]
    kept = [line for line in lines if line["metrics"]]
    return [{"round": line["round"], "loss": line["loss"], "metrics": line["metrics"]} for line in kept]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("every", [1, 3, 7, 100])
def test_evaluations_are_those_of_a_plain_reader(tmp_path: Path, separators: tuple[str, str], every: int) -> None:
    path = tmp_path / "rounds.jsonl"
    lines = []
    for number in range(1, 31):
        scores = {"test": {"HR@5": number / 7, "odd": None}} if number % every == 0 else {}
        # A defense may tell of its own "metrics"; they are no evaluation.
        line = {"round": number, "loss": None, "info": {"metrics": {}}, "metrics": scores, "projection": [[0, 1]]}
        lines.append(json.dumps(line, separators=separators))
    path.write_text("\n".join(lines) + '\n{"round":31,"metrics":{"test":{"HR@5"')
    expected = slowly(path)
    assert len(expected) == 30 // every
    assert evaluations(path) == expected
    assert evaluations(path, 4) == expected[-4:]
    assert evaluations(path, 0) == []


def test_no_evaluations(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    assert evaluations(path) == []
    path.write_text("")
    assert evaluations(path) == []
    path.write_text('{"round":1,"metrics":{"test"')
    assert evaluations(path) == []
