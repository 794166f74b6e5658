"""Data sets of labelled images, in memory: uint8 pixels, and the constants that normalise them.

``load_images`` takes a name of the catalog or the path of your own images, in one of these forms:

``idx``
    A folder with MNIST's four files (``train-images-idx3-ubyte`` and so on), plain or ``.gz``.
``cifar-binary``, ``cifar-pickle``
    CIFAR-10 as published: ``cifar-10-batches-bin`` or ``-py``, a folder or a ``.tar.gz``.
``parquet``
    A folder with ``train*.parquet`` and ``test*.parquet`` of encoded images (PNG, JPEG) and labels.
``folders``
    ``train/CLASS/*.png`` and ``test/CLASS/*.png``, a folder or a ``.tar.gz``, as CINIC-10 is published.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedsiege.data.cache import obtain, sums
from fedsiege.data.cards import CARDS, DatasetCard, card
from fedsiege.data.image_set import ImageSet
from fedsiege.errors import DataError, nearest

IMAGE_FORMATS = ("idx", "cifar-binary", "cifar-pickle", "parquet", "folders")
_HOME = {
    "idx": "_idx",
    "cifar-binary": "_cifar",
    "cifar-pickle": "_cifar",
    "parquet": "_image_parquet",
    "folders": "_image_folders",
}
_SPARE = 100_000
"""Labels beyond the number of images that a part of a data set of many classes may have."""


@dataclass(frozen=True)
class ImageDataset:
    """Training and test images of one data set.

    Parameters
    ----------
    name : str
        Name of the catalog, or the file's or folder's.
    train, test : ImageSet
        Neither empty, all images of one shape.
    classes : tuple of str
        Names of the labels 0, 1, and so on.
    mean, std : tuple of float, one per channel
        Of pixels in [0, 1]; `normalised` uses them.
    info : dict
        ``source`` (path, or the package the data are part of), ``format``, ``sha256`` (of the file; of several
        files ``name=sum`` parted by spaces; of the arrays for class folders and embedded data), ``train`` and
        ``test`` (numbers of images), ``normalisation`` (where mean and std come from).

    Raises
    ------
    DataError
        If the parts do not fit together.
    """

    name: str
    train: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    info: dict[str, str | int]

    def __post_init__(self) -> None:
        for split, part in (("train", self.train), ("test", self.test)):
            if not len(part):
                raise DataError(
                    f"{self.name}: there are no {split} images; give data with both a train and a test part"
                )
            if int(part.labels.max()) >= len(self.classes):
                raise DataError(f"{self.name}: {split} label {int(part.labels.max())}, yet {len(self.classes)} classes")
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise DataError(
                f"{self.name}: train images are {self.train.images.shape[1:]}, test images "
                f"{self.test.images.shape[1:]}; bring them to one size"
            )
        if len(self.mean) != self.shape[0] or len(self.std) != self.shape[0]:
            raise DataError(f"{self.name}: mean and std must have one entry for each of {self.shape[0]} channels")
        if not all(value > 0 for value in self.std):
            raise DataError(f"{self.name}: std {self.std} must be positive; a channel of equal pixels carries nothing")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def normalised(self, split: Literal["train", "test"]) -> np.ndarray:
        """Return ``(pixel / 255 - mean) / std`` of a split: float32, shape (n, C, H, W), a new array."""
        images = (self.train if split == "train" else self.test).images
        levels = np.arange(256) / 255
        out = np.empty(images.shape, dtype=np.float32)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std)):
            # There are 256 possible values: each is rounded to float32 once.
            table = ((levels - mean) / std).astype(np.float32)
            out[:, channel] = table[images[:, channel]]
        return out


def load_images(name_or_path: str | Path, *, format: str | None = None) -> ImageDataset:
    """Return a data set of images.

    Parameters
    ----------
    name_or_path : str or Path
        A name of the catalog, found under ``$FEDSIEGE_DATA``, in the cache or downloaded; or a path of your own
        images (module docstring).
    format : {"idx", "cifar-binary", "cifar-pickle", "parquet", "folders"} or None
        For a path: its format; None looks at the names of the files.

    Returns
    -------
    ImageDataset
        Normalised with the constants of the published code where the data set has some (FashionMNIST: MNIST's;
        CIFAR-10 and CINIC-10: CIFAR-10's), else with mean and standard deviation of the training pixels.

    Raises
    ------
    DataError
        If the name is unknown, the data absent, damaged or of no known format.
    """
    if format is not None and format not in IMAGE_FORMATS:
        raise DataError(f"unknown image format {format!r}; {nearest(format, IMAGE_FORMATS)}")
    if isinstance(name_or_path, str) and name_or_path in CARDS:
        if format is not None:
            raise DataError(f"{name_or_path} has a format of its own; give format with a path alone")
        return _named(card(name_or_path))
    path = Path(name_or_path).expanduser()
    if not path.exists():
        if isinstance(name_or_path, str) and not any(sign in name_or_path for sign in "/\\."):
            card(name_or_path)  # Raises, with the nearest name.
        raise DataError(f"{path} does not exist; check the path")
    chosen = format or sniff_images(path)
    if chosen is None:
        raise DataError(f"{path} holds images of no known format; give format=, one of {', '.join(IMAGE_FORMATS)}")
    return _read(path.name, path, chosen, None)


def is_images(name_or_path: str | Path, format: str | None = None) -> bool:
    """Return whether a name, a path or a format means images (interactions otherwise); reads names alone."""
    if format is not None:
        return format in IMAGE_FORMATS
    if isinstance(name_or_path, str) and name_or_path in CARDS:
        return card(name_or_path).kind == "images"
    path = Path(name_or_path).expanduser()
    return path.exists() and sniff_images(path) is not None


def sniff_images(path: Path) -> str | None:
    """Return the image format of a file or folder by the names of the files in it, or None."""
    from fedsiege.data._archive import names

    found = names(path)
    if any(name.endswith(("idx3-ubyte", "idx3-ubyte.gz", "idx1-ubyte", "idx1-ubyte.gz")) for name in found):
        return "idx"
    if found & {"data_batch_1.bin", "cifar-10-batches-bin"}:
        return "cifar-binary"
    if found & {"data_batch_1", "cifar-10-batches-py"}:
        return "cifar-pickle"
    if any(name.endswith(".parquet") for name in found):
        return "parquet"
    return "folders" if found >= {"train", "test"} else None


def _named(known: DatasetCard) -> ImageDataset:
    if known.pictures is None:
        raise DataError(f"{known.name} holds interactions; load it with load({known.name!r})")
    if known.remote is None:
        from fedsiege.data._digits import digits

        train, test = digits()
        return _assemble(known.name, train, test, known, {"source": "scikit-learn", "format": "none"})
    found = obtain(known.name)
    data = _read(known.name, found.path, found.layout.format, known)
    have = (len(data.train), len(data.test), data.shape, len(data.classes))
    want = (known.pictures.train, known.pictures.test, known.pictures.shape, len(known.pictures.classes))
    if found.layout.exact and have != want:
        raise DataError(
            f"{found.path} is not the complete {known.name}: {have[0]} + {have[1]} images of {have[2]} in {have[3]} "
            f"classes instead of {want[0]} + {want[1]} of {want[2]} in {want[3]}; remove it and fetch it again, "
            "or load your own images by their path"
        )
    return data


def _read(name: str, path: Path, format: str, known: DatasetCard | None) -> ImageDataset:
    from fedsiege.data._decoded import through_cache

    loader: Any = importlib.import_module(f"fedsiege.data.{_HOME[format]}")
    files: tuple[Path, ...] = loader.files(path, format)
    channels = known.pictures.shape[0] if known and known.pictures else None
    train, test, classes = through_cache(path, files, format, channels, lambda: loader.load(path, format, channels))
    info: dict[str, str | int] = {"source": str(path), "format": format}
    if files:
        info["sha256"] = sums(files)
    return _assemble(name, train, test, known, info, classes)


def _assemble(
    name: str,
    train: ImageSet,
    test: ImageSet,
    known: DatasetCard | None,
    info: dict[str, str | int],
    classes: tuple[str, ...] | None = None,
) -> ImageDataset:
    from fedsiege.data._image_facts import published, statistics, sum_of

    if "sha256" not in info:
        info["sha256"] = sum_of(train, test)
    facts = published(known, str(info["format"]))
    if facts is not None and facts.mean is not None and facts.std is not None:
        mean, std, whence = facts.mean, facts.std, "constants of the published code"
    else:
        mean, std = statistics(train)
        whence = "mean and standard deviation of the training pixels"
    if classes is None:
        top = max((int(part.labels.max()) for part in (train, test) if len(part)), default=-1)
        if facts is None and top >= len(train) + len(test) + _SPARE:
            raise DataError(f"{name}: label {top} with {len(train) + len(test)} images; number the classes from 0")
        classes = facts.classes if facts is not None else tuple(map(str, range(top + 1)))
    info |= {"train": len(train), "test": len(test), "normalisation": whence}
    return ImageDataset(name, train, test, classes, mean, std, info)
