"""Client-side halves of defenses, as Flower client mods: an app adds one in a line.

UNION asks clients for a contrastive task on their items, FL-WBC for noise where an attack could hide. Both go
between the app's training function and the network, whatever the app trains with.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from fedsiege.defenses.base import ClientHalf, Defense
from fedsiege.errors import ConfigError
from fedsiege.flower.layout import Layout, Values, to_record, to_values
from fedsiege.flower.stack import stack
from fedsiege.kernels.rowsets import row_sets
from fedsiege.learners.base import ItemTask
from fedsiege.rng import client_keys
from fedsiege.updates import RowBlock, UpdateBatch
from fedsiege.updates.block import Block

Seen = Callable[[Context], Mapping[int, np.ndarray]]
"""The items that each user on a node has seen, by user id."""


def _half(defense: Defense) -> ClientHalf:
    half = defense.client_half()
    if half is None:
        raise ConfigError(f"defense {defense.name!r} asks nothing of clients, so it needs no mod")
    return half


def _arrays(content: RecordDict) -> tuple[str, ArrayRecord]:
    """Return name and record of the model in a message (ConfigError unless there is exactly one)."""
    found = [(key, record) for key, record in content.items() if isinstance(record, ArrayRecord)]
    if len(found) != 1:
        raise ConfigError(f"a mod of FedSiege expects one ArrayRecord in a message, and found {len(found)}")
    return found[0]


def _round(message: Message) -> int:
    """Return the number of the round: Flower's strategies send it in the configuration."""
    for record in message.content.config_records.values():
        if "server-round" in record:
            return int(cast(int, record["server-round"]))
    tag = message.metadata.group_id
    return int(tag) if tag.isdigit() else 0


def _is_training(message: Message) -> bool:
    return message.metadata.message_type.split(".")[0] == MessageType.TRAIN


def _held(user: int, seen: Any, rows: int, name: str) -> np.ndarray:
    """Return a user's items, each once, in their order (ConfigError unless they are rows of the table)."""
    items = np.asarray(seen)
    if not items.size:
        return np.empty(0, np.int32)
    if items.ndim != 1 or items.dtype.kind not in "iu":
        raise ConfigError(f"seen must list the items of user {user} as integers; it gives {items.dtype} {items.shape}")
    wrong = items[(items < 0) | (items >= rows)]
    if wrong.size:
        raise ConfigError(f"user {user} has seen item {wrong[0]}, but table {name!r} has {rows} rows: ids count from 0")
    _, first = np.unique(items, return_index=True)
    return items[np.sort(first)].astype(np.int32)


def task_direction(
    task: ItemTask, table: np.ndarray, users: Mapping[int, np.ndarray], seed: int, round_: int, name: str = "items"
) -> Any:
    """Return the sum over users of minus the gradient of `task` alone, float32, in the shape of `table`.

    Parameters
    ----------
    task : ItemTask
        The extra objective.
    table : numpy.ndarray
        ``(items, dim)``: the table as received.
    users : mapping of int to numpy.ndarray
        Items that each user has seen: rows of the table, from 0. Repeats count once.
    seed, round_ : int
        Address of the draws.
    name : str
        Name of the table, for the error.

    Raises
    ------
    ConfigError
        If an item is no row of the table: the draws would reach beyond its memory.
    """
    ids = np.array(sorted(users), np.int64)
    held = [_held(int(i), users[int(i)], table.shape[0], name) for i in ids]
    indptr = np.concatenate([[0], np.cumsum([h.size for h in held])]).astype(np.int64)
    items = np.concatenate([*held, np.empty(0, np.int32)]).astype(np.int32)
    ptr, draws = task.draw(indptr, items, np.arange(ids.size), client_keys(seed, "task", round_, ids), table.shape[0])
    width = draws.shape[1]
    none = np.zeros(ids.size + 1, np.int64)
    ends, rows, _, slots = row_sets(none, np.empty(0, np.int32), ptr * width, draws.reshape(-1), table.shape[0])
    values = np.zeros((rows.size, table.shape[1]), np.float32)
    task.accumulate(ptr, slots.reshape(-1, width), np.asarray(table, np.float32), ends, rows, values)
    total = np.zeros(table.shape, np.float32)
    np.add.at(total, rows, values)
    return total


def union_mod(defense: Defense, table: str, seen: Seen, *, lr: float = 1.0, seed: int | None = None) -> Mod:
    """Return a mod that adds a defense's contrastive task on the item table to what the app uploads.

    The app trains as ever; then one descent step of the task, taken at the table as received, is added to its table.
    Users of a node add up.

    Parameters
    ----------
    defense : Defense
        `Union`, `UnionMemory` or a pipeline with one of them, with the parameters that the server uses.
    table : str
        Name of the array that is the item table.
    seen : callable
        Given the node's context: items that each of its users has seen, by user id. Items are rows of the table,
        counted from 0.
    lr : float
        Step size: what the app multiplies a user's gradient with before it uploads.
    seed : int, optional
        Address of the draws; None: drawn anew when the mod is made.
    """
    task = _half(defense).task
    if task is None:
        raise ConfigError(f"defense {defense.name!r} asks clients for no extra task")
    own = secrets.randbits(62) if seed is None else seed

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if not _is_training(message):
            return call_next(message, context)
        received = _arrays(message.content)[1][table].numpy()
        round_ = _round(message)
        reply = call_next(message, context)
        if reply.has_error() or not reply.has_content():
            return reply
        key, record = _arrays(reply.content)
        values = to_values(record)
        step = lr * task_direction(task, received, seen(context), own, round_, table)
        values[table] = (values[table] + step).astype(values[table].dtype)
        reply.content[key] = to_record(values)
        return reply

    return mod


def _as_updates(layout: Layout, sent: Values, received: Values, client: int) -> UpdateBatch:
    return stack(layout, sent, [received], [client], np.ones(1))


def _on_rows_of(block: Block, values: np.ndarray, sent: np.ndarray) -> Block:
    """Return ``values − sent`` on the rows that `block` lists."""
    assert isinstance(block, RowBlock)
    rows = block.rows.numpy()
    moved = torch.from_numpy(np.asarray(values[rows] - sent[rows], block.values.numpy().dtype))
    return RowBlock(block.indptr, block.rows, moved, block.num_rows)


def wbc_mod(defense: Defense, *, items: str | None = None, seed: int | None = None) -> Mod:
    """Return a mod that perturbs what the app uploads, as FL-WBC asks of honest clients.

    The app's training function runs twice: once for the upload, and once more from where that leads, which tells
    where its steps hardly change. The second run gets a copy of the context, so it leaves no trace.

    Parameters
    ----------
    defense : Defense
        `FLWBC`, or a pipeline with it.
    items : str, optional
        Name of an item table: only the rows that the upload touches are perturbed.
    seed : int, optional
        Address of the noise, which is told apart by node; None: drawn anew when the mod is made.
    """
    half = _half(defense)
    if not half.transforms:
        raise ConfigError(f"defense {defense.name!r} transforms no uploads")
    own = secrets.randbits(62) if seed is None else seed

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if not _is_training(message):
            return call_next(message, context)
        key, record = _arrays(message.content)
        sent = to_values(record)
        layout = Layout.of(sent, items)
        # The app may write into what it is given.
        again = RecordDict({name: one.copy() for name, one in message.content.items()})
        aside = copy.deepcopy(context)
        reply = call_next(message, context)
        if reply.has_error() or not reply.has_content():
            return reply
        place, trained = _arrays(reply.content)
        first = to_values(trained)
        updates = _as_updates(layout, sent, first, context.node_id)
        ahead = None
        if half.wants_next:
            again[key] = trained.copy()
            aside.state = copy.deepcopy(context.state)
            further = call_next(Message(again, metadata=message.metadata), aside)  # type: ignore[call-overload]
            if further.has_error() or not further.has_content():
                return further
            second = to_values(_arrays(further.content)[1])
            ahead = _as_updates(layout, first, second, context.node_id)
            if items is not None:
                blocks = dict(ahead.blocks)
                blocks[items] = _on_rows_of(updates.blocks[items], second[items], first[items])
                ahead = UpdateBatch(ahead.clients, ahead.counts, blocks)
        changed = half.transform(updates, ahead, own, _round(message))
        reply.content[place] = to_record({**first, **_learnt(layout, layout.step(sent, changed.blocks))})
        return reply

    return mod


def _learnt(layout: Layout, values: Values) -> Values:
    """Return the learnt arrays of a model; buffers stay as the app has left them."""
    return {info.name: values[info.name] for info in layout.learnt}
