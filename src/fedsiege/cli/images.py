"""``fedsiege data info`` of images: what there is, and who holds what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsiege.cli.console import print_json, show_table, table
from fedsiege.cli.data import print_facts

if TYPE_CHECKING:
    import numpy as np

    from fedsiege.cli.data import Info


def show(asked: Info) -> int:
    """Print the figures of a data set of images, with --partition also who holds what, and return 0."""
    from fedsiege.data.image_info import describe_images
    from fedsiege.data.images import load_images
    from fedsiege.data.partition import make
    from fedsiege.data.partition_picture import check_suffix, draw_partition
    from fedsiege.rng import generator

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
    parted = make(
        asked.partition,
        data.train.labels,
        asked.clients,
        generator(asked.seed, "partition"),
        beta=asked.beta,
        per_client=asked.per_client,
        minimum=asked.minimum,
        balanced=not asked.unbalanced,
    )
    counts = parted.counts(data.train.labels, len(data.classes))
    words = _words(asked)
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


def _words(asked: Info) -> dict[str, Any]:
    """The arguments that the partition used."""
    used: dict[str, Any] = {"partition": asked.partition, "clients": asked.clients}
    if asked.partition == "dirichlet":
        used |= {"beta": asked.beta, "minimum": asked.minimum, "balanced": not asked.unbalanced}
    elif asked.partition == "shards":
        used["per_client"] = asked.per_client
    return used | {"seed": asked.seed}


def _print_counts(counts: np.ndarray, classes: tuple[str, ...]) -> None:
    columns = ["client", *classes, "all"]
    # A class that a client has none of is left blank: what a client lacks is seen at a glance.
    rows = [
        [str(client), *(f"{count:,}" if count else "" for count in row), f"{row.sum():,}"]
        for client, row in enumerate(counts)
    ]
    rows.append(["all", *(f"{count:,}" for count in counts.sum(axis=0)), f"{counts.sum():,}"])
    show_table(table("", columns, rows, right=columns))
