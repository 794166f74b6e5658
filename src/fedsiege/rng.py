"""Randomness with an address: every draw is seeded by (seed, purpose, round, client).

A resumed run therefore equals an uninterrupted one bit for bit, and two attacks under one seed meet the same
cohorts. Nothing in FedSiege draws from a global generator.
"""

from __future__ import annotations

import hashlib

import numpy as np


def key(seed: int, purpose: str, *where: int) -> int:
    """Return the 64-bit key of an address.

    Parameters
    ----------
    seed : int
        The run's seed.
    purpose : str
        What is drawn, such as ``"cohort"`` or ``"dropout"``.
    *where : int
        Further coordinates, usually the round, then the client.
    """
    text = "\x1f".join([str(int(seed)), purpose, *(str(int(w)) for w in where)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(seed: int, purpose: str, *where: int) -> np.random.Generator:
    """Return a NumPy generator (Philox) that belongs to one address alone."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose, *where)))


def client_keys(seed: int, purpose: str, round_: int, clients: np.ndarray) -> np.ndarray:
    """Return one 64-bit key per client, shape ``(n,)``, dtype uint64, in one vectorised pass.

    The key of a client depends on the address and on its id alone, never on its place in the cohort.
    """
    base = np.uint64(key(seed, purpose, round_))
    with np.errstate(over="ignore"):
        z = base + (clients.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
