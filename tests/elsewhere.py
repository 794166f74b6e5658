"""A second device that is really the CPU, to find out without a GPU what would fail on one.

Tensors ``elsewhere`` compute on the CPU, but mix with tensors on the CPU no better than a GPU's do: an operation on
both raises, and so does numpy. As on a GPU, CPU tensors of no dimension may take part in any operation, and CPU tensors
of integers and booleans may index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "elsewhere"
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


@cache
def supported() -> bool:
    """Register the device; False if this torch cannot have one in Python."""
    try:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend as register
    except ImportError:
        return False
    register(NAME)
    return True


class Elsewhere(torch.Tensor):
    """A tensor on the second device; ``here`` holds its values."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.size(), strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype,
            device=torch.device(NAME, 0),
        )  # fmt: skip
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _is_elsewhere(device: object) -> bool:
    return device is not None and torch.device(device).type == NAME  # type: ignore[call-overload]


def _refuse_mixtures(name: str, tensors: list[torch.Tensor]) -> None:
    for tensor in tensors:
        index = name in INDEXING and tensor.dtype in (torch.int64, torch.bool)
        if not isinstance(tensor, Elsewhere) and tensor.dim() and not index:
            raise RuntimeError(f"{name} of tensors on the CPU and on the device {NAME!r}")


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation of ATen on the CPU; its results are where it would have put them."""
    name = func._schema.name.split("::")[1]
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    asked = kwargs.get("device")
    away = _is_elsewhere(asked) if asked is not None else any(isinstance(x, Elsewhere) for x in tensors)
    if any(isinstance(x, Elsewhere) for x in tensors) and name not in ("_to_copy", "copy_"):
        _refuse_mixtures(name, tensors)

    def bare(x: Any) -> Any:
        return x.here if isinstance(x, Elsewhere) else x

    def wrapped(x: Any) -> Any:
        return Elsewhere(x) if isinstance(x, torch.Tensor) and not isinstance(x, Elsewhere) else x

    known = {**kwargs, "device": torch.device("cpu")} if asked is not None else kwargs
    out = func(*tree_map(bare, args), **tree_map(bare, known))
    if not func._schema.returns:
        return None
    if func._schema.is_mutable:
        changed = [
            value
            for i, argument in enumerate(func._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
            for value in [args[i] if i < len(args) else kwargs.get(argument.name)]
        ]
        return changed[0] if len(changed) == 1 else tuple(changed)
    return tree_map(wrapped, out) if away else out


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """Calls that do not reach ATen as they would for a real device."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and _is_elsewhere(kwargs.get("device")):
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if func is torch.Tensor.__setitem__ and isinstance(args[0], Elsewhere):
            target, index, value = args
            if isinstance(index, tuple):
                index = tuple(torch.tensor(i) if isinstance(i, list) else i for i in index)
            if isinstance(value, float):
                value = torch.full((), value, dtype=target.dtype, device=target.device)
            args = (target, index, value)
        if func is torch.Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].here.tolist()
        return func(*args, **kwargs)


@contextmanager
def elsewhere() -> Iterator[None]:
    """Let tensors be made and used on the device ``"elsewhere"``."""
    with _Operations(), _Calls():
        yield
