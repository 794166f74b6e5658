"""Clients' own metrics: averaged over accepted uploads, and evaluation replies made fit for Flower's averaging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from flwr.app import Message, MetricRecord, RecordDict

from fedsiege.errors import UploadError
from fedsiege.flower.counts import SampleCap
from fedsiege.flower.parse import only, read_count, read_metrics

Metrics = Mapping[str, float | list[float]]


def _width(value: float | list[float]) -> int | None:
    return len(value) if isinstance(value, list) else None


def averaged(reports: Sequence[Metrics], weights: np.ndarray) -> dict[str, float | list[float]]:
    """Return means over the clients that report a metric, for metrics that at least half of them report alike.

    Parameters
    ----------
    reports : sequence of mappings
        Finite metrics of each client.
    weights : numpy.ndarray
        float64 ``(n,)``, not negative.
    """
    kinds = Counter((name, _width(value)) for one in reports for name, value in one.items())
    out: dict[str, float | list[float]] = {}
    for (name, width), seen in sorted(kinds.items(), key=lambda kind: (kind[1], str(kind[0]))):
        if 2 * seen < len(reports):
            continue
        mine = [i for i, one in enumerate(reports) if name in one and _width(one[name]) == width]
        share = weights[mine] if weights[mine].sum() > 0 else np.ones(len(mine))
        table = np.array([reports[i][name] for i in mine], np.float64)
        mean = np.tensordot(share / share.sum(), table, 1)
        out[name] = float(mean) if width is None else [float(x) for x in mean]
    return out


def fit_for_averaging(
    replies: Iterable[Message], asked: Iterable[int], key: str, cap: SampleCap
) -> tuple[list[Message], dict[int, str]]:
    """Return the evaluation replies that can be averaged, counts capped, and why others cannot, by node.

    Flower stops a run whose replies report different metrics; here the set that most replies share is kept, and
    each of them is cut down to it.
    """
    allowed = set(asked)
    good: list[tuple[Message, float, Metrics]] = []
    bad: dict[int, str] = {}
    for reply in sorted(replies, key=lambda r: r.metadata.src_node_id):
        node = reply.metadata.src_node_id
        if reply.has_error():
            continue
        if node not in allowed:
            bad[node] = "not asked, or more than once"
            continue
        allowed.discard(node)
        try:
            if not reply.has_content():
                raise UploadError("it is empty")
            record = only(reply.content, MetricRecord, "MetricRecord")
            good.append((reply, read_count(record, key), read_metrics(record, key)))
        except UploadError as error:
            bad[node] = f"malformed: {error}"
    if not good:
        return [], bad
    common = Counter(frozenset((n, _width(v)) for n, v in metrics.items()) for _, _, metrics in good)
    kinds = max(common, key=lambda kind: (common[kind], len(kind), sorted(map(str, kind))))
    names = sorted(name for name, _ in kinds)
    fits = [kinds <= {(n, _width(v)) for n, v in metrics.items()} for _, _, metrics in good]
    bad |= {
        r.metadata.src_node_id: "malformed: its metrics are not the others'"
        for (r, _, _), ok in zip(good, fits)
        if not ok
    }
    kept = [one for one, ok in zip(good, fits) if ok]
    believed = cap.believed(np.array([count for _, count, _ in kept]))
    out = []
    for (reply, _, metrics), count in zip(kept, believed.tolist()):
        record = MetricRecord({**{name: metrics[name] for name in names}, key: count})
        out.append(Message(RecordDict({"metrics": record}), metadata=reply.metadata))  # type: ignore[call-overload]
    return out, bad
