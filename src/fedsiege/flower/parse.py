"""One reply taken apart without trust: whatever is wrong with it is said in words, and nothing large is made."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

from fedsiege.errors import UploadError
from fedsiege.flower.layout import ArrayInfo, Layout, Values
from fedsiege.kernels import checksum

NUMPY = "numpy.ndarray"
"""How Flower calls arrays that travel in NumPy's file format."""

HEADER = 4096
"""Bytes that a NumPy file may need besides its values."""
HEADER_TEXT = 2048
"""Characters of the header's text, which Python's parser reads."""
METRICS = 256
"""Most metrics of one reply."""
SHOWN = 60
"""Characters shown of a name that a client has chosen."""


@dataclass(frozen=True)
class Upload:
    """A well-formed upload. Values may still be NaN, infinite or huge.

    Parameters
    ----------
    values : mapping of str to numpy.ndarray
        The learnt arrays, read-only views of what was received.
    count : float
        Declared sample count, positive and finite.
    metrics : mapping
        The client's other metrics: finite numbers, or lists of them.
    digest : str
        Hash of all learnt arrays.
    """

    values: Values = field(repr=False)
    count: float
    metrics: Mapping[str, float | list[float]]
    digest: str


def shown(text: object) -> str:
    """Return a client's word, quoted and cut short, for a log."""
    words = repr(text)
    return words if len(words) <= SHOWN else words[: SHOWN - 1] + "…"


def read_array(array: Array, info: ArrayInfo) -> np.ndarray:
    """Return the values of one received array as a read-only view.

    Raises
    ------
    UploadError
        If name, shape, dtype and the bytes themselves do not all say the same as the model's own array.
    """
    name = info.name
    if array.dtype != info.dtype:
        raise UploadError(f"array {name!r} is of dtype {shown(array.dtype)}, the model's is {info.dtype}")
    if tuple(array.shape) != info.shape:
        raise UploadError(f"array {name!r} has shape {shown(tuple(array.shape))}, the model's has {info.shape}")
    if array.stype != NUMPY:
        raise UploadError(f"array {name!r} travels as {shown(array.stype)} and not as {NUMPY}")
    if not isinstance(array.data, bytes):
        raise UploadError(f"array {name!r} carries no bytes")
    size = len(array.data)
    if not info.nbytes <= size <= info.nbytes + HEADER:
        raise UploadError(f"array {name!r} carries {size} bytes, its values need {info.nbytes}")
    if size == len(info.header) + info.nbytes and array.data.startswith(info.header):
        return np.frombuffer(array.data, info.dtype, info.size, len(info.header)).reshape(info.shape)
    # Another header is checked before anything is made of it: it may promise any size.
    try:
        file = BytesIO(array.data[:HEADER])
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file, max_header_size=HEADER_TEXT)
    except Exception as error:
        raise UploadError(f"array {name!r} does not begin as a NumPy file") from error
    if dtype != np.dtype(info.dtype) or shape != info.shape:
        raise UploadError(
            f"array {name!r} says {info.dtype} {info.shape} and carries {shown(dtype.name)} {shown(shape)}"
        )
    start = file.tell()
    if size - start != info.nbytes:
        raise UploadError(f"array {name!r} carries {size - start} bytes of values, its shape needs {info.nbytes}")
    flat = np.frombuffer(array.data, dtype, info.size, start)
    return flat.reshape(info.shape[::-1]).T if fortran else flat.reshape(info.shape)


def read_arrays(record: ArrayRecord, layout: Layout) -> Values:
    """Return the learnt arrays of a record that has exactly the model's arrays; UploadError otherwise."""
    known = layout.by_name
    extra = [name for name in record if name not in known]
    missing = [name for name in known if name not in record]
    if extra:
        raise UploadError(f"array {shown(extra[0])} is none of the model's ({len(extra)} extra)")
    if missing:
        raise UploadError(f"array {missing[0]!r} is missing ({len(missing)} of {len(known)})")
    # Buffers are not learnt, but a reply that is wrong in them is wrong.
    read = {info.name: read_array(record[info.name], info) for info in layout.arrays}
    return {info.name: read[info.name] for info in layout.learnt}


def only(content: RecordDict, kind: type, word: str) -> Any:
    """Return the one record of a kind; UploadError if there is none or several."""
    found = [record for record in content.values() if isinstance(record, kind)]
    if len(found) != 1:
        raise UploadError(f"it has {len(found)} {word}s where one is expected")
    return found[0]


def read_count(metrics: Mapping[str, Any], key: str) -> float:
    """Return the declared sample count; UploadError unless it is a positive finite number."""
    if key not in metrics:
        raise UploadError(f"metric {key!r} is missing")
    value = metrics[key]
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise UploadError(f"{key!r} is {shown(value)}; it must be one number")
    try:
        count = float(value)
    except OverflowError:
        count = math.inf
    if not (math.isfinite(count) and count > 0):
        raise UploadError(f"{key!r} is {shown(value)}; it must be a positive finite number")
    return count


def read_metrics(metrics: Mapping[str, Any], key: str) -> dict[str, float | list[float]]:
    """Return the metrics besides `key` that are finite numbers or lists of them; others are left out."""
    if len(metrics) > METRICS:
        raise UploadError(f"it has {len(metrics)} metrics; {METRICS} are the most")
    found: dict[str, float | list[float]] = {}
    for name, value in metrics.items():
        many = value if isinstance(value, list) else [value]
        if name == key or len(many) > METRICS:
            continue
        try:
            plain = [float(x) for x in many]
        except (TypeError, ValueError, OverflowError):
            continue
        if all(math.isfinite(x) for x in plain):
            found[name] = plain if isinstance(value, list) else plain[0]
    return found


def digest(values: Values) -> str:
    """Return a hash of the learnt arrays, byte for byte.

    It is made of a quick checksum that could be forged. But an upload is compared with other uploads of the same
    client alone, which can look different at the change of one bit, whatever the hash, and would accuse nobody but
    itself by looking the same.
    """
    lanes = checksum.start()
    for value in values.values():
        checksum.add(lanes, value)
    return hashlib.blake2b(lanes.tobytes(), digest_size=16).hexdigest()


def read_upload(reply: Message, layout: Layout, key: str) -> Upload:
    """Return what a reply to a training message uploads.

    Parameters
    ----------
    reply : Message
        The reply of a known node, without an error.
    layout : Layout
        The model's own arrays.
    key : str
        Name of the metric that declares the sample count.

    Raises
    ------
    UploadError
        If it is malformed in any way; the message says in what.
    """
    if not reply.has_content():
        raise UploadError("it is empty")
    content = reply.content
    metrics = only(content, MetricRecord, "MetricRecord")
    count = read_count(metrics, key)
    others = read_metrics(metrics, key)
    values = read_arrays(only(content, ArrayRecord, "ArrayRecord"), layout)
    return Upload(values, count, others, digest(values))
