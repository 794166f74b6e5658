"""How a Flower model's named arrays become FedSiege's blocks, and how an aggregate becomes arrays again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import numpy as np
import torch
from flwr.app import Array, ArrayRecord

from fedsiege.errors import ConfigError, RunError
from fedsiege.learners.base import State
from fedsiege.updates import BlockSpec, Delta, ModelSpec

Values = dict[str, np.ndarray]
"""A model as NumPy arrays by name, in a fixed order."""

FLOATS = ("float16", "float32", "float64")
OTHERS = "iub"
"""Kinds of arrays that travel but are not learnt: signed and unsigned integers, and bools."""


@dataclass(frozen=True)
class ArrayInfo:
    """One named array of the model.

    Parameters
    ----------
    name : str
        Its key in the `ArrayRecord`.
    shape : tuple of int
        Its shape; ``()`` for a scalar.
    dtype : str
        NumPy name of its dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def learnt(self) -> bool:
        """Whether uploads change it: floats are learnt, integers and bools keep the global value."""
        return self.dtype in FLOATS

    @cached_property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @cached_property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return self.size * np.dtype(self.dtype).itemsize

    @cached_property
    def header(self) -> bytes:
        """What NumPy writes before its values, in C order."""
        file = BytesIO()
        about = {"descr": np.dtype(self.dtype).str, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(file, about)
        return file.getvalue()


@dataclass(frozen=True)
class Layout:
    """Names, shapes and dtypes of a model's arrays, in the order of the global model.

    Parameters
    ----------
    arrays : tuple of ArrayInfo
        All arrays, buffers included.
    items : str, optional
        Name of the array that is a table of item embeddings ``(items, dim)``.
    """

    arrays: tuple[ArrayInfo, ...]
    items: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, np.ndarray], items: str | None = None) -> Layout:
        """Return the layout of a model.

        Raises
        ------
        ConfigError
            If an array is neither of float16, float32, float64 nor of integers or bools, if nothing is learnt, or
            if `items` is no two-dimensional float array of the model.
        """
        found = tuple(ArrayInfo(name, tuple(map(int, v.shape)), str(v.dtype)) for name, v in values.items())
        for info in found:
            if not info.learnt and np.dtype(info.dtype).kind not in OTHERS:
                raise ConfigError(
                    f"array {info.name!r} of the model is of dtype {info.dtype}; send float16, float32, float64, "
                    "integers or bools"
                )
        if not any(info.learnt and info.size for info in found):
            raise ConfigError("the model has no array of floats, so there is nothing that clients could learn")
        layout = cls(found, items)
        if items is not None:
            table = layout.by_name.get(items)
            if table is None or not table.learnt or len(table.shape) != 2:
                raise ConfigError(
                    f"items = {items!r} must name a float array of two dimensions; the model has "
                    + ", ".join(f"{i.name} {i.shape}" for i in found)
                )
        return layout

    @cached_property
    def by_name(self) -> dict[str, ArrayInfo]:
        """The arrays by name."""
        return {info.name: info for info in self.arrays}

    @cached_property
    def learnt(self) -> tuple[ArrayInfo, ...]:
        """The arrays that uploads change."""
        return tuple(info for info in self.arrays if info.learnt)

    @cached_property
    def spec(self) -> ModelSpec:
        """The learnt arrays as blocks, in order, under their own names."""
        return ModelSpec(
            tuple(BlockSpec(i.name, i.shape, "items" if i.name == self.items else "dense") for i in self.learnt)
        )

    def step(self, values: Mapping[str, np.ndarray], delta: Delta) -> Values:
        """Return ``values + delta``, each array in its own dtype; buffers stay as they are."""
        out: Values = {}
        for info in self.arrays:
            now = values[info.name]
            if not info.learnt:
                out[info.name] = now
                continue
            move = delta[info.name].dense()[0].double().numpy().reshape(info.shape)
            with np.errstate(over="ignore"):
                out[info.name] = np.asarray(now + move, dtype=info.dtype)
        return out

    def pack(self, values: Mapping[str, np.ndarray]) -> State:
        """Return `values` as a tree that can be written to disk, whatever their dtypes."""
        raw = [np.frombuffer(np.ascontiguousarray(values[i.name]).tobytes(), np.uint8) for i in self.arrays]
        return {"arrays": [torch.from_numpy(piece.copy()) for piece in raw], "layout": self.words}

    def unpack(self, state: State) -> Values:
        """Return what `pack` has packed; RunError if it was a model of another layout."""
        if state["layout"] != self.words:
            raise RunError("the saved state is of a model with other arrays; give it a folder of its own")
        pairs = zip(self.arrays, state["arrays"], strict=True)
        return {i.name: np.frombuffer(t.numpy().tobytes(), i.dtype).reshape(i.shape) for i, t in pairs}

    @property
    def words(self) -> list[str]:
        """One line for each array, by which two layouts can be told apart."""
        return [f"{i.name} {i.dtype} {list(i.shape)}" for i in self.arrays]


def to_values(record: ArrayRecord) -> Values:
    """Return a trusted record (the server's own model) as arrays."""
    return {name: array.numpy() for name, array in record.items()}


def to_record(values: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Return arrays as a record, in order."""
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in values.items()})
