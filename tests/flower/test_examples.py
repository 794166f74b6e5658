"""The example apps: in one process, from a folder that outlives it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr")

from flwr.app import Context, RecordDict

from fedsiege.flower.grid import LocalGrid
from fedsiege.redteam.grid import RedGrid, coalition

EXAMPLES = Path(__file__).parents[2] / "examples"


def mf(folder: Path, monkeypatch: pytest.MonkeyPatch, nodes: int) -> tuple[Any, Any, Any, dict[str, Any]]:
    """The MF app's server, client and task on generated data, and a run configuration for it."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "flower_mf"))
    monkeypatch.delenv("FEDSIEGE_RED", raising=False)
    assert importlib.import_module("prepare").prepare(folder, nodes, "synthetic") == "synthetic"
    server, client, task = (importlib.import_module(f"flower_mf.{n}") for n in ("server_app", "client_app", "task"))
    config = {
        "rounds": 1, "dim": 4, "local-epochs": 1, "learning-rate": 0.05, "told": 1, "expel-after": 0,
        "defense": "union+multikrum", "out-folder": str(folder / "out"), "nodes-folder": str(folder),
    }  # fmt: skip
    return server.app, client.app, task, config


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "verdicts.jsonl").read_text().splitlines()]


def test_user_vectors_stay_on_the_nodes_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, client, task, config = mf(tmp_path, monkeypatch, 3)
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
    assert [line["round"] for line in rounds_of(tmp_path)] == [1, 2]
    assert not np.allclose(np.load(tmp_path / "node-1" / "users.npy"), after)
    sent = json.loads((tmp_path / "out" / "result.json").read_text())
    assert 0 <= sent["hr@10"] <= 1


@pytest.mark.parametrize("attacked", [True, False])
def test_union_with_memory_expels_who_gathers_items_if_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attacked: bool
) -> None:
    server, client, _, config = mf(tmp_path, monkeypatch, 10)
    config.update({"rounds": 3, "defense": "union-memory", "expel-after": 2})
    red = coalition("clusterattack", places=[9], items="items") if attacked else None
    server(RedGrid(client, 10, red=red, run_config=config), Context(1, 1, {}, RecordDict(), config))
    # Nodes of a grid in this process are numbered from 1001 in the order of partitions.
    banned = json.loads((tmp_path / "out" / "result.json").read_text())["banned"]
    assert {who: ban["round"] for who, ban in banned.items()} == ({"node:1010": 2} if attacked else {})
    assert [len(line["uploads"]) for line in rounds_of(tmp_path)] == ([10, 10, 9] if attacked else [10, 10, 10])


@pytest.mark.parametrize("defense", ["none", "union"])
def test_clients_add_unions_task_only_where_the_server_has_union(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defense: str
) -> None:
    server, client, task, config = mf(tmp_path, monkeypatch, 2)
    config.update({"rounds": 2, "defense": defense})
    told: list[np.ndarray] = []
    monkeypatch.setattr(task.Node, "train", lambda self, table, *_: (told.append(table.copy()) or table.copy(), 0.0))
    server(LocalGrid(client, 2, run_config=config), Context(1, 1, {}, RecordDict(), config))
    # Nobody has trained, so between the rounds only UNION's task can have moved the table.
    assert len(told) == 4
    assert np.array_equal(told[0], told[-1]) == (defense == "none")
