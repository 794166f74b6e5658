"""``fedsiege data info`` of images: what there is, and who holds what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsiege.cli.console import print_json, show_table, table
from fedsiege.cli.facts import print_facts

if TYPE_CHECKING:
    import numpy as np

    from fedsiege.arena.config import DatasetConfig
    from fedsiege.cli.data import Info


def show(asked: Info) -> int:
    """Print the figures of a data set of images, with --partition also who holds what, and return 0."""
    from fedsiege.data.image_info import describe_images
    from fedsiege.data.images import load_images
    from fedsiege.data.partition_picture import check_suffix, draw_partition

    asked.refuse_unread()
    file = asked.out or Path(f"partition-{Path(asked.name_or_path).name}.png")
    if asked.partition is not None:
        check_suffix(file)  # Before a minute of work.
    data = load_images(asked.name_or_path, format=asked.format)
    found: dict[str, Any] = describe_images(data, asked.name_or_path)
    if asked.partition is None:
        if asked.json:
            print_json(found)
        else:
            print_facts(found)
        return 0
    from fedsiege.arena.data import divide

    config = _config(asked)
    parted = divide(config, data.train.labels, asked.seed or 0, {"shards": "--per-client", "samples": "--samples"})
    counts = parted.counts(data.train.labels, len(data.classes))
    words = _words(config, asked.seed or 0)
    said = ", ".join(f"{key} {value}" for key, value in words.items())
    draw_partition(counts, data.classes, file, title=f"{data.name}: {said}")
    if asked.json:
        print_json(found | {"partition": words | {"counts": counts.tolist(), "picture": str(file)}})
        return 0
    print_facts(found)
    print(said)
    _print_counts(counts, data.classes)
    print(f"picture: {file}")
    return 0


def _config(asked: Info) -> DatasetConfig:
    """The part of a run's configuration that divides images as was asked, with what stands in for options left out."""
    from fedsiege.arena.config import CLIENTS, DIVIDED, DatasetConfig

    given: dict[str, Any] = {
        "beta": asked.beta,
        "balanced": False if asked.unbalanced else None,
        "minimum": asked.minimum,
        "shards": asked.per_client,
    }
    read: dict[str, Any] = {
        name: usual if given[name] is None else given[name]
        for name, (kind, usual) in DIVIDED.items()
        if kind == asked.partition
    }
    clients = CLIENTS if asked.clients is None else asked.clients
    return DatasetConfig(asked.name_or_path, partition=asked.partition, clients=clients, samples=asked.samples, **read)


def _words(config: DatasetConfig, seed: int) -> dict[str, Any]:
    """What the partition used."""
    called = {"shards": "per_client"}
    names = ("partition", "clients", "beta", "minimum", "balanced", "shards", "samples")
    used = {called.get(name, name): value for name in names if (value := getattr(config, name)) is not None}
    return used | {"seed": seed}


def _print_counts(counts: np.ndarray, classes: tuple[str, ...]) -> None:
    columns = ["client", *classes, "all"]
    # A class that a client has none of is left blank: what a client lacks is seen at a glance.
    rows = [
        [str(client), *(f"{count:,}" if count else "" for count in row), f"{row.sum():,}"]
        for client, row in enumerate(counts)
    ]
    rows.append(["all", *(f"{count:,}" for count in counts.sum(axis=0)), f"{counts.sum():,}"])
    show_table(table("", columns, rows, right=columns))
