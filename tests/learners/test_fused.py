"""The fused layer against torch's three, in float64, and when it stands in for them."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedsiege.learners.fused import NormPool, fused
from fedsiege.learners.local_sgd import Shard, one_by_one
from fedsiege.learners.networks import conv_net


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
        (nn.GroupNorm(4, 4).double(), nn.ReLU(), nn.AvgPool2d(2)),
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


def test_a_second_derivative_is_refused() -> None:
    layer = NormPool(nn.GroupNorm(1, 1))
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
