"""Flower apps in the layout that `flwr new` writes, offline: scikit-learn's digits instead of a download."""

from __future__ import annotations

from pathlib import Path

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0.0"
description = ""
license = "Apache-2.0"
dependencies = ["flwr[simulation]>=1.25.0", {needs}]

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "someone"

[tool.flwr.app.components]
serverapp = "{package}.server_app:app"
clientapp = "{package}.client_app:app"

[tool.flwr.app.config]
num-server-rounds = {rounds}
fraction-evaluate = 0.5
local-epochs = 1
learning-rate = {rate}
batch-size = 32
"""

NUMPY_TASK = '''\
"""{package}: softmax regression on digits."""

import numpy as np
from sklearn.datasets import load_digits


def get_model():
    return [np.zeros((64, 10), np.float32), np.zeros(10, np.float32)]


def load_data(partition_id, num_partitions):
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    mine = np.array_split(order, num_partitions)[partition_id]
    x, y = (x[mine] / 16).astype(np.float32), y[mine]
    cut = int(0.8 * len(y))
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def softmax(model, x):
    logits = x @ model[0] + model[1]
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def train(model, data, lr, batch_size):
    x, y = data
    order = np.random.permutation(len(y))
    for i in range(0, len(y), batch_size):
        part = order[i : i + batch_size]
        p = softmax(model, x[part])
        p[np.arange(len(part)), y[part]] -= 1
        model[0] -= lr * x[part].T @ p / len(part)
        model[1] -= lr * p.mean(0)
    return model


def test(model, data):
    x, y = data
    p = softmax(model, x)
    return float(-np.log(p[np.arange(len(y)), y] + 1e-9).mean()), float((p.argmax(1) == y).mean())
'''

NUMPY_CLIENT = '''\
"""{package}: A Flower / NumPy app."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from {package}.task import load_data
from {package}.task import test as test_fn
from {package}.task import train as train_fn

app = ClientApp()


@app.train()
def train(msg: Message, context: Context):
    model = [a.copy() for a in msg.content["arrays"].to_numpy_ndarrays()]
    trainset, _ = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    model = train_fn(model, trainset, context.run_config["learning-rate"], context.run_config["batch-size"])
    loss, _ = test_fn(model, trainset)
    metrics = MetricRecord({{"train_loss": loss, "num-examples": len(trainset[1])}})
    return Message(content=RecordDict({{"arrays": ArrayRecord(model), "metrics": metrics}}), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    model = msg.content["arrays"].to_numpy_ndarrays()
    _, testset = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    loss, acc = test_fn(model, testset)
    metrics = MetricRecord({{"eval_loss": loss, "eval_acc": acc, "num-examples": len(testset[1])}})
    return Message(content=RecordDict({{"metrics": metrics}}), reply_to=msg)
'''

NUMPY_SERVER = '''\
"""{package}: A Flower / NumPy app."""

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from {package}.task import get_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    arrays = ArrayRecord(get_model())
    strategy = FedAvg(fraction_evaluate=context.run_config["fraction-evaluate"])
    result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=context.run_config["num-server-rounds"])
    np.savez("final_model.npz", *result.arrays.to_numpy_ndarrays())
'''

TORCH_TASK = '''\
"""{package}: a small convolutional network on digits."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.fc1 = nn.Linear(8 * 4 * 4, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def dataset(partition_id, num_partitions):
    x, y = load_digits(return_X_y=True)
    mine = np.array_split(np.random.default_rng(0).permutation(len(y)), num_partitions)[partition_id]
    return TensorDataset(torch.tensor(x[mine] / 16).float().view(-1, 1, 8, 8), torch.tensor(y[mine]))


def load_data(partition_id, num_partitions, batch_size):
    data = dataset(partition_id, num_partitions)
    cut = int(0.8 * len(data))
    train, test = torch.utils.data.random_split(
        data, [cut, len(data) - cut], generator=torch.Generator().manual_seed(42)
    )
    return DataLoader(train, batch_size=batch_size, shuffle=True), DataLoader(test, batch_size=batch_size)


def train(net, trainloader, epochs, lr):
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    total = 0.0
    for _ in range(epochs):
        for x, y in trainloader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
    return total / len(trainloader)


def test(net, testloader):
    net.eval()
    correct, loss = 0, 0.0
    with torch.no_grad():
        for x, y in testloader:
            out = net(x)
            loss += F.cross_entropy(out, y).item()
            correct += (out.argmax(1) == y).sum().item()
    return loss / len(testloader), correct / len(testloader.dataset)
'''

TORCH_CLIENT = '''\
"""{package}: A Flower / PyTorch app."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from {package}.task import Net, load_data
from {package}.task import test as test_fn
from {package}.task import train as train_fn

app = ClientApp()


@app.train()
def train(msg: Message, context: Context):
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    node = context.node_config
    trainloader, _ = load_data(node["partition-id"], node["num-partitions"], context.run_config["batch-size"])
    train_loss = train_fn(model, trainloader, context.run_config["local-epochs"], msg.content["config"]["lr"])
    metrics = MetricRecord({{"train_loss": train_loss, "num-examples": len(trainloader.dataset)}})
    content = RecordDict({{"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    node = context.node_config
    _, testloader = load_data(node["partition-id"], node["num-partitions"], context.run_config["batch-size"])
    loss, acc = test_fn(model, testloader)
    metrics = MetricRecord({{"eval_loss": loss, "eval_acc": acc, "num-examples": len(testloader.dataset)}})
    return Message(content=RecordDict({{"metrics": metrics}}), reply_to=msg)
'''

TORCH_SERVER = '''\
"""{package}: A Flower / PyTorch app."""

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch.utils.data import DataLoader

from {package}.task import Net, dataset
from {package}.task import test as test_fn

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    arrays = ArrayRecord(Net().state_dict())
    strategy = FedAvg(fraction_evaluate=context.run_config["fraction-evaluate"])
    result = strategy.start(
        grid=grid,
        initial_arrays=arrays,
        train_config=ConfigRecord({{"lr": context.run_config["learning-rate"]}}),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=global_evaluate,
    )
    torch.save(result.arrays.to_torch_state_dict(), "final_model.pt")


def global_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    model = Net()
    model.load_state_dict(arrays.to_torch_state_dict())
    loss, acc = test_fn(model, DataLoader(dataset(0, 1), batch_size=256))
    return MetricRecord({{"accuracy": acc, "loss": loss}})
'''

KINDS = {
    "numpy": ((NUMPY_TASK, NUMPY_CLIENT, NUMPY_SERVER), '"numpy>=2.0.2", "scikit-learn"', 0.5),
    "torch": ((TORCH_TASK, TORCH_CLIENT, TORCH_SERVER), '"torch>=2.6", "scikit-learn"', 0.1),
}


def write_app(root: Path, kind: str, name: str | None = None, rounds: int = 3) -> Path:
    """Write an app of a kind under `root`; return its folder."""
    name = name or f"quickstart-{kind}"
    package = name.replace("-", "_")
    (task, client, server), needs, rate = KINDS[kind]
    folder = root / name
    (folder / package).mkdir(parents=True)
    (folder / "README.md").write_text(f"# {name}\n", encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        PYPROJECT.format(name=name, package=package, needs=needs, rate=rate, rounds=rounds), encoding="utf-8"
    )
    (folder / package / "__init__.py").write_text(f'"""{name}."""\n', encoding="utf-8")
    for file, text in (("task", task), ("client_app", client), ("server_app", server)):
        body = text.format(package=package) if file != "task" else text.replace("{package}", package)
        (folder / package / f"{file}.py").write_text(body, encoding="utf-8")
    return folder
