"""CIFAR-10 as published: six batches of 10,000 images, as records of bytes or as Python pickles.

Source: A. Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html. A binary record is one byte of label and
3 × 1024 bytes of pixels, the red plane first, row by row; a pickle is a dictionary with ``data`` (uint8, a row
of the same 3072 bytes per image) and ``labels``. Own batches may have any number of images.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from fedsiege.data._archive import folder_of, is_archive, members
from fedsiege.data.image_set import ImageSet
from fedsiege.errors import DataError

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_FOLDERS = {"cifar-binary": "cifar-10-batches-bin", "cifar-pickle": "cifar-10-batches-py"}


def _batches(format: str) -> tuple[str, ...]:
    end = ".bin" if format == "cifar-binary" else ""
    return (*(f"data_batch_{number}{end}" for number in range(1, 6)), f"test_batch{end}")


def files(path: Path, format: str) -> tuple[Path, ...]:
    """Return the archive, or the six files of a folder (or of ``cifar-10-batches-…`` in it), the test batch last.

    Raises
    ------
    DataError
        If one of them is absent.
    """
    if is_archive(path):
        return (path,)
    folder = folder_of(path)
    if (folder / _FOLDERS[format]).is_dir():
        folder = folder / _FOLDERS[format]
    found = tuple(folder / name for name in _batches(format))
    for file in found:
        if not file.is_file():
            raise DataError(f"{folder} has no {file.name}; CIFAR-10 has {', '.join(_batches(format))}")
    return found


def load(path: Path, format: str, channels: int | None = None) -> tuple[ImageSet, ImageSet, None]:
    """Return the images of the five training batches in their order, and those of the test batch.

    Raises
    ------
    DataError
        If a batch is absent, damaged, truncated, or holds anything but numbers.
    """
    wanted = _batches(format)
    if is_archive(path):
        content = {inside.name: data for inside, data in members(path, lambda inside: inside.name in wanted)}
        absent = [name for name in wanted if name not in content]
        if absent:
            raise DataError(f"{path} has no {absent[0]}; it is not CIFAR-10 in the form {format}")
    else:
        content = {file.name: file.read_bytes() for file in files(path, format)}
    parse = _records if format == "cifar-binary" else _pickled
    parts = [parse(content.pop(name), f"{path}: {name}") for name in wanted]
    train = ImageSet(np.concatenate([p.images for p in parts[:-1]]), np.concatenate([p.labels for p in parts[:-1]]))
    return train, parts[-1], None


def _records(content: bytes, where: str) -> ImageSet:
    if not content or len(content) % (1 + _PIXELS):
        raise DataError(
            f"{where} has {len(content)} bytes, no multiple of {1 + _PIXELS}; it is truncated, fetch it again"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return _checked(rows[:, 1:], rows[:, 0].astype(np.int64), where)


class _Restricted(pickle.Unpickler):
    """Builds arrays and nothing else: a pickle can otherwise call any function."""

    _ALLOWED = frozenset(
        [(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")]
        + [("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")]
    )

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed function or class."""
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which CIFAR-10 does not need")
        # The private home of NumPy's core moved; `_reconstruct` is the same in both.
        return super().find_class(module.replace("numpy.core.", "numpy._core.") if _new_numpy() else module, name)


def _new_numpy() -> bool:
    return int(np.__version__.split(".")[0]) >= 2


def _pickled(content: bytes, where: str) -> ImageSet:
    try:
        table = _Restricted(io.BytesIO(content), encoding="bytes").load()
        # Written by Python 2 its keys are bytes, written anew they are text.
        plain = {key.decode() if isinstance(key, bytes) else key: value for key, value in table.items()}
        rows, labels = np.asarray(plain["data"]), np.asarray(plain["labels"])
    # A damaged pickle raises whatever the instruction at hand raises.
    except Exception as error:
        raise DataError(
            f"{where} is not a batch of CIFAR-10 ({type(error).__name__}: {error}); fetch it again"
        ) from error
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _PIXELS or labels.shape != rows.shape[:1]:
        raise DataError(
            f"{where} holds data of {rows.dtype} {rows.shape} and labels of {labels.shape}, "
            f"not uint8 (n, {_PIXELS}) and (n,)"
        )
    if labels.dtype.kind not in "iu":
        raise DataError(f"{where} holds labels of type {labels.dtype}, not integers")
    return _checked(rows, labels.astype(np.int64), where)


def _checked(rows: np.ndarray, labels: np.ndarray, where: str) -> ImageSet:
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        wrong = int(np.flatnonzero((labels < 0) | (labels > 9))[0])
        raise DataError(f"{where}: image {wrong} has label {int(labels[wrong])}, not one of 0 to 9; fetch it again")
    return ImageSet(np.ascontiguousarray(rows).reshape(-1, *_SHAPE), labels)
