"""A trusted app's own messages as arrays, and rewritten arrays as messages again."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

from fedsiege.flower.layout import Values, to_record, to_values

COUNT = "num-examples"
"""Metric in which clients declare their sample counts, as Flower's strategies read it."""


def is_training(message: Message) -> bool:
    """Tell whether a message asks for training, or answers such a message."""
    return message.metadata.message_type.split(".")[0] == "train"


def arrays_key(message: Message) -> str | None:
    """Return the key of the one `ArrayRecord` of a message; None if it has no content, none or several."""
    if not message.has_content():
        return None
    keys = [key for key, record in message.content.items() if isinstance(record, ArrayRecord)]
    return keys[0] if len(keys) == 1 else None


def values_of(message: Message) -> Values | None:
    """Return the arrays that a message carries; None if it carries no model."""
    key = arrays_key(message)
    return None if key is None else to_values(message.content[key])  # type: ignore[arg-type]


def count_of(reply: Message, key: str = COUNT) -> float:
    """Return the sample count that a reply declares, 1 if it declares none."""
    for record in reply.content.values():
        if isinstance(record, MetricRecord) and key in record:
            value = record[key]
            return float(value) if isinstance(value, int | float) else 1.0
    return 1.0


def rewritten(
    reply: Message, values: Mapping[str, object], count: float | None = None, count_key: str = COUNT
) -> Message:
    """Return `reply` with other arrays and, if given, another sample count (an integer stays one)."""
    key = arrays_key(reply)
    assert key is not None
    content = RecordDict({name: record.copy() for name, record in reply.content.items()})
    content[key] = to_record(values)  # type: ignore[arg-type]
    if count is not None:
        for record in content.values():
            if isinstance(record, MetricRecord) and count_key in record:
                whole = isinstance(record[count_key], int) and float(count).is_integer()
                record[count_key] = int(count) if whole else float(count)
    return Message(content, metadata=reply.metadata)  # type: ignore[call-overload]
