"""The data set of a configuration."""

from __future__ import annotations

from fedsiege.arena.config import DatasetConfig
from fedsiege.data import catalog
from fedsiege.data.interactions import RecDataset
from fedsiege.data.splits import leave_one_out
from fedsiege.data.synthetic import synthetic
from fedsiege.errors import ConfigError


def load_dataset(config: DatasetConfig, seed: int) -> RecDataset:
    """Return the data set that `config` names, split leave-one-out.

    Raises
    ------
    DataError
        If it cannot be found, read or downloaded.
    ConfigError
        If sizes are given for a data set that has its own.
    """
    sizes = {k: getattr(config, k) for k in ("users", "items", "interactions") if getattr(config, k) is not None}
    if config.name == "synthetic" and sizes:
        raw = synthetic(**sizes)
        train, valid, test = leave_one_out(raw, seed)
        info = {"source": "generated", "split": "leave-one-out by time", **sizes}
        return RecDataset("synthetic", train, valid, test, raw.order, info)
    if sizes:
        raise ConfigError(f"dataset.{next(iter(sizes))} applies to `synthetic` only")
    if config.path is not None:
        return catalog.load(config.path, format=config.format, seed=seed)
    return catalog.load(str(config.name), seed=seed)
