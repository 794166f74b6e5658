"""The data set of a configuration, as its clients hold it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from fedsiege.arena.config import CLIENTS, DIVIDED, DatasetConfig, is_images
from fedsiege.checks import require
from fedsiege.data import catalog, partition
from fedsiege.data.federated import FederatedImages
from fedsiege.data.images import load_images
from fedsiege.data.interactions import RecDataset
from fedsiege.data.splits import leave_one_out
from fedsiege.data.synthetic import synthetic
from fedsiege.errors import ConfigError
from fedsiege.rng import generator

DIVIDING = ("clients", "partition", "beta", "balanced", "minimum", "shards", "samples")


def divide(
    config: DatasetConfig, labels: np.ndarray, seed: int, called: Mapping[str, str] | None = None
) -> partition.Partition:
    """Return who holds which training image in a run of `config` under `seed`.

    Parameters
    ----------
    config : DatasetConfig
        Says how to divide; its source is not read.
    labels : numpy.ndarray
        int ``(n,)``: classes of all training images.
    seed : int
        Address of the lots.
    called : mapping of str to str, optional
        How errors call fields of `config` that are out of range; default: ``dataset.shards`` and so on.

    Returns
    -------
    Partition
        Of numbers of images in [0, n), or of `samples` of them.

    Raises
    ------
    ConfigError, DataError
        If `samples` or `shards` is out of range, or as `fedsiege.data.partition.make`.
    """
    names = called or {}
    rng = generator(seed, "partition")
    kept = np.arange(len(labels))
    if config.samples is not None:
        what = names.get("samples", "dataset.samples")
        require(1 <= config.samples <= kept.size, what, config.samples, f"a number of images from 1 to {kept.size}")
        kept = np.sort(rng.permutation(kept.size)[: config.samples])
    clients = CLIENTS if config.clients is None else config.clients
    given = {name: getattr(config, name) for name in DIVIDED}
    used = {name: usual if given[name] is None else given[name] for name, (_, usual) in DIVIDED.items()}
    if config.kind == "shards" and 1 <= clients <= kept.size:
        what, most = names.get("shards", "dataset.shards"), kept.size // clients
        allowed = f"from 1 to {most}, as {clients} clients share {kept.size} images"
        require(1 <= used["shards"] <= most, what, used["shards"], allowed)
    try:
        divided = partition.make(
            config.kind,
            labels[kept],
            clients,
            rng,
            beta=used["beta"],
            balanced=used["balanced"],
            per_client=used["shards"],
            minimum=used["minimum"],
        )
    except ConfigError as error:  # Its words begin with the field.
        raise ConfigError(f"{error}" if called else f"dataset.{error}") from error
    return partition.Partition(divided.ptr, kept[divided.index])


def _images(config: DatasetConfig, seed: int) -> FederatedImages:
    """Return images divided among clients as `config` says, by lot under `seed`."""
    for name in ("users", "items", "interactions"):
        if getattr(config, name) is not None:
            raise ConfigError(f"dataset.{name} applies to `synthetic` only")
    images = load_images(config.name or Path(str(config.path)), format=config.format)
    return FederatedImages(images, divide(config, images.train.labels, seed))


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
