"""State trees on disk: one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedsiege.errors import RunError
from fedsiege.files import write_atomic
from fedsiege.learners.base import State

FORMAT = "fedsiege-state-1"
TREE = "$tree"
"""Name of the tensor that holds the tree where it is large; names of others are empty or begin with a slash."""
LARGE = 2**24
"""Characters from which the tree is a tensor of its own: a header may have 100 MB, and quoted it can double."""


def _flatten(node: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(node, torch.Tensor):
        tensors[path] = node.detach().cpu().contiguous()
        return {"$tensor": path}
    if isinstance(node, np.ndarray):
        tensors[path] = torch.from_numpy(np.ascontiguousarray(node))
        return {"$array": path}
    if isinstance(node, dict):
        return {"$dict": [[k, _flatten(v, f"{path}/{k}", tensors)] for k, v in node.items()]}
    if isinstance(node, list | tuple):
        kind = "$list" if isinstance(node, list) else "$tuple"
        return {kind: [_flatten(v, f"{path}/{i}", tensors) for i, v in enumerate(node)]}
    if isinstance(node, np.bool_ | np.number):
        # Its type decides that of what it is multiplied with.
        return {"$scalar": [node.dtype.str, node.item()]}
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"state at {path or '/'} holds a {type(node).__name__}, which cannot be written to disk")


def _rebuild(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    (kind, value), *_ = node.items()
    if kind == "$tensor":
        return tensors[value]
    if kind == "$array":
        return tensors[value].numpy()
    if kind == "$scalar":
        return np.dtype(value[0]).type(value[1])
    if kind == "$dict":
        return {k: _rebuild(v, tensors) for k, v in value}
    items = [_rebuild(v, tensors) for v in value]
    return items if kind == "$list" else tuple(items)


def save(path: Path, state: State) -> None:
    """Write a state tree to `path`, atomically: dicts, lists, tuples, tensors, arrays, scalars, strings and None.

    Raises
    ------
    RunError
        If it cannot be written, or has more arrays than the format has room for; what was there before is untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save as to_bytes

    tensors: dict[str, torch.Tensor] = {}
    tree = json.dumps(_flatten(state, "", tensors))
    if len(tree) > LARGE:
        tensors[TREE] = torch.frombuffer(bytearray(tree, "ascii"), dtype=torch.uint8)
        tree = ""
    try:
        # One entry only: the writer keeps several in no fixed order, and equal states must give equal bytes.
        data = to_bytes(tensors, {FORMAT: tree})
    except SafetensorError as error:
        raise RunError(
            f"cannot write {path}: {error}; the state has {len(tensors)} arrays, one for each client perhaps: choose a "
            "defense that keeps less of every client"
        ) from error
    write_atomic(path, data)


def load(path: Path) -> State:
    """Read a state tree; RunError if the file is damaged or of another format."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(f"checkpoint {path} cannot be read: {error}; delete it to start the run over") from error
    if FORMAT not in meta:
        raise RunError(f"checkpoint {path} is not of format {FORMAT}; delete it to start the run over")
    tree = tensors.pop(TREE).numpy().tobytes().decode() if TREE in tensors else meta[FORMAT]
    return _rebuild(json.loads(tree), tensors)
