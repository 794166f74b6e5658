"""Labelled images in memory: uint8 pixels, channels first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedsiege.errors import DataError


@dataclass(frozen=True)
class ImageSet:
    """Images with their labels.

    Parameters
    ----------
    images : uint8 array, shape (n, C, H, W)
        Pixels in [0, 255], channels first.
    labels : int64 array, shape (n,)
        Class of each image, at least 0. Other integers are converted.

    Raises
    ------
    DataError
        If dtype or shape is another.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(f"images must be uint8 of shape (n, C, H, W), not {images.dtype} of {images.shape}")
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(
                f"labels must be integers of shape ({len(images)},), one per image, "
                f"not {labels.dtype} of {labels.shape}"
            )
        if len(labels) and int(labels.min()) < 0:
            raise DataError(f"label {int(labels.min())} of image {int(labels.argmin())} is negative; count from 0")
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.labels)
