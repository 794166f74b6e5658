"""Networks for a CPU: three memory-bound layers done as one, with the same parameters."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from fedsiege.kernels.norm_pool import norm_pool, norm_pool_back, norm_pool_twice

LAST = torch.channels_last


def _pixels(images: torch.Tensor) -> Any:
    """Return images laid out by channels as an array ``(n, h, w, c)`` of the same memory."""
    return images.detach().permute(0, 2, 3, 1).numpy()


def _laid(images: torch.Tensor) -> torch.Tensor:
    return images.detach().contiguous(memory_format=LAST)


def _plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    return F.avg_pool2d(F.group_norm(x, weight.numel(), weight, bias, eps).relu(), 2)


class _NormPool(torch.autograd.Function):
    """The kernel and its gradient, which can be differentiated once more."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
        n, c, h, w = x.shape
        mean, rstd = x.new_empty(2, n, c)
        out = x.new_empty((n, c, h // 2, w // 2)).to(memory_format=LAST)
        scale, shift = weight.detach().numpy(), bias.detach().numpy()
        # An ε of another type would make the whole kernel compute in float64.
        norm_pool(_pixels(_laid(x)), scale, shift, scale.dtype.type(eps), mean.numpy(), rstd.numpy(), _pixels(out))
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        return out

    @staticmethod
    def backward(ctx: Any, dout: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        return (*_NormPoolBack.apply(x, weight, bias, mean, rstd, dout), None)


class _NormPoolBack(torch.autograd.Function):
    """The gradient of `_NormPool` and its own gradient (differentiable once)."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor,
        dout: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        dx, parts = torch.empty_like(x, memory_format=LAST), x.new_empty((2, *mean.shape))
        known = (t.detach().numpy() for t in (weight, bias, mean, rstd))
        norm_pool_back(_pixels(_laid(x)), *known, _pixels(_laid(dout)), _pixels(dx), *parts.numpy())
        ctx.save_for_backward(x, weight, bias, mean, rstd, dout)
        scale, shift = parts.sum(1)
        return dx, scale, shift

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias, mean, rstd, dout = ctx.saved_tensors
        dx, ddout = torch.empty_like(x, memory_format=LAST), torch.empty_like(dout, memory_format=LAST)
        part = torch.empty_like(mean)
        known = (t.detach().numpy() for t in (weight, bias, mean, rstd))
        given = (_pixels(_laid(dout)), _pixels(_laid(a)), b.contiguous().numpy(), c.contiguous().numpy())
        norm_pool_twice(_pixels(_laid(x)), *known, *given, _pixels(ddout), _pixels(dx), part.numpy())
        # The shift only says where ReLU lets through.
        return dx, part.sum(0), torch.zeros_like(bias), None, None, ddout


def _direct(*tensors: torch.Tensor) -> bool:
    """Return whether all are plain tensors of a CPU, and not inside a transform of ``torch.func``."""
    return all(t.device.type == "cpu" and torch.func.debug_unwrap(t) is t for t in tensors)


class NormPool(nn.Module):
    """Instance norm, ReLU and 2 × 2 average pooling of images, in one pass on a CPU.

    It can be differentiated twice. Elsewhere, in half precision and inside the transforms of ``torch.func``, it is the
    three layers.

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
        tensors = (x, self.weight, self.bias)
        alike = {t.dtype for t in tensors} in ({torch.float32}, {torch.float64})
        make = _NormPool.apply if alike and _direct(*tensors) else _plain
        return cast(torch.Tensor, make(*tensors, self.eps))


class GreyConv(nn.Module):
    """A convolution of images of one channel, on a CPU as a matrix product of all windows, laid out by channels.

    Parameters
    ----------
    conv : torch.nn.Conv2d
        The convolution whose parameters are used: of one input channel, by steps of one, with padding by zeros.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.padding = cast("tuple[int, int]", conv.padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(n, c, h, w)`` for ``(n, 1, h', w')``."""
        if not _direct(x, self.weight):
            return F.conv2d(x, self.weight, self.bias, padding=self.padding)
        (down, along), (rows, columns) = self.padding, self.weight.shape[2:]
        windows = F.pad(x[:, 0], (along, along, down, down)).unfold(1, rows, 1).unfold(2, columns, 1)
        return F.linear(windows.flatten(3), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def _is_grey(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.Conv2d
        and layer.in_channels == 1
        and layer.stride == layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and isinstance(layer.padding, tuple)
    )


def _pools_by_two(layer: nn.Module) -> bool:
    if type(layer) is not nn.AvgPool2d or layer.ceil_mode or layer.divisor_override is not None:
        return False
    return (layer.kernel_size, layer.stride, layer.padding) == (2, 2, 0)


def fused(module: nn.Module) -> nn.Module:
    """Return a network that computes what `module` does, up to rounding, from the same parameters under the same names.

    In a plain sequence of layers, instance norm (GroupNorm with one group a channel), ReLU and 2 × 2 average pooling
    become one layer (`NormPool`), and where there are such, convolutions of one channel become a product (`GreyConv`).
    Everything else is `module` itself. Two derivatives are known, and transforms of ``torch.func`` see plain layers.
    """
    if type(module) is not nn.Sequential:
        return module
    # Not `named_children`, which leaves out a layer that stands in two places.
    names, layers = list(module._modules), list(module)
    found = [
        type(norm) is nn.GroupNorm
        and norm.num_groups == norm.num_channels
        and norm.affine
        and type(act) is nn.ReLU
        and _pools_by_two(pool)
        for norm, act, pool in zip(layers, layers[1:], layers[2:])
    ]
    if not any(found):
        return module
    for k in (k for k, here in enumerate(found) if here):
        layers[k : k + 3] = [NormPool(cast(nn.GroupNorm, layers[k])), nn.Identity(), nn.Identity()]
    quick = (GreyConv(cast(nn.Conv2d, one)) if _is_grey(one) else one for one in layers)
    return nn.Sequential(OrderedDict(zip(names, quick, strict=True)))
