"""What is computed from images, and what is known about them beforehand."""

from __future__ import annotations

import hashlib

import numpy as np

from fedsiege.data._card import Pictures
from fedsiege.data.cards import CARDS, DatasetCard
from fedsiege.data.image_set import ImageSet


def published(known: DatasetCard | None, format: str) -> Pictures | None:
    """Return the facts of a named data set; CIFAR-10's own formats tell the data set too."""
    if known is not None:
        return known.pictures
    return CARDS["cifar-10"].pictures if format.startswith("cifar-") else None


def statistics(part: ImageSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, of pixels in [0, 1], from counts of the 256 values."""
    levels = np.arange(256) / 255
    mean, std = [], []
    for channel in range(part.images.shape[1]):
        share = np.bincount(part.images[:, channel].ravel(), minlength=256) / max(1, part.images[:, channel].size)
        mean.append(float(share @ levels))
        std.append(float(np.sqrt(share @ (levels - mean[-1]) ** 2)))
    return tuple(mean), tuple(std)


def sum_of(*parts: ImageSet) -> str:
    """Return the SHA-256 of pixels and labels (int64, little endian), for data without a file of their own."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part.images).tobytes())
        digest.update(part.labels.astype("<i8").tobytes())
    return digest.hexdigest()
