"""The wrapped strategy as a server optimizer: it is handed one synthetic reply, global model plus aggregate."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy

from fedsiege.errors import ConfigError
from fedsiege.flower.layout import Layout, Values, to_record, to_values

UNFIT = {
    "MultiKrum": "judges uploads itself",
    "Bulyan": "judges uploads itself",
    "FedMedian": "aggregates uploads itself",
    "FedTrimmedAvg": "aggregates uploads itself",
    "QFedAvg": "weighs uploads by their losses",
    "FedXgbBagging": "aggregates trees and not arrays",
    "FedXgbCyclic": "passes trees on and does not aggregate",
    "DifferentialPrivacyServerSideFixedClipping": "clips every upload by itself",
    "DifferentialPrivacyServerSideAdaptiveClipping": "clips every upload by itself",
    "DifferentialPrivacyClientSideFixedClipping": "counts uploads to size its noise",
    "DifferentialPrivacyClientSideAdaptiveClipping": "counts uploads to size its noise",
}
"""Flower's own strategies that mean nothing when all they see is one finished aggregate, and why."""


def check_inner(inner: Strategy) -> None:
    """Raise ConfigError if `inner` is a strategy that needs the single uploads."""
    for cls in type(inner).__mro__:
        if cls.__name__ in UNFIT and cls.__module__.startswith("flwr."):
            raise ConfigError(
                f"{type(inner).__name__} {UNFIT[cls.__name__]}, but behind a defense it sees one aggregate; wrap "
                "FedAvg, FedAvgM, FedProx, FedAdam, FedYogi or FedAdagrad"
            )


def weight_key(inner: Strategy) -> str:
    """Return the metric by which clients declare their sample counts."""
    return str(getattr(inner, "weighted_by_key", "num-examples"))


def learning_rate(inner: Strategy) -> float:
    """Return the server's learning rate; 1 for plain averaging."""
    return float(getattr(inner, "eta", getattr(inner, "server_learning_rate", 1.0)))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Flower from logging that there was one reply, which is ours."""
    logger = logging.getLogger("flwr")
    drop = lambda record: record.levelno > logging.INFO  # noqa: E731
    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)


def synthetic_reply(inner: Strategy, arrays: ArrayRecord, metrics: Mapping[str, Any]) -> Message:
    """Return one reply of weight 1 that carries `arrays`."""
    record = MetricRecord({**metrics, weight_key(inner): 1.0})
    content = RecordDict({str(getattr(inner, "arrayrecord_key", "arrays")): arrays, "metrics": record})
    about = Metadata(0, "", 0, 0, "", "", 0.0, 1.0, "train")
    return Message(content, metadata=about)  # type: ignore[call-overload]


def _countable(values: Mapping[str, np.ndarray]) -> Values:
    """Return a model whose bools are small integers: NumPy subtracts no bools, and strategies subtract all arrays."""
    return {name: value.astype(np.uint8) if value.dtype == bool else value for name, value in values.items()}


def make_countable(inner: Strategy) -> None:
    """Do the same to the model that a strategy has put by for later."""
    for key, held in inner.__dict__.items():
        if isinstance(held, ArrayRecord):
            if any(array.dtype == "bool" for array in held.values()):
                inner.__dict__[key] = to_record(_countable(to_values(held)))
        elif isinstance(held, dict) and any(isinstance(v, np.ndarray) and v.dtype == bool for v in held.values()):
            inner.__dict__[key] = _countable(held)


def hand_over(
    inner: Strategy, layout: Layout, round_: int, values: Values, metrics: Mapping[str, Any]
) -> tuple[Values | None, MetricRecord | None]:
    """Let `inner` aggregate a single reply; return the new model and its metrics.

    Buffers and dtypes stay the model's own. If what comes out is not finite, `inner` is put back to where it was and
    there is no new model.
    """
    before = dict(inner.__dict__)
    make_countable(inner)
    with quiet(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        out, seen = inner.aggregate_train(round_, [synthetic_reply(inner, to_record(_countable(values)), metrics)])
        if out is None:
            return None, seen
        kept = {
            info.name: np.asarray(out[info.name].numpy(), info.dtype) if info.learnt else values[info.name]
            for info in layout.arrays
        }
    if not finite(kept):
        inner.__dict__.clear()
        inner.__dict__.update(before)
        return None, seen
    return kept, seen


def finite(values: Mapping[str, np.ndarray]) -> bool:
    """Tell whether all floats of a model are finite."""
    return all(bool(np.isfinite(value).all()) for value in values.values() if value.dtype.kind == "f")


def flowers_own(inner: Strategy) -> type[Strategy]:
    """Return the class of Flower's whose `aggregate_train` is at the bottom of `inner`.

    Raises
    ------
    ConfigError
        If there is none: `inner` aggregates in its own way altogether.
    """
    for cls in type(inner).__mro__:
        found = cls.__dict__.get("aggregate_train")
        if cls.__module__.startswith("flwr.") and found and not getattr(found, "__isabstractmethod__", False):
            return cls
    raise ConfigError(
        f"the defense looks ahead at the server's step, but {type(inner).__name__} makes it in its own way and not in "
        "one of Flower's; derive it from FedAvg, FedAvgM, FedAdam, FedYogi or FedAdagrad, or simulate a plain step: "
        'simulate="sgd"'
    )


def move(inner: Strategy, round_: int, values: Values, name: str, rows: np.ndarray, update: np.ndarray) -> np.ndarray:
    """Return the move that `inner` would make in `rows` of a table under `update` alone, float64 ``(k, dim)``.

    A copy of `inner` is shown a model of these rows and no others. That is exact for every strategy that treats
    coordinates alone, as all of FedAvg's kin do. A subclass of the user's may load the model, save it or count rounds
    where it aggregates; its own `aggregate_train` is passed by, and the step is that of Flower's class below it.

    Parameters
    ----------
    inner : Strategy
        The wrapped strategy; unchanged.
    round_ : int
        Number of the round.
    values : mapping of str to numpy.ndarray
        The whole model.
    name : str
        The table.
    rows : numpy.ndarray
        int64 ``(k,)``; may repeat.
    update : numpy.ndarray
        ``(k, dim)``.
    """
    part = copy.copy(inner)
    place, shape = list(values).index(name), values[name].shape
    for key, held in list(part.__dict__.items()):
        if isinstance(held, ArrayRecord) and name in held:
            part.__dict__[key] = to_record({name: held[name].numpy()[rows].astype(np.float64)})
        elif isinstance(held, dict) and isinstance(held.get(name), np.ndarray) and held[name].shape == shape:
            part.__dict__[key] = {name: held[name][rows].astype(np.float64)}
        elif isinstance(held, list) and len(held) == len(values) and getattr(held[place], "shape", None) == shape:
            part.__dict__[key] = [held[place][rows].astype(np.float64)]
    if hasattr(part, "train_metrics_aggr_fn"):
        # The user's, too, and there are no metrics.
        part.__dict__["train_metrics_aggr_fn"] = lambda contents, key: MetricRecord()
    base = values[name][rows].astype(np.float64)
    alone = [synthetic_reply(inner, to_record({name: base + update}), {})]
    with quiet():
        out, _ = flowers_own(inner).aggregate_train(part, round_, alone)
    return np.zeros_like(base) if out is None else out[name].numpy().astype(np.float64) - base
