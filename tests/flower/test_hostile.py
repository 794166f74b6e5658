"""Whatever one client sends, against every defense: the round goes on, with a verdict and without its upload."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsiege.defenses import Defense
from fedsiege.defenses.fl_trust import FLTrust
from fedsiege.defenses.flame import Flame
from fedsiege.defenses.krum import Krum
from fedsiege.defenses.median import Median
from fedsiege.defenses.multi_krum import MultiKrum
from fedsiege.defenses.none import FedAvg
from fedsiege.defenses.norm_bound import NormBound
from fedsiege.defenses.trimmed_mean import TrimmedMean
from fedsiege.flower.layout import Values, to_record, to_values
from tests.conformance.catalogue import LENIENT, label
from tests.flower import bench, hostile
from tests.flower.bench import HOSTILE, SERVED, HostileGrid, answer, defended, finite, honest, model, one_round, same

every = pytest.mark.parametrize("defense", SERVED, ids=label)


def sends(how: hostile.Spoil) -> bench.Spoil:
    """A node that sends the same kind of thing in every round."""
    return lambda round_, message, values: [hostile.spoil(answer(message, values), how, values)]


def verdict(entry: dict[str, Any], node: int = HOSTILE) -> dict[str, Any]:
    (found,) = [one for one in entry["uploads"] if one["node"] == node]
    return found


def run(defense: Defense, grid: bench.LocalGrid, rounds: int) -> tuple[list[Values | None], list[dict[str, Any]]]:
    strategy, values = defended(defense), model()
    models: list[Values | None] = []
    for round_ in range(1, rounds + 1):
        new = one_round(strategy, grid, values, round_)
        models.append(new)
        values = values if new is None else new
    return models, strategy.history


@every
def test_unusable_uploads_change_nothing(defense: Defense) -> None:
    """Every malformed and unusable upload, twice: the models are bit for bit those of a run without these nodes."""
    spoils = {**hostile.MALFORMED, **hostile.BAD_VALUES}
    got, history = run(defense, HostileGrid(*map(sends, spoils.values())), 2)
    expected, _ = run(defense, bench.without_hostile(), 2)
    for entry, mine, theirs in zip(history, got, expected):
        for place, name in enumerate(spoils):
            said = verdict(entry, HOSTILE + place)
            assert not said["accepted"], name
            wanted = ("malformed: ",) if name in hostile.MALFORMED else ("non-finite", "replay: ")
            assert said["reason"].startswith(wanted), (name, said)
        assert not entry["failed"], entry["why"]
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert same(mine, theirs)
            assert finite(mine)


@every
def test_strange_uploads_stop_nothing(defense: Defense) -> None:
    """Uploads of strange but usable values, each in a run of its own: no failure, and a model that stays finite."""
    for name, spoil in hostile.STRANGE.items():
        models, history = run(defense, HostileGrid(sends(spoil)), 1)
        assert not history[0]["failed"], (name, history[0]["why"])
        assert not history[0]["why"].startswith("the aggregate"), (name, history[0]["why"])
        assert isinstance(verdict(history[0])["reason"], str)
        assert models[0] is None or finite(models[0])


@pytest.mark.parametrize("defense", [Krum(), MultiKrum(), MultiKrum(byzantine=0.3)], ids=label)
def test_a_large_upload_is_rejected(defense: Defense) -> None:
    _, history = run(defense, HostileGrid(sends(hostile.STRANGE["large"])), 1)
    assert not verdict(history[0])["accepted"]


@pytest.mark.parametrize("defense", [Median(), TrimmedMean()], ids=label)
def test_a_large_upload_leaves_each_coordinate_among_the_honest(defense: Defense) -> None:
    models, _ = run(defense, HostileGrid(sends(hostile.STRANGE["large"])), 1)
    each = [honest(model(), node, 1) for node in bench.HONEST]
    assert models[0] is not None
    for name, value in models[0].items():
        if value.dtype.kind == "f" and value.size:
            low, high = (fn([one[name] for one in each], axis=0) for fn in (np.min, np.max))
            slack = 1e-6 if value.dtype != np.float16 else 2e-3
            assert (value >= low - slack).all()
            assert (value <= high + slack).all()


def moved(new: Values | None) -> float:
    """How far a model has moved."""
    assert new is not None
    before = model()
    return float(
        np.sqrt(sum(((new[k].astype(float) - before[k]) ** 2).sum() for k in before if before[k].dtype.kind == "f"))
    )


def test_a_large_upload_moves_the_model_as_far_as_promised() -> None:
    large = HostileGrid(sends(hostile.STRANGE["large"]))
    assert moved(run(NormBound(bound=0.3), large, 1)[0][0]) <= 0.3 + 1e-2
    own = bench.root(to_record(model()), 1)
    assert moved(run(FLTrust(), large, 1)[0][0]) <= moved(to_values(own)) + 1e-2
    honest_norms = [moved(honest(model(), node, 1)) for node in bench.HONEST]
    assert moved(run(Flame(noise=0.0), large, 1)[0][0]) <= np.median(honest_norms) + 1e-2


def test_a_huge_sample_count_weighs_no_more_than_the_cap() -> None:
    _, history = run(FedAvg(), HostileGrid(sends(hostile.STRANGE["count huge"])), 1)
    said = verdict(history[0])
    counts = np.sort([5.0 + node % 7 for node in bench.HONEST])
    limit = 2 * np.sort([*counts, 1e9])[4]
    assert said["weight"] == pytest.approx(limit / (limit + counts.sum()))
    assert said["reason"] == "sample count of 1e+09 cut down"


NAMES = [*model(), "other", "", "items/0", "\x00"]
DTYPES = ["float16", "float32", "float64", "int64", "bool", "uint8", ">f4", "object", "complex64", "", "float128x"]


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """An array with claims and bytes that may or may not agree with anything."""
    actual = draw(st.sampled_from([*DTYPES[:6], "complex64", ">f4"]))
    shape = tuple(draw(st.lists(st.integers(0, 12), max_size=3)))
    kind = np.dtype(actual)
    size = int(np.prod(shape, dtype=int)) * kind.itemsize
    raw = draw(st.binary(min_size=min(size, 64), max_size=min(size, 64))).ljust(size, b"\x01")[:size]
    data = hostile.npy(np.frombuffer(raw, kind).reshape(shape))
    if draw(st.booleans()):
        cut, extra = draw(st.integers(0, 40)), draw(st.binary(max_size=16))
        place = draw(st.integers(0, len(data)))
        data = draw(st.sampled_from([data[:-cut] if cut else data, data + extra, data[:place] + extra + data[place:]]))
    claimed = draw(st.sampled_from([actual, *DTYPES]))
    says = draw(st.sampled_from([shape, shape[::-1], (*shape, 1), (12, 8), (-1,), (2**62, 2**62)]))
    return Array(claimed, says, draw(st.sampled_from(["numpy.ndarray", "numpy.ndarray", "pickle", ""])), data)


@st.composite
def contents(draw: st.DrawFn) -> RecordDict:
    """A reply: honest arrays of which some are replaced, dropped or added, and metrics of any kind."""
    values = honest(model(), HOSTILE, 1)
    record = to_record(values)
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True)):
        if name in values and draw(st.booleans()):
            held = values[name]
            number = draw(st.floats(width=16 if held.dtype == np.float16 else 32))
            with np.errstate(all="ignore"):
                record[name] = Array(np.asarray(np.full_like(held, number if held.dtype.kind == "f" else 1)))
        elif name in values and draw(st.booleans()):
            del record[name]
        else:
            record[name] = draw(arrays())
    numbers = st.one_of(st.integers(-3, 2**80), st.floats(), st.lists(st.floats(), max_size=3))
    metrics: dict[str, Any] = draw(st.dictionaries(st.sampled_from(["loss", "acc", "num-examples"]), numbers))
    parts: dict[str, Any] = {"arrays": record, "metrics": MetricRecord({"num-examples": 9, **metrics})}
    if draw(st.integers(0, 9)) == 0:
        parts[draw(st.sampled_from(["arrays", "metrics", "third"]))] = draw(
            st.sampled_from([ArrayRecord(), MetricRecord()])
        )
    return RecordDict(parts)


@cache
def made_up() -> list[list[RecordDict]]:
    """Twelve rounds of ten uploads each, made by hypothesis, the same for every defense."""
    found: list[list[RecordDict]] = []

    @given(made=st.lists(contents(), min_size=10, max_size=10))
    @settings(max_examples=12, deadline=None, derandomize=True, database=None)
    def collect(made: list[RecordDict]) -> None:
        found.append(made)

    collect()
    return found


def sender(content: RecordDict) -> bench.Spoil:
    return lambda round_, message, values: [Message(content, reply_to=message)]


def silent(round_: int, message: Message, values: Values) -> list[Message]:
    return []


@every
def test_made_up_uploads(defense: Defense) -> None:
    """Ten at a time: the model is bit for bit what it is without those that are turned down as unusable, which says
    why, and it stays finite.
    """
    unusables = usables = 0
    for made in made_up()[: 3 if defense.needs & {"virtual"} else None]:
        strategy = defended(defense)
        new = one_round(strategy, HostileGrid(*map(sender, made)), model())
        entry = strategy.history[0]
        assert not entry["failed"], entry["why"]
        assert new is None or finite(new)
        said = [verdict(entry, HOSTILE + place) for place in range(len(made))]
        unusable = [one["reason"].startswith(("malformed: ", "non-finite")) for one in said]
        assert not any(one["accepted"] for one, bad in zip(said, unusable) if bad)
        unusables, usables = unusables + sum(unusable), usables + len(made) - sum(unusable)
        rest = [silent if bad else sender(content) for content, bad in zip(made, unusable)]
        expected = one_round(defended(defense), HostileGrid(*rest), model())
        assert (new is None) == (expected is None)
        if new is not None and expected is not None:
            assert same(new, expected)
    assert unusables >= 10
    assert usables >= 1


def test_the_lenient_reconstruction_is_among_them() -> None:
    assert LENIENT in SERVED
