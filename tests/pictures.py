"""A few small pictures of three classes, divided among clients, for tests of classifiers."""

from __future__ import annotations

import numpy as np

from fedsiege.data.federated import FederatedImages
from fedsiege.data.images import ImageDataset, ImageSet
from fedsiege.data.partition import Partition

CLASSES = ("left", "right", "both")


def pictures(sizes: tuple[int, ...] = (20, 7, 0, 33, 12), seed: int = 0, side: int = 8) -> FederatedImages:
    """Return noise with a bright half (or two) for a class; client i holds ``sizes[i]`` training pictures."""
    rng = np.random.default_rng(seed)

    def draw(n: int) -> ImageSet:
        labels = rng.integers(0, 3, n)
        images = rng.integers(0, 120, (n, 1, side, side))
        images[labels != 1, :, :, : side // 2] += 120
        images[labels != 0, :, :, side // 2 :] += 120
        return ImageSet(images.astype(np.uint8), labels.astype(np.int64))

    total = sum(sizes)
    dataset = ImageDataset("pictures", draw(total + 5), draw(90), CLASSES, (0.4,), (0.25,), {"source": "test"})
    ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return FederatedImages(dataset, Partition(ptr, rng.permutation(total + 5)[:total].astype(np.int64)))
