"""The fused layers against torch's own, in float64, and when they stand in for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedsiege.defenses.reconstruction import Optimisation, Problem, reconstruct
from fedsiege.learners.fused import GreyConv, NormPool, fused
from fedsiege.learners.local_sgd import Shard, one_by_one
from fedsiege.learners.networks import conv_net
from fedsiege.learners.virtual import ModuleTask
from fedsiege.updates import BlockSpec, ModelSpec


def block(channels: int, rng: torch.Generator) -> nn.Sequential:
    net = nn.Sequential(nn.GroupNorm(channels, channels), nn.ReLU(), nn.AvgPool2d(2))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng))
    return net


def gradients(net: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    """Return the output and the gradients of a weighted sum of it."""
    x = x.clone().requires_grad_()
    out = net(x)
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), [x, *net.parameters()])]


@settings(deadline=None)
@given(
    n=st.integers(1, 3), channels=st.integers(1, 4), height=st.integers(2, 9), width=st.integers(2, 9),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_fused_layer_is_norm_relu_and_pooling(n: int, channels: int, height: int, width: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    net = block(channels, rng)
    x = torch.randn(n, channels, height, width, generator=rng) * 3 + 1
    weight = torch.randn(n, channels, height // 2, width // 2, generator=rng)
    ours = gradients(fused(net), x, weight)
    exact = gradients(net.double(), x.double(), weight.double())
    for mine, true in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine.double(), true, rtol=1e-4, atol=1e-4)


def test_equal_pixels_and_images_laid_out_by_channels() -> None:
    net = block(3, torch.Generator().manual_seed(1))
    flat = torch.full((2, 3, 4, 4), 0.7)
    # Rounding of the mean is divided by the root of ε.
    torch.testing.assert_close(fused(net)(flat), net(flat), rtol=0, atol=1e-4)
    x = torch.randn(2, 3, 6, 4)
    torch.testing.assert_close(fused(net)(x.contiguous(memory_format=torch.channels_last)), net(x))


def test_a_pixel_that_is_not_finite_spoils_its_plane_only() -> None:
    net = block(2, torch.Generator().manual_seed(2))
    for bad in (float("nan"), float("inf")):
        x = torch.randn(2, 2, 4, 4)
        x[1, 0, 2, 3] = bad
        out = fused(net)(x)
        assert torch.isnan(out[1, 0]).all()
        good = torch.isfinite(out).flatten(2).all(2)
        assert good.tolist() == [[True, True], [False, True]]
        torch.testing.assert_close(out, net(x), equal_nan=True)


def test_whole_network_trains_alike_under_the_same_names() -> None:
    torch.manual_seed(0)
    net = conv_net((1, 11, 9), 4, width=6)
    quick = fused(net)
    assert quick is not net
    assert [(n, p.data_ptr()) for n, p in quick.named_parameters()] == [
        (n, p.data_ptr()) for n, p in net.named_parameters()
    ]
    params = {name: p.detach().clone() for name, p in net.named_parameters()}
    rng = np.random.default_rng(0)
    x, y = torch.randn(20, 1, 11, 9), torch.from_numpy(rng.integers(0, 4, 20))
    shards = [Shard(x, y, np.stack([rng.permutation(20) for _ in range(2)]))]
    slow, slow_loss = one_by_one(net, params, shards, 0.1, 8)
    fast, fast_loss = one_by_one(quick, params, shards, 0.1, 8)
    np.testing.assert_allclose(fast_loss, slow_loss, rtol=1e-5)
    for name, update in slow.items():
        torch.testing.assert_close(fast[name], update, rtol=1e-3, atol=1e-5)


def test_layers_keep_their_names() -> None:
    relu = nn.ReLU()
    layers = [nn.Conv2d(1, 4, 3), nn.GroupNorm(4, 4), relu, nn.AvgPool2d(2), relu, nn.Flatten(), nn.Linear(16, 3)]
    names = ["conv", "norm", "act", "pool", "again", "flat", "last"]
    torch.manual_seed(8)
    net = nn.Sequential(OrderedDict(zip(names, layers, strict=True)))
    quick = fused(net)
    assert quick is not net
    assert [(n, id(p)) for n, p in quick.named_parameters()] == [(n, id(p)) for n, p in net.named_parameters()]
    x = torch.randn(5, 1, 6, 6)
    torch.testing.assert_close(quick(x), net(x))
    params = {name: p.detach().clone() for name, p in net.named_parameters()}
    shards = [Shard(x, torch.arange(5) % 3, np.arange(5)[None])]
    slow, fast = (one_by_one(each, params, shards, 0.1, 2)[0] for each in (net, quick))
    for name, update in slow.items():
        torch.testing.assert_close(fast[name], update, rtol=1e-3, atol=1e-5)


def test_bits_do_not_depend_on_threads() -> None:
    rng = torch.Generator().manual_seed(3)
    net = fused(block(8, rng))
    x, weight = torch.randn(5, 8, 10, 10, generator=rng), torch.randn(5, 8, 5, 5, generator=rng)
    before = numba.get_num_threads()
    found = []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            found.append(gradients(net, x, weight))
    finally:
        numba.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.GroupNorm(2, 4), nn.ReLU(), nn.AvgPool2d(2)),
        (nn.GroupNorm(4, 4, affine=False), nn.ReLU(), nn.AvgPool2d(2)),
        (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2)),
        (nn.GroupNorm(4, 4), nn.GELU(), nn.AvgPool2d(2)),
        (nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(3)),
        (nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(2, stride=1)),
        (nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True)),
        (nn.GroupNorm(4, 4), nn.ReLU(), nn.MaxPool2d(2)),
    ],
)
def test_other_layers_are_left_alone(layers: tuple[nn.Module, ...]) -> None:
    net = nn.Sequential(*layers)
    assert fused(net) is net


def test_networks_that_are_no_plain_sequence_are_left_alone() -> None:
    class Own(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1

    net = Own(nn.GroupNorm(1, 1), nn.ReLU(), nn.AvgPool2d(2))
    assert fused(net) is net


@pytest.mark.parametrize(("height", "width"), [(6, 4), (5, 7), (2, 3)])
def test_first_and_second_derivatives_are_those_of_finite_differences(height: int, width: int) -> None:
    rng = torch.Generator().manual_seed(4)
    layer = NormPool(nn.GroupNorm(3, 3).double())

    def make(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    shapes = (2, 3, height, width), (3,), (3,)
    given = tuple(torch.randn(s, generator=rng, dtype=torch.float64, requires_grad=True) for s in shapes)
    assert torch.autograd.gradcheck(make, given)
    assert torch.autograd.gradgradcheck(make, given)


def test_a_third_derivative_is_refused() -> None:
    layer = NormPool(nn.GroupNorm(1, 1))
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.sum().backward()


@settings(deadline=None)
@given(
    n=st.integers(1, 3), size=st.tuples(st.integers(1, 3), st.integers(1, 3)), bias=st.booleans(),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)), seed=st.integers(0, 99),
)  # fmt: skip
def test_windows_times_weights_are_a_convolution(
    n: int, size: tuple[int, int], bias: bool, padding: tuple[int, int], seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    conv = nn.Conv2d(1, 5, size, padding=padding, bias=bias).double()
    x = torch.randn(n, 1, 6, 4, generator=rng, dtype=torch.float64)
    weight = torch.randn(conv(x).shape, generator=rng, dtype=torch.float64)
    for mine, true in zip(gradients(GreyConv(conv), x, weight), gradients(conv, x, weight), strict=True):
        torch.testing.assert_close(mine, true)


def test_other_convolutions_are_left_alone() -> None:
    rest = nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(2)
    for conv in (
        nn.Conv2d(2, 4, 3),
        nn.Conv2d(1, 4, 3, stride=2),
        nn.Conv2d(1, 4, 3, dilation=2),
        nn.Conv2d(1, 4, 3, padding="same"),
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"),
    ):
        quick = fused(nn.Sequential(conv, *rest))
        assert isinstance(quick, nn.Sequential)
        assert quick[0] is conv


def test_transforms_see_the_plain_layers() -> None:
    torch.manual_seed(5)
    net = conv_net((1, 9, 8), 3, width=4).double()
    x = torch.randn(2, 3, 1, 9, 8, dtype=torch.float64)
    params = {name: torch.stack([p, p + 0.1]).detach() for name, p in net.named_parameters()}

    def slopes(module: nn.Module) -> dict[str, torch.Tensor]:
        def loss(p: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(module, p, (images,)).square().sum()

        return torch.func.vmap(torch.func.grad(loss))(params, x)

    plain = slopes(net)
    for name, slope in slopes(fused(net)).items():
        torch.testing.assert_close(slope, plain[name])


def test_half_precision_goes_by_the_plain_layers() -> None:
    net = block(3, torch.Generator().manual_seed(7)).bfloat16()
    x = torch.randn(2, 3, 6, 4, dtype=torch.bfloat16)
    assert torch.equal(fused(net)(x), net(x))


def test_reconstruction_is_that_of_the_plain_network() -> None:
    torch.manual_seed(6)
    net = conv_net((1, 12, 10), 4, width=6)
    spec = ModelSpec(tuple(BlockSpec(name, tuple(p.shape)) for name, p in net.named_parameters()))
    task = ModuleTask(net, (1, 12, 10), 4, spec)
    params = {name: p.detach().clone() for name, p in net.named_parameters()}
    target = {name: 0.05 * torch.randn(p.shape) for name, p in params.items()}
    knowledge = {**task.knowledge(3, np.random.default_rng(6)), "rate": torch.tensor(0.3)}

    def plain(p: Mapping[str, torch.Tensor], known: Mapping[str, torch.Tensor]) -> torch.Tensor:
        output = torch.func.functional_call(net, dict(p), (known["inputs"],))
        return -(known["labels"].softmax(-1) * output.log_softmax(-1)).mean()

    how = Optimisation({"inputs": 50.0, "labels": 20.0, "rate": 1.0}, inner=3)
    for dtype in (torch.float64, torch.float32):
        problem = Problem(params, target, knowledge, 6)
        ours, true = (reconstruct(loss, problem, how, dtype).curve for loss in (task.loss, plain))
        assert true[-1] < 0.999 * true[0]
        np.testing.assert_allclose(ours, true, rtol=1e-9 if dtype is torch.float64 else 1e-4)
