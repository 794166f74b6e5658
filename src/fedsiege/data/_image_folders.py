"""Folders of classes, ``train/CLASS/*.png`` and ``test/CLASS/*.png``, as CINIC-10 is published.

Source: L. N. Darlow et al., CINIC-10 is not ImageNet or CIFAR-10, arXiv:1810.03505, 2018: three thirds of
90,000 images, ``train``, ``valid`` and ``test``. ``valid`` is left out here, as federated training does not tune
on it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from fedsiege.data._archive import is_archive, members
from fedsiege.data._encoded import decode
from fedsiege.data.image_set import ImageSet
from fedsiege.errors import DataError

_ENDS = (".png", ".jpg", ".jpeg")


def files(path: Path, format: str = "folders") -> tuple[Path, ...]:
    """Return the archive; a folder of many thousand files has no sum of its own."""
    return (path,) if is_archive(path) else ()


def load(
    path: Path, format: str = "folders", channels: int | None = None
) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """Return train and test images, by class and then by file name, and the classes in alphabetical order.

    Raises
    ------
    DataError
        If a split is absent or has other classes, or an image is damaged or of another size.
    """
    read = _from_archive if is_archive(path) else _from_folder
    parts, classes = [], None
    for split in ("train", "test"):
        found = read(path, split)
        if not found:
            raise DataError(f"{path} has no images {split}/CLASS/*.png; both train and test are needed")
        there = tuple(sorted({inside.parts[-2] for inside, _ in found}))
        if classes is not None and there != classes:
            differ = sorted(set(there) ^ set(classes))
            raise DataError(f"{path}: train and test have different classes ({', '.join(differ)} in one alone)")
        classes = there
        found.sort(key=lambda one: one[0].parts[-2:])
        pixels = decode([data for _, data in found], _namer(path, [inside for inside, _ in found]), channels)
        labels = np.array([classes.index(inside.parts[-2]) for inside, _ in found], dtype=np.int64)
        parts.append(ImageSet(pixels, labels))
    assert classes is not None
    return parts[0], parts[1], classes


def _namer(path: Path, inside: list[PurePosixPath]) -> Callable[[int], str]:
    return lambda i: f"{path}: {inside[i]}"


def _from_archive(path: Path, split: str) -> list[tuple[PurePosixPath, bytes]]:
    def wanted(inside: PurePosixPath) -> bool:
        return len(inside.parts) >= 3 and inside.parts[-3] == split and inside.suffix.lower() in _ENDS

    return list(members(path, wanted))


def _from_folder(path: Path, split: str) -> list[tuple[PurePosixPath, bytes]]:
    return [
        (PurePosixPath(split, file.parent.name, file.name), file.read_bytes())
        for file in (path / split).glob("*/*")
        if file.suffix.lower() in _ENDS
    ]
