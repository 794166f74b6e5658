"""`ServerModel` against `torch.optim` over all parameters, dense blocks and item table alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.errors import ConfigError
from fedsiege.federation.server import ServerConfig, ServerModel
from fedsiege.updates import BlockSpec, Delta, DenseBlock, ModelSpec, RowBlock

SPEC = ModelSpec((BlockSpec("items", (20, 4), "items"), BlockSpec("head", (4, 3)), BlockSpec("bias", (3,))))
ADAM = ServerConfig("adam", lr=1e-2, betas=(0.8, 0.99), eps=1e-7)
SGD = ServerConfig("sgd", lr=0.5)
DECAYS = [{}, {"items": 0.1}, {"items": 0.1, "head": 0.2}]


def params() -> dict[str, torch.Tensor]:
    gen = torch.Generator().manual_seed(0)
    return {b.name: torch.randn(b.shape, generator=gen) for b in SPEC.blocks}


def delta(round_: int, dtype: torch.dtype = torch.float32) -> Delta:
    """An aggregate that touches some items; none in every fifth round."""
    rng = np.random.default_rng(round_)
    rows = np.flatnonzero(rng.random(20) < (0.0 if round_ % 5 == 0 else 0.3))
    values = torch.from_numpy(rng.normal(size=(rows.size, 4))).to(dtype)
    return {
        "items": RowBlock(torch.tensor([0, rows.size]), torch.from_numpy(rows), values, 20),
        "head": DenseBlock(torch.from_numpy(rng.normal(size=(1, 4, 3))).to(dtype)),
        "bias": DenseBlock(torch.from_numpy(rng.normal(size=(1, 3))).to(dtype)),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("config", [ADAM, SGD])
def test_equals_torch_optim(config, decay, dtype):
    model = ServerModel(SPEC, params(), config, decay)
    wanted = {name: p.double().requires_grad_() for name, p in params().items()}
    groups = [{"params": [p], "weight_decay": decay.get(name, 0.0)} for name, p in wanted.items()]
    if config.optimizer == "adam":
        other = torch.optim.Adam(groups, lr=config.lr, betas=config.betas, eps=config.eps)
    else:
        other = torch.optim.SGD(groups, lr=config.lr)
    for round_ in range(1, 41):
        assert model.clock == round_ - 1
        model.apply(delta(round_, dtype))
        for name, block in delta(round_, dtype).items():
            wanted[name].grad = -block.dense()[0].double()
        other.step()
        if round_ % 7 == 0:
            rows = np.array([3, 11, 0])
            torch.testing.assert_close(
                model.table("items", rows)[rows].double(), wanted["items"].detach()[rows], rtol=1e-4, atol=1e-5
            )
    for name, value in model.snapshot().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), wanted[name].detach(), rtol=1e-4, atol=1e-5)
        assert torch.equal(value, model.param(name))


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("config", [ADAM, SGD])
def test_look_ahead_is_the_next_step(config, decay):
    model = ServerModel(SPEC, params(), config, decay)
    for round_ in range(1, 9):
        model.apply(delta(round_))
    block = delta(9)["items"]
    rows = block.rows.numpy()
    before = model.snapshot()["items"]
    ahead = model.look_ahead("items", rows, block.values.numpy())
    idle = model.look_ahead("items", np.arange(20), None)
    assert torch.equal(model.snapshot()["items"], before)
    model.apply(delta(9))
    moved = (model.snapshot()["items"] - before).numpy()
    untouched = np.setdiff1d(np.arange(20), rows)
    np.testing.assert_allclose(ahead, moved[rows], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(idle[untouched], moved[untouched], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("config", [ADAM, SGD])
def test_a_saved_model_goes_on_bit_for_bit(config):
    model = ServerModel(SPEC, params(), config, {"items": 0.1, "head": 0.2})
    for round_ in range(1, 13):
        model.apply(delta(round_))
    blank = {name: torch.zeros_like(p) for name, p in params().items()}
    copy = ServerModel(SPEC, blank, config, {"items": 0.1, "head": 0.2})
    copy.load(model.state())
    for round_ in range(13, 25):
        model.apply(delta(round_))
        copy.apply(delta(round_))
    assert copy.clock == model.clock == 24
    for name, value in model.snapshot().items():
        assert torch.equal(value, copy.snapshot()[name])


def test_a_snapshot_is_a_copy():
    model = ServerModel(SPEC, params(), SGD)
    shot = model.snapshot()
    model.apply(delta(1))
    assert all(torch.equal(shot[name], value) for name, value in params().items())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"lr": -1.0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"betas": (1.0, 0.999)}, "betas"),
        ({"betas": (0.9, -0.1)}, "betas"),
        ({"eps": 0.0}, "eps"),
    ],
)
def test_ranges_are_checked(options, name):
    with pytest.raises(ConfigError, match=f"server.{name}"):
        ServerConfig(**options)
