"""Every attack and every defense with a model that is not on the CPU, resumed from a file: nothing mixes devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsiege.arena.config import DatasetConfig, RunConfig
from fedsiege.arena.runs import assemble
from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.attacks.scaling import Scaling
from fedsiege.defenses.none import FedAvg
from fedsiege.federation import checkpoint
from fedsiege.federation.loop import FederationConfig
from fedsiege.federation.server import ServerConfig
from fedsiege.learners.mlp import MLPConfig
from tests.conformance.catalogue import ATTACKS, DEFENSES, label
from tests.elsewhere import NAME, elsewhere, supported

pytestmark = pytest.mark.skipif(not supported(), reason="this torch cannot have a device written in Python")

ROUNDS = 4


def config(device: str, **plugins: Any) -> RunConfig:
    """Return a run of few rounds."""
    data = DatasetConfig(name="digits", clients=12, partition="iid")
    model = MLPConfig(lr=0.05, batch=64, device=device, together="always")
    federation = FederationConfig(
        rounds=ROUNDS, cohort=10, malicious=0.25, reserved=0.0, evaluate_every=2, project_every=2
    )
    plugins = {"attack": LabelFlip(), "defense": FedAvg(), **plugins}
    return RunConfig(data, model, federation=federation, server=ServerConfig(optimizer="sgd", lr=1.0), **plugins)


def outcome(run: RunConfig, file: Path) -> tuple[dict[str, np.ndarray], list[np.ndarray], dict[str, float]]:
    """Return what a run ends with that is stopped halfway and goes on from a file."""
    first, _ = assemble(run)
    records = [first.step() for _ in range(ROUNDS // 2)]
    checkpoint.save(file, first.state())
    second, _ = assemble(run)
    second.load(checkpoint.load(file))
    records += list(second.rounds())
    model = {name: value.cpu().numpy() for name, value in second.model.snapshot().items()}
    return model, [record.verdicts.accepted for record in records], records[-1].metrics["test"]


def check(tmp_path: Path, **plugins: Any) -> None:
    for plugin in plugins.values():
        if lacking := plugin.needs - MLPConfig.provides:
            pytest.skip(f"{plugin.name} needs {', '.join(sorted(lacking))}, which classifiers do not have")
    expected = outcome(config("cpu", **plugins), tmp_path / "here")
    with elsewhere():
        model, accepted, scores = outcome(config(NAME, **plugins), tmp_path / "there")
    assert model.keys() == expected[0].keys()
    for name, value in model.items():
        np.testing.assert_allclose(value, expected[0][name], rtol=1e-4, atol=1e-5)
    for there, here in zip(accepted, expected[1], strict=True):
        assert there.tolist() == here.tolist()
    assert scores == pytest.approx(expected[2], abs=2e-3)


@pytest.mark.parametrize("attack", ATTACKS, ids=label)
def test_every_attack(attack: Any, tmp_path: Path) -> None:
    check(tmp_path, attack=attack)


@pytest.mark.parametrize("defense", DEFENSES, ids=label)
def test_every_defense(defense: Any, tmp_path: Path) -> None:
    check(tmp_path, attack=Scaling(), defense=defense)


def test_the_device_refuses_mixtures() -> None:
    with elsewhere():
        there = torch.ones(2).to(NAME)
        with pytest.raises(RuntimeError, match="add of tensors on the CPU"):
            there + torch.ones(2)
        with pytest.raises((RuntimeError, TypeError), match="numpy"):
            there.numpy()
        assert (there + torch.tensor(1.0)).tolist() == [2.0, 2.0]
        assert there[torch.tensor([0])].device.type == NAME
