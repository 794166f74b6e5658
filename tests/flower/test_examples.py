"""The example apps: in one process, from a folder that outlives it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr")

from flwr.app import Context, RecordDict

from fedsiege.flower.grid import LocalGrid

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_user_vectors_stay_on_the_nodes_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "flower_mf"))
    monkeypatch.delenv("FEDSIEGE_RED", raising=False)
    assert importlib.import_module("prepare").prepare(tmp_path, 3, "synthetic") == "synthetic"
    server = importlib.import_module("flower_mf.server_app").app
    client = importlib.import_module("flower_mf.client_app").app
    task = importlib.import_module("flower_mf.task")
    config = {
        "rounds": 1, "dim": 4, "local-epochs": 1, "learning-rate": 0.05, "told": 1, "expel-after": 0, "defense": "union+multikrum",
        "out-folder": str(tmp_path / "out"), "nodes-folder": str(tmp_path),
    }  # fmt: skip
    before = task.Node(tmp_path / "node-1", 4).users

    def run() -> None:
        server(LocalGrid(client, 3, run_config=config), Context(1, 1, {}, RecordDict(), config))

    run()
    after = np.load(tmp_path / "node-1" / "users.npy")
    assert after.shape == before.shape
    assert not np.allclose(after, before)
    # Another process, another node object: it goes on from what is on the disk; so does the server from its folder.
    assert np.array_equal(task.Node(tmp_path / "node-1", 4).users, after)
    config["rounds"] = 2
    run()
    lines = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2]
    assert not np.allclose(np.load(tmp_path / "node-1" / "users.npy"), after)
    sent = json.loads((tmp_path / "out" / "result.json").read_text())
    assert 0 <= sent["hr@10"] <= 1
