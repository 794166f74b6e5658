"""A small app for real SuperNodes: softmax regression on digits in NumPy, behind FLTrust; a node may turn hostile."""

from __future__ import annotations

from pathlib import Path

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "deployed-numpy"
version = "1.0.0"
description = "A defended app for the test of a real deployment."
license = "Apache-2.0"
dependencies = ["flwr"]

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "fedsiege"

[tool.flwr.app.components]
serverapp = "deployed.server_app:app"
clientapp = "deployed.client_app:app"

[tool.flwr.app.config]
rounds = 5
out-folder = ""
"""

TASK = '''\
"""Softmax regression on digits, five passes a round: 1,200 for the clients, 300 for the server, 297 to test."""

import os

import numpy as np


def digits(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(os.environ["DIGITS"]) as held:
        return held["x"][first:last], held["y"][first:last]


def train(w: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    w, b = w.copy(), b.copy()
    for i in 5 * list(range(0, len(y), 32)):
        part = slice(i, i + 32)
        logits = x[part] @ w + b
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(p)), y[part]] -= 1
        w -= 0.5 * x[part].T @ p / len(p)
        b -= 0.5 * p.mean(0)
    return w, b
'''

CLIENT = '''\
"""A client with its share of the digits; FEDSIEGE_RED makes it hostile."""

import os

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from deployed.task import digits
from deployed.task import train as train_one

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    start = {name: a.numpy() for name, a in msg.content["arrays"].items()}
    x, y = digits(0, 1200)
    mine = np.array_split(np.arange(1200), context.node_config["num-partitions"])[context.node_config["partition-id"]]
    w, b = train_one(start["w"], start["b"], x[mine], y[mine])
    if os.environ.get("FEDSIEGE_RED"):
        w, b = start["w"] - 4 * (w - start["w"]), start["b"] - 4 * (b - start["b"])
    arrays = ArrayRecord({"w": Array(w), "b": Array(b)})
    content = {"arrays": arrays, "metrics": MetricRecord({"num-examples": int(mine.size)})}
    return Message(RecordDict(content), reply_to=msg)
'''

SERVER = '''\
"""FedAvg behind FLTrust; a node that is turned away twice in a row is out."""

import json
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from deployed.task import digits, train
from fedsiege.flower.strategy import DefendedStrategy

app = ServerApp()


def accuracy(arrays: ArrayRecord) -> float:
    x, y = digits(1500, 1797)
    return float(((x @ arrays["w"].numpy() + arrays["b"].numpy()).argmax(1) == y).mean())


def root(arrays: ArrayRecord, samples: int) -> ArrayRecord:
    w, b = train(arrays["w"].numpy(), arrays["b"].numpy(), *digits(1200, 1500))
    return ArrayRecord({"w": Array(w), "b": Array(b)})


@app.main()
def main(grid: Grid, context: Context) -> None:
    out = Path(context.run_config["out-folder"])
    inner = FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=3)
    strategy = DefendedStrategy(inner, "fltrust", root=root, expel_after=2, folder=out)
    first = ArrayRecord({"w": Array(np.zeros((64, 10), np.float32)), "b": Array(np.zeros(10, np.float32))})
    result = strategy.start(grid, first, num_rounds=context.run_config["rounds"])
    told = {"accuracy": accuracy(result.arrays), "banned": strategy.banned}
    (out / "result.tmp").write_text(json.dumps(told))
    (out / "result.tmp").rename(out / "result.json")
'''


def write_app(root: Path) -> Path:
    """Write the app under `root`; return its folder."""
    folder = root / "app"
    (folder / "deployed").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (folder / "deployed" / "__init__.py").write_text('"""A defended app."""\n', encoding="utf-8")
    (folder / "deployed" / "task.py").write_text(TASK, encoding="utf-8")
    (folder / "deployed" / "client_app.py").write_text(CLIENT, encoding="utf-8")
    (folder / "deployed" / "server_app.py").write_text(SERVER, encoding="utf-8")
    return folder


def write_digits(path: Path) -> Path:
    """Write scikit-learn's digits, shuffled, as a file that a client loads in no time."""
    import numpy as np
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(y))
    np.savez(path, x=(x[order] / 16).astype(np.float32), y=y[order])
    return path
