"""Data sets: files, checksums, loaders, splits, training negatives and generated data; images and partitions.

Names are imported on first use (PEP 562), so ``import fedsiege.data`` costs nothing: polars, numba and pooch
are loaded only when a file is parsed, a kernel runs or a download starts. ``fedsiege.data.synthetic`` is a
module; its function of the same name is imported from there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedsiege.data.cache import cache_folder, fetch, locate
    from fedsiege.data.cards import CARDS, DatasetCard, card, names
    from fedsiege.data.catalog import describe, load, load_raw
    from fedsiege.data.checkins import load_checkins
    from fedsiege.data.image_set import ImageSet
    from fedsiege.data.images import ImageDataset, load_images
    from fedsiege.data.interactions import Interactions, RawInteractions, RecDataset
    from fedsiege.data.lightgcn import load_lightgcn, original_split
    from fedsiege.data.movielens import load_movielens
    from fedsiege.data.negatives import draw_negatives
    from fedsiege.data.partition import Partition
    from fedsiege.data.recbole import load_recbole
    from fedsiege.data.splits import leave_one_out
    from fedsiege.data.synthetic import synthetic_scale

_HOME = {
    "CARDS": "cards",
    "DatasetCard": "cards",
    "ImageDataset": "images",
    "ImageSet": "image_set",
    "Interactions": "interactions",
    "Partition": "partition",
    "RawInteractions": "interactions",
    "RecDataset": "interactions",
    "cache_folder": "cache",
    "card": "cards",
    "describe": "catalog",
    "draw_negatives": "negatives",
    "fetch": "cache",
    "leave_one_out": "splits",
    "load": "catalog",
    "load_checkins": "checkins",
    "load_images": "images",
    "load_lightgcn": "lightgcn",
    "load_movielens": "movielens",
    "load_raw": "catalog",
    "load_recbole": "recbole",
    "locate": "cache",
    "names": "cards",
    "original_split": "lightgcn",
    "synthetic_scale": "synthetic",
}

__all__ = [
    "CARDS",
    "DatasetCard",
    "ImageDataset",
    "ImageSet",
    "Interactions",
    "Partition",
    "RawInteractions",
    "RecDataset",
    "cache_folder",
    "card",
    "describe",
    "draw_negatives",
    "fetch",
    "leave_one_out",
    "load",
    "load_checkins",
    "load_images",
    "load_lightgcn",
    "load_movielens",
    "load_raw",
    "load_recbole",
    "locate",
    "names",
    "original_split",
    "synthetic_scale",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
