"""Networks for training on a CPU: three memory-bound layers done as one, with the same parameters."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import nn

from fedsiege.kernels.norm_pool import norm_pool, norm_pool_back


class _NormPool(torch.autograd.Function):
    """The kernel and its gradient (once differentiable)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
        x = x.contiguous()
        n, c, h, w = x.shape
        mean, rstd = x.new_empty(n * c), x.new_empty(n * c)
        out = x.new_empty(n, c, h // 2, w // 2)
        planes = (x.detach().view(n * c, h, w), weight.detach(), bias.detach())
        made = (mean, rstd, out.view(n * c, h // 2, w // 2))
        # A float64 would make the whole kernel compute in float64.
        norm_pool(*(t.numpy() for t in planes), np.float32(eps), *(t.numpy() for t in made))
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dout: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        n, c, h, w = x.shape
        dx, parts = torch.empty_like(x), x.new_empty(2, n * c)
        known = (x.view(n * c, h, w), weight, bias, mean, rstd, dout.contiguous().view(n * c, h // 2, w // 2))
        norm_pool_back(*(t.detach().numpy() for t in (*known, dx.view(n * c, h, w), *parts)))
        scale, shift = parts.view(2, n, c).sum(1)
        return dx, scale, shift, None


class NormPool(nn.Module):
    """Instance norm, ReLU and 2 × 2 average pooling of float32 images on a CPU.

    Parameters
    ----------
    norm : torch.nn.GroupNorm
        The norm whose parameters are used, of one group a channel.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(n, c, h // 2, w // 2)`` for ``(n, c, h, w)``."""
        return cast(torch.Tensor, _NormPool.apply(x, self.weight, self.bias, self.eps))


def _pools_by_two(layer: nn.Module) -> bool:
    if type(layer) is not nn.AvgPool2d or layer.ceil_mode or layer.divisor_override is not None:
        return False
    return (layer.kernel_size, layer.stride, layer.padding) == (2, 2, 0)


def fused(module: nn.Module) -> nn.Module:
    """Return a network that computes what `module` does, up to rounding, from the same parameters under the same names.

    In a plain sequence of layers, instance norm (GroupNorm with one group a channel), ReLU and 2 × 2 average pooling
    are one layer (`NormPool`). Everything else is `module` itself. The result is for float32 on a CPU and knows first
    derivatives only: neither `torch.func` transforms nor a gradient of a gradient.
    """
    if type(module) is not nn.Sequential:
        return module
    layers = list(module)
    found = [
        type(norm) is nn.GroupNorm
        and norm.num_groups == norm.num_channels
        and norm.affine
        and norm.weight.dtype == torch.float32
        and type(act) is nn.ReLU
        and _pools_by_two(pool)
        for norm, act, pool in zip(layers, layers[1:], layers[2:])
    ]
    if not any(found):
        return module
    for k in (k for k, here in enumerate(found) if here):
        layers[k : k + 3] = [NormPool(cast(nn.GroupNorm, layers[k])), nn.Identity(), nn.Identity()]
    return nn.Sequential(*layers)
