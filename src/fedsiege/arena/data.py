"""The data set of a configuration, as its clients hold it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from fedsiege.arena.config import DatasetConfig, is_images
from fedsiege.data import catalog, partition
from fedsiege.data.federated import FederatedImages
from fedsiege.data.images import load_images
from fedsiege.data.interactions import RecDataset
from fedsiege.data.splits import leave_one_out
from fedsiege.data.synthetic import synthetic
from fedsiege.errors import ConfigError
from fedsiege.rng import generator

DIVIDING = ("clients", "partition", "beta", "balanced", "minimum", "shards", "samples")


def _images(config: DatasetConfig, seed: int) -> FederatedImages:
    """Return images divided among clients as `config` says, by lot under `seed`."""
    for name in ("users", "items", "interactions"):
        if getattr(config, name) is not None:
            raise ConfigError(f"dataset.{name} applies to `synthetic` only")
    kind = config.partition or "dirichlet"
    if config.minimum is not None and kind != "dirichlet":
        raise ConfigError(f"dataset.minimum applies to partition dirichlet only, not to {kind}; leave it out")
    images = load_images(config.name or Path(str(config.path)), format=config.format)
    rng = generator(seed, "partition")
    kept = np.arange(len(images.train))
    if config.samples is not None:
        if not 1 <= config.samples <= kept.size:
            raise ConfigError(f"dataset.samples = {config.samples} must lie between 1 and {kept.size}")
        kept = np.sort(rng.permutation(kept.size)[: config.samples])
    divided = partition.make(
        kind,
        images.train.labels[kept],
        100 if config.clients is None else config.clients,
        rng,
        beta=0.1 if config.beta is None else config.beta,
        balanced=config.balanced is not False,
        per_client=config.shards or 2,
        minimum=partition.MINIMUM if config.minimum is None else config.minimum,
    )
    return FederatedImages(images, partition.Partition(divided.ptr, kept[divided.index]))


def load_dataset(config: DatasetConfig, seed: int) -> RecDataset | FederatedImages:
    """Return the data set that `config` names: interactions split leave-one-out, or images divided among clients.

    Raises
    ------
    DataError
        If it cannot be found, read or downloaded.
    ConfigError
        If a field is given that does not apply to the data set.
    """
    if is_images(config):
        return _images(config, seed)
    for name in DIVIDING:
        if getattr(config, name) is not None:
            raise ConfigError(f"dataset.{name} applies to images only; here each user is a client")
    sizes = {k: getattr(config, k) for k in ("users", "items", "interactions") if getattr(config, k) is not None}
    if config.name == "synthetic" and sizes:
        raw = synthetic(**sizes)
        train, valid, test = leave_one_out(raw, seed)
        info = {"source": "generated", "sha256": catalog.sum_of(raw), "split": "leave-one-out by time", **sizes}
        return RecDataset("synthetic", train, valid, test, raw.order, info)
    if sizes:
        raise ConfigError(f"dataset.{next(iter(sizes))} applies to `synthetic` only")
    if config.path is not None:
        return catalog.load(config.path, format=config.format, seed=seed)
    return catalog.load(str(config.name), seed=seed)


@lru_cache(maxsize=2)
def remembered(config: DatasetConfig, seed: int) -> RecDataset | FederatedImages:
    """Return `load_dataset`, which the last two calls are remembered of: for processes that run many cells.

    Data sets are never changed by a run; the files are taken to stay as they are while the process lives.
    """
    return load_dataset(config, seed)
