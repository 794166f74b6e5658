"""What a server remembers across restarts, in one file that is written whole or not at all."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Strategy

from fedsiege.errors import RunError
from fedsiege.federation import checkpoint
from fedsiege.flower.layout import to_record, to_values
from fedsiege.learners.base import State

VERSION = 1
LEFT = object()
"""Stands in a snapshot for what is no state and stays as it is."""


def _pack(values: Mapping[str, np.ndarray] | list[np.ndarray]) -> State:
    pairs = list(values.items()) if isinstance(values, Mapping) else [(str(i), v) for i, v in enumerate(values)]
    return {
        "names": [name for name, _ in pairs],
        "dtypes": [str(v.dtype) for _, v in pairs],
        "shapes": [list(v.shape) for _, v in pairs],
        "bytes": [torch.from_numpy(np.frombuffer(v.tobytes(), np.uint8).copy()) for _, v in pairs],
    }


def _unpack(state: State) -> dict[str, np.ndarray]:
    parts = zip(state["names"], state["dtypes"], state["shapes"], state["bytes"], strict=True)
    return {
        name: np.frombuffer(raw.numpy().tobytes(), dtype).reshape(shape).copy() for name, dtype, shape, raw in parts
    }


def _is_array(value: object) -> bool:
    # Arithmetic on arrays without dimensions gives NumPy scalars.
    return isinstance(value, np.ndarray | np.generic)


def inner_state(inner: Strategy) -> State:
    """Return the arrays that a strategy keeps between rounds, such as FedAdam's moments, by attribute."""
    found: State = {}
    for key, held in inner.__dict__.items():
        if isinstance(held, ArrayRecord):
            found[key] = {"kind": "record", **_pack(to_values(held))}
        elif isinstance(held, dict) and held and all(map(_is_array, held.values())):
            found[key] = {"kind": "dict", **_pack(held)}
        elif isinstance(held, list) and held and all(map(_is_array, held)):
            found[key] = {"kind": "list", **_pack(held)}
    return found


def load_inner(inner: Strategy, state: State) -> None:
    """Give a strategy back the arrays that `inner_state` has taken from its like."""
    for key, packed in state.items():
        values = _unpack(packed)
        kept: Any = values
        if packed["kind"] == "record":
            kept = to_record(values)
        elif packed["kind"] == "list":
            kept = list(values.values())
        inner.__dict__[key] = kept


def _is_state(value: object) -> bool:
    """Tell whether an attribute is a number, a word, nothing, or arrays: what an optimizer keeps, and can be copied."""
    if isinstance(value, dict | list):
        return all(map(_is_array, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, bool | int | float | str | np.generic | np.ndarray | ArrayRecord)


def snapshot(inner: Strategy) -> dict[str, Any]:
    """Return copies of the attributes of a strategy that are state; locks, writers and files are only named."""
    return {key: copy.deepcopy(held) if _is_state(held) else LEFT for key, held in inner.__dict__.items()}


def put_back(inner: Strategy, before: Mapping[str, Any]) -> None:
    """Make the state of a strategy what it was at a `snapshot`, and drop state that it has made since.

    An attribute that is no state, then or now, stays: a writer, a lock, a list of the user's own notes.
    """
    now = dict(inner.__dict__)
    for key in [key for key, held in now.items() if key not in before and _is_state(held)]:
        del inner.__dict__[key]
    for key, held in before.items():
        if held is not LEFT and _is_state(now.get(key)):
            inner.__dict__[key] = copy.deepcopy(held)


class Memory:
    """The saved state of a strategy, if it has a folder.

    Parameters
    ----------
    path : Path, optional
        The file; None: nothing is saved.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def save(self, state: State) -> None:
        """Write `state`; a crash leaves the file of the round before."""
        if self.path is not None:
            checkpoint.save(self.path, {"version": VERSION, **state})

    def load(self, owner: str) -> State | None:
        """Return the saved state, None if there is none.

        Raises
        ------
        RunError
            If the file is damaged, of another version, or was saved by another defense than `owner` describes.
        """
        if self.path is None or not self.path.exists():
            return None
        state = checkpoint.load(self.path)
        if state.get("version") != VERSION:
            raise RunError(f"{self.path} is of another version of FedSiege; give the strategy a new folder")
        if state["owner"] != owner:
            raise RunError(
                f"{self.path} was saved by {state['owner']}, and this is {owner}; take the same or a new folder"
            )
        return state
