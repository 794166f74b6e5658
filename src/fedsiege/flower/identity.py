"""Who is who: what a client's memory and its ban hang on.

A node that authenticates itself is known by its public key, which survives restarts of node and server. Any other is
known by its node id alone; restarted, it is somebody new, so its ban does not hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedsiege.learners.base import State

KEY = "key:"
"""What identities that rest on a key begin with."""
REMEMBERED = 64
"""Uploads of a client whose hashes are kept, to recognise replays."""


def identity_of(node: int, public_key: bytes) -> str:
    """Return what a node is known by: the SHA-256 of its public key, or its id if it has none."""
    return f"{KEY}{hashlib.sha256(public_key).hexdigest()}" if public_key else f"node:{node}"


def has_key(identity: str) -> bool:
    """Tell whether a client is known by a key, and so for good."""
    return identity.startswith(KEY)


@dataclass
class Roster:
    """All clients ever seen, with a small number each that never changes; bans; and hashes of past uploads.

    Parameters
    ----------
    numbers : dict of str to int
        Client number by identity, in order of first sight.
    banned : dict of str to dict
        Round and reason of a ban, by identity.
    past : dict of str to list
        For each identity pairs (hash of the model sent, hash of the upload), newest last.
    strikes : dict of str to int
        Rejections in a row, by identity.
    nodes : dict of int to str
        Identity of each node of this run; not saved, as node ids may mean others in the next.
    """

    numbers: dict[str, int] = field(default_factory=dict)
    banned: dict[str, dict[str, Any]] = field(default_factory=dict)
    past: dict[str, list[list[str]]] = field(default_factory=dict)
    strikes: dict[str, int] = field(default_factory=dict)
    nodes: dict[int, str] = field(default_factory=dict)

    def meet(self, nodes: Mapping[int, bytes]) -> None:
        """Take note of connected nodes (id to public key); new clients get their numbers in order of node id."""
        for node in sorted(nodes):
            identity = identity_of(node, nodes[node])
            self.nodes[node] = identity
            self.numbers.setdefault(identity, len(self.numbers))

    def number(self, node: int) -> int:
        """Return the client number of a node of this run."""
        return self.numbers[self.nodes[node]]

    def is_banned(self, node: int) -> bool:
        """Tell whether a node is banned."""
        return self.nodes.get(node, f"node:{node}") in self.banned

    @property
    def keyed(self) -> bool:
        """Whether clients have keys; then a node whose key is not known is nobody yet."""
        return any(map(has_key, self.numbers))

    def banned_nodes(self) -> list[int]:
        """Return one node id for every banned client that can be told from a new one.

        One with a key that has not been met in this run gets an id of its own, made of the key's hash. One without is
        left out until it is met: its id may mean nobody in this run.
        """
        seen = {identity: node for node, identity in self.nodes.items() if identity in self.banned}
        for identity in self.banned:
            if identity not in seen and has_key(identity):
                seen[identity] = int(identity.removeprefix(KEY)[:15], 16)
                self.nodes[seen[identity]] = identity
        return list(seen.values())

    @property
    def others(self) -> int:
        """Number of clients that may still come and are not banned: those with keys, and those met in this run."""
        met = set(self.nodes.values())
        return sum(who not in self.banned and (has_key(who) or who in met) for who in self.numbers)

    def ban(self, identities: Iterable[str], round_: int, reason: str) -> None:
        """Ban clients for good."""
        for identity in identities:
            self.banned.setdefault(identity, {"round": round_, "reason": reason})

    def strike(self, node: int, accepted: bool, most: int | None) -> bool:
        """Count a client's rejections in a row; tell whether there are `most` of them (None: never)."""
        identity = self.nodes[node]
        self.strikes[identity] = 0 if accepted else self.strikes.get(identity, 0) + 1
        return most is not None and self.strikes[identity] >= most

    def replayed(self, node: int, model: str, upload: str) -> bool:
        """Tell whether a node has sent this very upload before, in answer to another model.

        The same answer to the same model is none: training may be deterministic.
        """
        return any(u == upload and m != model for m, u in self.past.get(self.nodes[node], ()))

    def remember(self, node: int, model: str, upload: str) -> None:
        """Keep the hash of an upload."""
        seen = self.past.setdefault(self.nodes[node], [])
        if [model, upload] not in seen:
            seen.append([model, upload])
            del seen[:-REMEMBERED]

    def state(self) -> State:
        """Return everything that outlives the run."""
        return {
            "numbers": dict(self.numbers),
            "banned": dict(self.banned),
            "past": dict(self.past),
            "strikes": dict(self.strikes),
        }

    def load(self, state: State) -> None:
        """Take over a saved `state`."""
        self.numbers, self.banned = dict(state["numbers"]), dict(state["banned"])
        self.past = {k: [list(pair) for pair in v] for k, v in state["past"].items()}
        self.strikes = dict(state["strikes"])
