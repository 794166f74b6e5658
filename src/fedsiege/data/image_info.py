"""What ``fedsiege data info`` tells about images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fedsiege.data.cards import CARDS
from fedsiege.data.images import ImageDataset


def describe_images(data: ImageDataset, name_or_path: str | Path) -> dict[str, Any]:
    """Return the figures of a data set of images for people.

    Parameters
    ----------
    data : ImageDataset
        What `load_images` returned.
    name_or_path : str or Path
        What it was asked for; a named data set has ``summary``, ``paper`` and ``license`` too.

    Returns
    -------
    dict
        ``name``, ``source``, ``format``, ``sha256``, ``train`` and ``test`` (numbers of images), ``shape``
        (C, H, W), ``classes`` (names), ``train_counts`` and ``test_counts`` (images of each class),
        ``normalisation``, ``mean`` and ``std`` (per channel, of pixels in [0, 1]).
    """
    known = CARDS.get(name_or_path) if isinstance(name_or_path, str) else None
    about: dict[str, Any] = {"name": data.name}
    if known is not None:
        about |= {"summary": known.summary, "paper": known.paper, "license": known.license}
    return (
        about
        | {key: data.info[key] for key in ("source", "format", "sha256", "train", "test")}
        | {
            "shape": list(data.shape),
            "classes": list(data.classes),
            "train_counts": np.bincount(data.train.labels, minlength=len(data.classes)).tolist(),
            "test_counts": np.bincount(data.test.labels, minlength=len(data.classes)).tolist(),
            "normalisation": data.info["normalisation"],
            "mean": list(data.mean),
            "std": list(data.std),
        }
    )
