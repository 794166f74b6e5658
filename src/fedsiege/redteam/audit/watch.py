"""Flower's strategies under observation: what an app's own strategy measures, and a defense in front of it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flwr.serverapp.strategy import Result, Strategy

from fedsiege.flower.inner import weight_key
from fedsiege.flower.strategy import DefendedStrategy
from fedsiege.redteam.records import COUNT

Rounds = dict[int, dict[str, float]]
"""Metrics by round."""
HOOKS = ("configure_train", "aggregate_train", "configure_evaluate", "aggregate_evaluate")


@dataclass
class Seen:
    """What a run of an app has shown.

    Parameters
    ----------
    server, clients : dict
        Metrics of the server's own evaluation and of the clients' (as the strategy averages them), by round.
    train : dict
        Training metrics, by round.
    seconds : list of float
        Time that each round's aggregation took.
    strategy : str
        Name of the app's strategy class.
    count_key : str
        Metric by which that strategy weighs replies.
    defended : DefendedStrategy or None
        The defense that stood before it.
    ended : bool
        Whether the strategy has come to its end.
    """

    server: Rounds = field(default_factory=dict)
    clients: Rounds = field(default_factory=dict)
    train: Rounds = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    strategy: str = ""
    count_key: str = COUNT
    defended: DefendedStrategy | None = None
    ended: bool = False


def numbers(record: Any) -> dict[str, float]:
    """Return the metrics of a record as numbers; a list counts as its mean."""
    out = {}
    for name, value in dict(record).items():
        plain = [float(v) for v in value] if isinstance(value, list) else [float(value)]
        out[str(name)] = sum(plain) / len(plain) if plain else math.nan
    return out


def _note(seen: Seen, result: Result) -> None:
    seen.server |= {int(r): numbers(m) for r, m in result.evaluate_metrics_serverapp.items()}
    seen.clients |= {int(r): numbers(m) for r, m in result.evaluate_metrics_clientapp.items()}
    seen.train |= {int(r): numbers(m) for r, m in result.train_metrics_clientapp.items()}


def _timed(seen: Seen, strategy: Strategy) -> None:
    """Measure `aggregate_train` of one strategy object."""
    inner = strategy.aggregate_train

    def aggregate_train(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return inner(*args, **kwargs)
        finally:
            seen.seconds.append(time.perf_counter() - started)

    strategy.aggregate_train = aggregate_train  # type: ignore[method-assign]


def _in_front(defended: DefendedStrategy, strategy: Strategy) -> None:
    """Lead the four calls of `strategy`, which has a loop of its own, through the defense."""
    for name in HOOKS:
        setattr(strategy, name, getattr(defended, name))


def _classes(cls: type[Any]) -> Iterator[type[Any]]:
    for below in cls.__subclasses__():
        yield below
        yield from _classes(below)


@contextmanager
def watched(defend: Callable[[Strategy], DefendedStrategy] | None) -> Iterator[Seen]:
    """Observe every strategy that is started inside; put what `defend` makes of it in front of its replies.

    Strategies without a `start` of their own run as the documentation says, ``DefendedStrategy(strategy, …).start(…)``.
    Classes that are made inside (an app's own) must exist by the time this is entered.
    """
    seen = Seen()
    known: list[type[Any]] = [Strategy, *_classes(Strategy)]
    originals: dict[type[Any], Any] = {cls: cls.__dict__["start"] for cls in known if "start" in cls.__dict__}
    busy = False

    def start_of(original: Callable[..., Result]) -> Callable[..., Result]:
        def start(self: Strategy, *args: Any, **kwargs: Any) -> Result:
            nonlocal busy
            if busy:
                return original(self, *args, **kwargs)
            busy = True
            try:
                seen.strategy, seen.count_key = type(self).__name__, weight_key(self)
                run: Callable[..., Result] = lambda *a, **k: original(self, *a, **k)  # noqa: E731
                timed = self
                if defend is not None and original is originals[Strategy]:
                    seen.defended = timed = defend(self)
                    run = originals[DefendedStrategy].__get__(timed)
                elif defend is not None:
                    seen.defended = defend(copy.copy(self))
                    _in_front(seen.defended, self)
                _timed(seen, timed)
                result = run(*args, **kwargs)
                if isinstance(result, Result):
                    _note(seen, result)
                seen.ended = True
                return result
            finally:
                busy = False

        return start

    for cls, original in originals.items():
        cls.start = start_of(original)
    try:
        yield seen
    finally:
        for cls, original in originals.items():
            cls.start = original
