"""A node: interactions and vectors of its users, on its own disk; BPR on both; what leaves it is the item table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HITS = 10


class Node:
    """The users of one node.

    `data.npz` holds `ptr` and `items` (the items that each user has seen) and `held` (one held-out item each, -1 for
    none); `users.npy`, their vectors, is written after each round and read at the next, whatever process that is.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        with np.load(folder / "data.npz") as data:
            self.ptr, self.items, self.held = data["ptr"], data["items"], data["held"]
            self.num_items = int(data["num_items"])
        self.of = np.repeat(np.arange(self.size), np.diff(self.ptr))
        path = folder / "users.npy"
        fresh = np.random.default_rng(0).normal(0, 0.1, (self.size, dim)).astype(np.float32)
        self.users = np.load(path) if path.is_file() else fresh

    @property
    def size(self) -> int:
        """Number of users."""
        return self.held.size

    def seen(self) -> dict[int, np.ndarray]:
        """Return the items of each user."""
        return {u: self.items[self.ptr[u] : self.ptr[u + 1]] for u in range(self.size)}

    def save(self) -> None:
        """Keep the users' vectors, all or nothing."""
        new = self.folder / "users.new.npy"
        np.save(new, self.users)
        new.replace(self.folder / "users.npy")

    def train(self, table: np.ndarray, epochs: int, lr: float, seed: int) -> tuple[np.ndarray, float]:
        """Train users and a copy of the item table by BPR; return the copy and the mean loss."""
        table, rng, loss = table.copy(), np.random.default_rng(seed), 0.0
        for _ in range(epochs):
            loss = 0.0
            order = rng.permutation(self.items.size)
            for part in np.array_split(order, max(1, order.size // 256)):
                u, i = self.of[part], self.items[part]
                j = rng.integers(0, self.num_items, part.size)
                mine, gap = self.users[u], table[i] - table[j]
                margin = (mine * gap).sum(1)
                pull = (1 / (1 + np.exp(margin)))[:, None].astype(np.float32)
                loss += float(np.logaddexp(0, -margin).sum())
                np.add.at(self.users, u, lr * (pull * gap - 0.01 * mine))
                np.add.at(table, i, lr * (pull * mine - 0.01 * table[i]))
                np.add.at(table, j, lr * (-pull * mine - 0.01 * table[j]))
        return table, loss / self.items.size

    def hit_ratio(self, table: np.ndarray) -> tuple[float, int]:
        """Return HR@10 of the held-out items among all that a user has not seen, and the number of users asked."""
        asked = np.flatnonzero(self.held >= 0)
        scores = self.users[asked] @ table.T
        for row, user in enumerate(asked):
            scores[row, self.items[self.ptr[user] : self.ptr[user + 1]]] = -np.inf
        own = scores[np.arange(asked.size), self.held[asked]]
        hits = (scores > own[:, None]).sum(1) < HITS
        return (float(hits.mean()) if asked.size else 0.0), int(asked.size)
