"""IDX files, the format of MNIST and FashionMNIST, plain or gzipped.

Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits ("the IDX file format"):
two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of dimensions, each dimension as
a big-endian 32-bit integer, then the values in row-major order.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from fedsiege.data._archive import folder_of
from fedsiege.data.image_set import ImageSet
from fedsiege.errors import DataError

_UNSIGNED_BYTES = 8


def files(path: Path, format: str = "idx") -> tuple[Path, ...]:
    """Return the four files of a folder (or beside a file): train images and labels, test images and labels.

    Raises
    ------
    DataError
        If one of them is absent.
    """
    folder = folder_of(path)
    found = []
    for split in ("train", "t10k"):
        for what, dimensions in (("images", 3), ("labels", 1)):
            forms = [f"{split}-{what}{sign}idx{dimensions}-ubyte{end}" for sign in "-." for end in ("", ".gz")]
            there = next((folder / form for form in forms if (folder / form).is_file()), None)
            if there is None:
                raise DataError(f"{folder} has no {forms[0]} (plain or .gz); an IDX data set has four files")
            found.append(there)
    return tuple(found)


def load(path: Path, format: str = "idx", channels: int | None = None) -> tuple[ImageSet, ImageSet, None]:
    """Return train and test images of one channel; the labels have no names.

    Raises
    ------
    DataError
        If a file is absent, damaged, truncated, or images and labels differ in number.
    """
    found = files(path)
    train, test = (
        _pair(read_idx(images, 3), read_idx(labels, 1), images, labels) for images, labels in (found[:2], found[2:])
    )
    return train, test, None


def _pair(images: np.ndarray, labels: np.ndarray, first: Path, second: Path) -> ImageSet:
    if len(images) != len(labels):
        raise DataError(
            f"{first} has {len(images)} images, {second.name} {len(labels)} labels; they do not belong together"
        )
    return ImageSet(images[:, None], labels.astype(np.int64))


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Return the array of an IDX file of unsigned bytes.

    Parameters
    ----------
    path : Path
        Gzipped if its name ends in ``.gz``.
    dimensions : int
        Number of dimensions that the file must have.

    Raises
    ------
    DataError
        If the file is no IDX file of unsigned bytes with so many dimensions, or not as long as its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it and fetch it again") from error
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes([0, 0, _UNSIGNED_BYTES, dimensions]):
        raise DataError(
            f"{path} is not an IDX file of unsigned bytes in {dimensions} dimension(s): it starts with "
            f"{content[:4].hex(' ') or 'nothing'}, not 00 00 08 {dimensions:02x}"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">i4", dimensions, 4))
    expected = int(np.prod([max(size, -1) for size in shape], dtype=object))
    if min(shape) < 0 or len(content) - start != expected:
        raise DataError(
            f"{path} is truncated or damaged: its header says {'×'.join(map(str, shape))} values, "
            f"{len(content) - start} follow; remove it and fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
