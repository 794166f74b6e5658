"""Malformed uploads, as one broken or hostile client sends them: each breaks one promise of a reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from flwr.app import Message, MetricRecord, RecordDict

from fedsiege.flower.layout import Values
from fedsiege.redteam.records import rewritten, values_of


@dataclass(frozen=True)
class Hostile:
    """A way to spoil a reply.

    Parameters
    ----------
    name : str
        Name on the command line and in the score card.
    summary : str
        What it does, in a few words.
    spoil : callable
        Given a reply that carries a model and the metric that declares sample counts (the strategy's
        ``weighted_by_key``), the spoilt one.
    """

    name: str
    summary: str
    spoil: Callable[[Message, str], Message]


def _on_floats(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Message, str], Message]:
    """Return a spoiler that changes the first array of floats."""

    def spoil(reply: Message, count_key: str) -> Message:
        values: Values = dict(values_of(reply) or {})
        name = next((n for n, v in values.items() if v.dtype.kind == "f" and v.size), None)
        if name is not None:
            values[name] = change(values[name])
        return rewritten(reply, values)

    return spoil


def _one_nan(value: np.ndarray) -> np.ndarray:
    out = value.copy()
    out.reshape(-1)[0] = np.nan
    return out


def _extra(reply: Message, count_key: str) -> Message:
    values: Values = dict(values_of(reply) or {})
    return rewritten(reply, {**values, "uninvited": np.ones(3, np.float32)})


def _uncounted(reply: Message, count_key: str) -> Message:
    content = RecordDict({key: record.copy() for key, record in reply.content.items()})
    for record in content.values():
        if isinstance(record, MetricRecord) and count_key in record:
            del record[count_key]
    return Message(content, metadata=reply.metadata)  # type: ignore[call-overload]


HOSTILE: dict[str, Hostile] = {
    h.name: h
    for h in (
        Hostile("nan", "one value of the upload is NaN", _on_floats(_one_nan)),
        Hostile("shape", "an array has another shape", _on_floats(lambda v: np.concatenate([v.reshape(-1)] * 2))),
        Hostile("extra", "an array that the model does not have", _extra),
        Hostile("uncounted", "the sample count is missing", _uncounted),
    )
}
"""The ways to spoil a reply by name."""
