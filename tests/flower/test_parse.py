"""Arrays as bytes: the header that NumPy writes is known by heart, and any other that means the same is read."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from flwr.app import Array

from fedsiege.errors import UploadError
from fedsiege.flower.layout import ArrayInfo
from fedsiege.flower.parse import digest, read_array
from tests.flower import bench
from tests.flower.hostile import npy

RNG = np.random.default_rng(0)
ARRAYS = [
    RNG.normal(size=(3, 5)).astype(np.float32),
    RNG.normal(size=(2, 3, 4)),
    RNG.normal(size=7).astype(np.float16),
    np.array(1.5, np.float32),
    np.empty((0, 3), np.float32),
    np.array(7),
    np.array([True, False]),
    RNG.integers(0, 9, (2, 2)).astype(np.uint8),
]


def info(value: np.ndarray) -> ArrayInfo:
    return ArrayInfo("w", value.shape, str(value.dtype))


def read(value: np.ndarray, data: bytes) -> np.ndarray:
    return read_array(Array(str(value.dtype), value.shape, "numpy.ndarray", data), info(value))


def other_headers(value: np.ndarray) -> list[bytes]:
    """The same array in NumPy's newer version of the format, and with a header of an odd length."""
    newer = BytesIO()
    np.lib.format.write_array(newer, value, version=(2, 0))
    text = f"{{'descr': '{value.dtype.str}', 'fortran_order': False, 'shape': {value.shape}, }}\n".encode()
    odd = text if len(text) % 2 else b" " + text
    return [newer.getvalue(), b"\x93NUMPY\x01\x00" + len(odd).to_bytes(2, "little") + odd + value.tobytes()]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda v: f"{v.dtype}{v.shape}")
def test_whatever_the_header_the_values_and_their_hash_are_the_same(value: np.ndarray) -> None:
    data = npy(value)
    assert data == info(value).header + value.tobytes()
    for form in [data, npy(value.copy(order="F")), *other_headers(value)]:
        got = read(value, form)
        assert got.dtype == value.dtype
        assert got.shape == value.shape
        assert got.tobytes() == value.tobytes()
        assert digest({"w": got}) == digest({"w": value})
        assert not got.flags.writeable


@pytest.mark.parametrize("form", [lambda d: d[:-1], lambda d: d + b"\0", lambda d: b"\0" + d[1:]])
def test_a_good_header_alone_is_not_enough(form: Callable[[bytes], bytes]) -> None:
    with pytest.raises(UploadError):
        read(ARRAYS[0], form(npy(ARRAYS[0])))


def test_models_differ_in_their_hash_by_any_value_and_by_order() -> None:
    values = {k: v for k, v in bench.model().items() if v.dtype.kind == "f"}
    seen = {digest(values), digest(dict(reversed(values.items())))}
    for name, value in values.items():
        for place in range(value.size):
            other = value.copy()
            other.reshape(-1)[place] = np.nextafter(other.reshape(-1)[place], np.inf, dtype=value.dtype)
            seen.add(digest({**values, name: other}))
    assert len(seen) == 2 + sum(value.size for value in values.values())
