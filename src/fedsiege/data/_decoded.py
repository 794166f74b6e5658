"""Decoded images kept in the cache folder: decoding takes seconds to minutes, reading an array a moment."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedsiege.data.cache import cache_folder, sha256
from fedsiege.data.image_set import ImageSet

Loaded = tuple[ImageSet, ImageSet, tuple[str, ...] | None]
_VERSION = 2
"""Counts up where the same files are decoded otherwise than before. 1 let 16-bit grey turn white."""
_WORTH = 10_000
"""Images from which on keeping them is worth the disk space."""


def through_cache(
    path: Path, files: tuple[Path, ...], format: str, channels: int | None, build: Callable[[], Loaded]
) -> Loaded:
    """Return what `build` decodes, from the cache folder if it was decoded before.

    Formats without compression of each image are read as fast as an array and pass through. The name of the
    kept file stands for the sums of `files` (names, sizes and times for class folders), the number of channels
    and Pillow's version, so that changed data are decoded anew. A cache folder that cannot be written is no error.
    """
    if format not in ("parquet", "folders"):
        return build()
    kept = cache_folder() / "decoded" / f"{_key(path, files, format, channels)}.npz"
    loaded = _kept(kept)
    if loaded is None:
        loaded = build()
        if len(loaded[0]) + len(loaded[1]) >= _WORTH:
            with contextlib.suppress(OSError):
                _keep(kept, loaded)
    return loaded


def _key(path: Path, files: tuple[Path, ...], format: str, channels: int | None) -> str:
    import PIL

    digest = hashlib.sha256(f"{_VERSION} {format} {channels} {PIL.__version__}".encode())
    for file in files:
        digest.update(f"{file.name} {sha256(file)}\n".encode())
    if not files:
        for file in sorted(path.glob("*/*/*")):
            state = file.stat()
            digest.update(f"{file} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _kept(file: Path) -> Loaded | None:
    try:
        with np.load(file, allow_pickle=False) as table:
            train, test = (ImageSet(table[f"{split}_images"], table[f"{split}_labels"]) for split in ("train", "test"))
            classes = tuple(str(name) for name in table["classes"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # Absent, or half a file of a machine that went down.
    return train, test, classes or None


def _keep(target: Path, loaded: Loaded) -> None:
    train, test, classes = loaded
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".decoded-")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file,
                train_images=train.images,
                train_labels=train.labels,
                test_images=test.images,
                test_labels=test.labels,
                classes=np.array(classes or (), dtype=str),
            )
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
