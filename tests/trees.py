"""Trees of state (dict, list, tensors, arrays, numbers, words): to disk and back, and fingerprints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from fedsiege.updates import DenseBlock, RowBlock, UpdateBatch


def write(tree: Any, folder: Path) -> None:
    """Write `tree` to `folder` as JSON with its tensors and arrays beside it."""
    tensors: dict[str, torch.Tensor] = {}

    def pack(node: Any) -> Any:
        if isinstance(node, dict):
            # Keys may be numbers, which JSON would turn into words.
            return {"map": [[key, pack(value)] for key, value in node.items()]}
        if isinstance(node, list | tuple):
            return {"list": [pack(value) for value in node]}
        if isinstance(node, torch.Tensor | np.ndarray):
            name = f"t{len(tensors)}"
            tensors[name] = torch.as_tensor(np.array(node)).clone().contiguous()
            return {"tensor": name, "numpy": isinstance(node, np.ndarray)}
        if isinstance(node, np.generic):
            node = node.item()
        assert node is None or isinstance(node, bool | int | float | str), f"{type(node)} is not state"
        return {"leaf": node}

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tree.json").write_text(json.dumps(pack(tree)))
    save_file({"": torch.zeros(1), **tensors}, folder / "tensors.safetensors")


def read(folder: Path) -> Any:
    """Read what `write` has written."""
    tensors = load_file(folder / "tensors.safetensors")

    def unpack(node: dict[str, Any]) -> Any:
        if "map" in node:
            return {key: unpack(value) for key, value in node["map"]}
        if "list" in node:
            return [unpack(value) for value in node["list"]]
        if "tensor" in node:
            tensor = tensors[node["tensor"]]
            return tensor.numpy() if node["numpy"] else tensor
        return node["leaf"]

    return unpack(json.loads((folder / "tree.json").read_text()))


def fingerprint(thing: Any) -> str:
    """Return a hash of every bit of a tree, an `UpdateBatch`, a block or a dataclass of such."""
    digest = hashlib.blake2b()

    def feed(node: Any) -> None:
        if isinstance(node, torch.Tensor):
            node = node.detach().numpy()
        if isinstance(node, np.ndarray):
            digest.update(f"{node.dtype}{node.shape}".encode() + np.ascontiguousarray(node).tobytes())
        elif isinstance(node, dict):
            for key, value in node.items():
                digest.update(repr(key).encode())
                feed(value)
        elif isinstance(node, list | tuple):
            digest.update(f"[{len(node)}".encode())
            for value in node:
                feed(value)
        elif isinstance(node, RowBlock):
            feed([node.indptr, node.rows, node.values, node.num_rows])
        elif isinstance(node, DenseBlock):
            feed([node.values])
        elif isinstance(node, UpdateBatch):
            feed([node.clients, node.counts, dict(node.blocks)])
        elif hasattr(node, "__dataclass_fields__"):
            feed({name: getattr(node, name) for name in node.__dataclass_fields__})
        else:
            digest.update(repr(node).encode())

    feed(thing)
    return digest.hexdigest()
