"""A small app for real SuperNodes: softmax regression on digits in NumPy, defended, one node that turns its update."""

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

CLIENT = '''\
"""One pass of softmax regression on a third of the digits; test data are the last 297 of all."""

import os

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    start = {name: a.numpy() for name, a in msg.content["arrays"].items()}
    w, b = start["w"].copy(), start["b"].copy()
    with np.load(os.environ["DIGITS"]) as digits:
        x, y = digits["x"][:1500], digits["y"][:1500]
    mine = np.array_split(np.arange(1500), context.node_config["num-partitions"])[context.node_config["partition-id"]]
    for i in range(0, mine.size, 32):
        part = mine[i : i + 32]
        logits = x[part] @ w + b
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(part.size), y[part]] -= 1
        w -= 0.5 * x[part].T @ p / part.size
        b -= 0.5 * p.mean(0)
    if os.environ.get("FEDSIEGE_RED"):
        w, b = start["w"] - 4 * (w - start["w"]), start["b"] - 4 * (b - start["b"])
    arrays = ArrayRecord({"w": Array(w), "b": Array(b)})
    content = {"arrays": arrays, "metrics": MetricRecord({"num-examples": int(mine.size)})}
    return Message(RecordDict(content), reply_to=msg)
'''

SERVER = '''\
"""FedAvg behind Multi-Krum; a node that is turned away twice in a row is out."""

import json
import os
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedsiege.flower.strategy import DefendedStrategy

app = ServerApp()


def accuracy(arrays: ArrayRecord) -> float:
    with np.load(os.environ["DIGITS"]) as digits:
        x, y = digits["x"][1500:], digits["y"][1500:]
    return float(((x @ arrays["w"].numpy() + arrays["b"].numpy()).argmax(1) == y).mean())


@app.main()
def main(grid: Grid, context: Context) -> None:
    out = Path(context.run_config["out-folder"])
    inner = FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=3)
    strategy = DefendedStrategy(inner, "multikrum", told=1, expel_after=2, folder=out)
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
