"""Deal the users of MovieLens-100K out to nodes, each with a folder of its own: python prepare.py FOLDER --nodes 3

Where ML-100K is absent (`fedsiege data fetch ml-100k` gets it), the generated data set takes its place.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from fedsiege.data import load
from fedsiege.errors import DataError


def prepare(folder: Path, nodes: int, name: str = "ml-100k") -> str:
    """Write FOLDER/node-0, node-1, … and FOLDER/catalog.json; return the name of the data set."""
    try:
        data = load(name)
    except DataError:
        data = load("synthetic")
    train = data.train
    deal = np.random.default_rng(0).permutation(data.num_users)
    for place, users in enumerate(np.array_split(deal, nodes)):
        users = np.sort(users)
        rows = [train.items[train.indptr[u] : train.indptr[u + 1]] for u in users]
        home = folder / f"node-{place}"
        home.mkdir(parents=True, exist_ok=True)
        ptr = np.cumsum([0, *map(len, rows)])
        held = data.test[users]
        np.savez(home / "data.npz", ptr=ptr, items=np.concatenate(rows), held=held, num_items=data.num_items)
    catalog = {"dataset": data.name, "users": data.num_users, "items": data.num_items}
    (folder / "catalog.json").write_text(json.dumps(catalog), encoding="utf-8")
    return data.name


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--dataset", default="ml-100k")
    args = parser.parse_args()
    print(prepare(args.folder, args.nodes, args.dataset))
