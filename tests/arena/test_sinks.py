"""Runs sent to MLflow and TensorBoard; to the real ones where they are installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fedsiege.arena.evaluations import evaluations
from fedsiege.arena.sinks import SINKS, parse, send
from fedsiege.arena.store import Store
from fedsiege.errors import ConfigError, RunError
from tests.arena.stored import failed, finished


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    finished(folder / "a" / "seed0", "lie", "krum", 0)
    finished(folder / "a" / "seed1", "lie", "krum", 1, card=None)
    failed(folder / "b")
    return folder


def sent(root: Path, to: str) -> tuple[int, int]:
    with Store(root) as runs:
        done = send(runs.records(status=None), root, to)
    return done.new, done.known


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("tensorbord:x", "did you mean 'tensorboard'"),
        ("mlflow", "needs the URI"),
        ("mlflow:", "needs the URI"),
        ("", "there is no sink ''"),
    ],
)
def test_a_wrong_target_is_refused(to: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(to)


def test_a_target_may_hold_colons() -> None:
    assert parse("mlflow:http://localhost:5000") == ("mlflow", "http://localhost:5000")


@pytest.mark.parametrize("name", SINKS)
def test_what_is_not_installed_is_named_with_its_extra(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mlflow", "mlflow.exceptions", "tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"in a clone of FedSiege run: pip install -e '\.\[{name}\]'"):
        sent(root, f"{name}:{root.parent / 'there'}")
    assert not (root.parent / "there").exists()


def test_tensorboard_reads_the_curves(root: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    to = f"tensorboard:{tmp_path / 'logs'}"
    assert sent(root, to) == (2, 0)
    assert sent(root, to) == (0, 2)
    logs = EventAccumulator(str(tmp_path / "logs" / "a" / "seed0")).Reload()
    expected = evaluations(root / "a/seed0/rounds.jsonl")
    assert len(expected) == 3
    for split in ("test", "valid"):
        for name in ("HR@5", "NDCG@10"):
            found = [(event.step, event.value) for event in logs.Scalars(f"{split}/{name}")]
            wanted = [(e["round"], e["metrics"][split][name]) for e in expected]
            assert [step for step, _ in found] == [step for step, _ in wanted]
            assert [value for _, value in found] == pytest.approx([value for _, value in wanted], rel=1e-6)
    assert [event.value for event in logs.Scalars("loss")] == pytest.approx([0.6] * 3)
    assert logs.Scalars("detection/DACC")[0].value == pytest.approx(0.95)
    assert "detection/FNR_final" not in logs.Tags()["scalars"]
    # One that was killed in the middle is written again, whole and once.
    (tmp_path / "logs/a/seed0/fedsiege-run.txt").unlink()
    assert sent(root, to) == (1, 1)
    assert len(list((tmp_path / "logs/a/seed0").glob("events*"))) == 1


def test_tensorboard_without_a_place(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        sent(root, f"tensorboard:{tmp_path / 'file'}")


def test_mlflow_holds_the_runs(root: Path, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert sent(root, f"mlflow:{uri}") == (2, 0)
    assert sent(root, f"mlflow:{uri}") == (0, 2)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("toy-v1").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.data.params["attack_label"] == "lie"
    assert run.data.params["seed"] == "0"
    assert run.data.tags["fedsiege.config_hash"] == "lie-krum-0"
    assert run.data.tags["fedsiege.data_sha256"] == "ab" * 32
    curve = client.get_metric_history(run.info.run_id, "test/HR_at_5")
    wanted = [(e["round"], e["metrics"]["test"]["HR@5"]) for e in evaluations(root / "a/seed0/rounds.jsonl")]
    assert sorted((point.step, point.value) for point in curve) == wanted
    assert run.data.metrics["wall_seconds"] == 12.5
    assert "detection/FNR_final" not in run.data.metrics
    # An export that was killed leaves a run that has not ended; it is sent again.
    client.update_run(run.info.run_id, status="RUNNING")
    assert sent(root, f"mlflow:{uri}") == (1, 1)
    assert len(client.search_runs([experiment])) == 1
    assert client.get_experiment_by_name("fedsiege") is not None


def test_mlflow_that_refuses(root: Path) -> None:
    with pytest.raises(RunError, match="did not take the runs"):
        sent(root, "mlflow:nosuch://place")
