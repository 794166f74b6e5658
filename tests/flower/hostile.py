"""What a client can send when it means ill, and when it is merely broken."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedsiege.flower.layout import Values, to_record


def npy(value: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.save(buffer, value, allow_pickle=False)
    return buffer.getvalue()


def lying(shape: tuple[int, ...], dtype: str, data: bytes, stype: str = "numpy.ndarray") -> Array:
    """An array that claims one thing and carries another."""
    return Array(dtype, shape, stype, data)


def bomb(shape: str) -> bytes:
    """A NumPy file whose header promises an enormous array."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    padded = header + " " * (118 - len(header) - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


Content = dict[str, Any]
Spoil = Callable[[Values, ArrayRecord, MetricRecord], RecordDict]


def content(arrays: ArrayRecord, metrics: MetricRecord, **more: Any) -> RecordDict:
    return RecordDict({"arrays": arrays, "metrics": metrics, **more})


def _with(values: Values, name: str, array: Array, metrics: MetricRecord) -> RecordDict:
    record = to_record(values)
    record[name] = array
    return content(record, metrics)


def _filled(values: Values, number: float) -> Values:
    with np.errstate(over="ignore"):
        return {k: np.full_like(v, number) if v.dtype.kind == "f" else v for k, v in values.items()}


def _count(value: Any) -> Spoil:
    return lambda v, a, m: content(a, MetricRecord({"num-examples": value, "loss": 0.5}))


def _only(values: Values, keep: int) -> ArrayRecord:
    return to_record(dict(list(values.items())[:keep]))


MALFORMED: dict[str, Spoil] = {
    "no arrays": lambda v, a, m: RecordDict({"metrics": m}),
    "no metrics": lambda v, a, m: RecordDict({"arrays": a}),
    "nothing": lambda v, a, m: RecordDict({}),
    "two array records": lambda v, a, m: content(a, m, more=to_record(v)),
    "two metric records": lambda v, a, m: content(a, m, more=MetricRecord({"num-examples": 1})),
    "arrays of settings": lambda v, a, m: RecordDict({"arrays": ConfigRecord({"w": 1}), "metrics": m}),
    "empty record": lambda v, a, m: content(ArrayRecord(), m),
    "missing array": lambda v, a, m: content(_only(v, 1), m),
    "extra array": lambda v, a, m: content(to_record({**v, "backdoor": np.zeros(3, np.float32)}), m),
    "renamed arrays": lambda v, a, m: content(to_record({f"{k}x": x for k, x in v.items()}), m),
    "other shape": lambda v, a, m: content(to_record({k: x.reshape(-1)[:1] for k, x in v.items()}), m),
    "transposed": lambda v, a, m: content(to_record({k: x.T if x.ndim > 1 else x for k, x in v.items()}), m),
    "one dimension more": lambda v, a, m: content(to_record({k: x[None] for k, x in v.items()}), m),
    "other dtype": lambda v, a, m: content(to_record({k: x.astype(np.float64) for k, x in v.items()}), m),
    "integers": lambda v, a, m: content(to_record({k: x.astype(np.int32) for k, x in v.items()}), m),
    "complex": lambda v, a, m: content(to_record({k: x.astype(np.complex64) for k, x in v.items()}), m),
    "big endian": lambda v, a, m: _with(
        v, "items", lying(v["items"].shape, "float32", npy(v["items"].astype(">f4"))), m
    ),
    "empty arrays": lambda v, a, m: content(to_record({k: np.empty(0, x.dtype) for k, x in v.items()}), m),
    "no bytes": lambda v, a, m: _with(v, "items", lying(v["items"].shape, "float32", b""), m),
    "noise": lambda v, a, m: _with(
        v, "items", lying(v["items"].shape, "float32", b"\x93NUMPY" + bytes(range(250)) * 4), m
    ),
    "claims one shape, carries another": lambda v, a, m: _with(
        v, "items", lying(v["items"].shape, "float32", npy(np.zeros((v["items"].size + 4,), np.float32))), m
    ),
    "claims floats, carries doubles": lambda v, a, m: _with(
        v, "items", lying(v["items"].shape, "float32", npy(v["items"].astype(np.float64))), m
    ),
    "too few bytes": lambda v, a, m: _with(v, "items", lying(v["items"].shape, "float32", npy(v["items"])[:-3]), m),
    "too many bytes": lambda v, a, m: _with(
        v, "items", lying(v["items"].shape, "float32", npy(v["items"]) + b"0" * 64), m
    ),
    "far too many bytes": lambda v, a, m: _with(
        v, "items", lying(v["items"].shape, "float32", npy(np.zeros(10**6))), m
    ),
    "a bomb": lambda v, a, m: _with(
        v, "items", lying(v["items"].shape, "float32", bomb("(9999999999999,)") + b"\0" * v["items"].nbytes), m
    ),
    "a bomb of the right claim": lambda v, a, m: _with(
        v, "items", lying((10**12,), "float32", bomb("(1000000000000,)")), m
    ),
    "a nested header": lambda v, a, m: _with(
        v, "items", lying(v["items"].shape, "float32", bomb("(" * 60 + ")" * 6) + b"\0" * v["items"].nbytes), m
    ),
    "objects": lambda v, a, m: _with(v, "items", lying(v["items"].shape, "object", npy(v["items"])), m),
    "pickle": lambda v, a, m: _with(v, "items", lying(v["items"].shape, "float32", npy(v["items"]), "pickle"), m),
    "count missing": lambda v, a, m: content(a, MetricRecord({"loss": 1.0})),
    "count negative": _count(-5),
    "count zero": _count(0),
    "count nan": _count(float("nan")),
    "count infinite": _count(float("inf")),
    "count a list": _count([3, 4]),
    "count of many digits": _count(10**400),
    "many metrics": lambda v, a, m: content(a, MetricRecord({"num-examples": 5, **{f"m{i}": i for i in range(999)}})),
}
"""Uploads that have to end as malformed."""

BAD_VALUES: dict[str, Spoil] = {
    "nan": lambda v, a, m: content(to_record(_filled(v, np.nan)), m),
    "one nan": lambda v, a, m: content(to_record({**v, "items": _one(v["items"], np.nan)}), m),
    "infinite": lambda v, a, m: content(to_record(_filled(v, -np.inf)), m),
    "huge": lambda v, a, m: content(to_record(_filled(v, 3e38)), m),
    "as huge as is allowed": lambda v, a, m: content(to_record(_filled(v, 1e16)), m),
}
"""Well-formed uploads that no rule can use: rejected, each with a reason, before the rule."""

STRANGE: dict[str, Spoil] = {
    "large": lambda v, a, m: content(to_record(_filled(v, 1e10)), m),
    "denormal": lambda v, a, m: content(to_record({k: _moved(x, 1e-44) for k, x in v.items()}), m),
    "tiny": lambda v, a, m: content(to_record({k: _moved(x, 1e-30) for k, x in v.items()}), m),
    "count huge": _count(10**9),
    "count tiny": _count(1e-300),
    "count of 300 digits": _count(10**300),
    "metrics that are no numbers": lambda v, a, m: content(
        a, MetricRecord({"num-examples": 5, "loss": float("nan"), "acc": float("inf"), "x": [1.0] * 400})
    ),
    "other metrics": lambda v, a, m: content(a, MetricRecord({"num-examples": 5, "loss": [1.0, 2.0]})),
    "fortran order": lambda v, a, m: content(to_record({k: np.asfortranarray(x) for k, x in v.items()}), m),
    "extra settings": lambda v, a, m: content(a, m, more=ConfigRecord({"x": 1})),
}
"""Well-formed uploads that a rule has to cope with."""

EVERY = {**MALFORMED, **BAD_VALUES, **STRANGE}


def _one(value: np.ndarray, number: float) -> np.ndarray:
    out = value.copy()
    out.reshape(-1)[0] = number
    return out


def _moved(value: np.ndarray, by: float) -> np.ndarray:
    """`value` moved by so little: where it is zero the difference is denormal."""
    return (value + np.asarray(by, value.dtype)).astype(value.dtype) if value.dtype.kind == "f" else value


def spoil(reply: Message, how: Spoil, values: Values) -> Message:
    """Return `reply` with hostile content, made of the honest `values`."""
    reply.content = how(values, to_record(values), MetricRecord({"num-examples": 5, "loss": 0.5}))
    return reply
