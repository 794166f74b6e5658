"""Handwritten digits of 8×8 pixels, which come with scikit-learn: data for tests and demonstrations.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
1998 (its test part), as scikit-learn's ``load_digits`` gives it.
"""

from __future__ import annotations

import numpy as np

from fedsiege.data.image_set import ImageSet

_LEVELS = 16
"""Pixels are counts of 0 to 16 set dots in a block of 4×4."""
_EVERY = 5


def digits() -> tuple[ImageSet, ImageSet]:
    """Return 1,442 training and 355 test images of shape (1, 8, 8), scaled from [0, 16] to [0, 255].

    The test part is every fifth image of each class, in the order of the file (the 5th, the 10th, and so on), so
    both parts hold the classes in the same proportions.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / _LEVELS)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        held_out[np.flatnonzero(labels == label)[_EVERY - 1 :: _EVERY]] = True
    return ImageSet(images[~held_out], labels[~held_out]), ImageSet(images[held_out], labels[held_out])
