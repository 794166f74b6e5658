"""What stored attacks and defenses are called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from fedsiege import registry
from fedsiege.arena.config import named, plugin
from fedsiege.arena.names import defaults, label, slug
from fedsiege.errors import ConfigError


def spec(kind: registry.Kind, given: Any) -> dict[str, Any]:
    return named(plugin(kind, given))


@pytest.mark.parametrize("kind", ["attacks", "defenses"])
def test_usual_settings_are_not_told(kind: registry.Kind) -> None:
    names = [name for name, entry in registry.entries(kind).items() if entry.path]
    assert len(names) > 10
    for name in names:
        try:
            usual = spec(kind, name)
        except ConfigError:  # It needs a setting.
            continue
        assert label(kind, usual) == name


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("attacks", {"name": "lie", "z": 0.25}, "lie (z=0.25)"),
        ("defenses", {"name": "multikrum", "weighting": "uniform"}, "multikrum (weighting=uniform)"),
        ("attacks", "adaptive(lie)", "adaptive(lie)"),
        ("attacks", {"name": "noise(lie)", "lie": {"z": 0.25}}, "noise(lie) (z=0.25)"),
        (
            "attacks",
            {"name": "noise(adaptive(lie))", "adaptive(lie)": {"steps": 4, "lie": {"z": 0.25}}},
            "noise(adaptive(lie)) (steps=4, z=0.25)",
        ),
        ("attacks", {"name": "adaptive(lie)", "steps": 4, "lie": {"z": 0.25}}, "adaptive(lie) (steps=4, z=0.25)"),
        ("defenses", "union+multikrum", "union+multikrum"),
        ("defenses", {"name": "union-memory+multikrum", "union-memory": {"drift": 0.75}},
         "union-memory+multikrum (drift=0.75)"),
    ],
)  # fmt: skip
def test_unusual_settings_are_told(kind: registry.Kind, given: Any, words: str) -> None:
    assert label(kind, spec(kind, given)) == words


def test_parts_that_share_a_setting_are_told_apart() -> None:
    made = {"name": "krum+multikrum", "krum": {"byzantine": 0.4}, "multikrum": {"byzantine": 0.2}}
    assert label("defenses", made) == "krum+multikrum (krum.byzantine=0.4, multikrum.byzantine=0.2)"


def test_all_is_told_of_what_is_not_known_here() -> None:
    assert label("attacks", {"name": "elsewhere", "a": 1, "b": [1, "x"]}) == "elsewhere (a=1, b=[1, x])"
    assert label("attacks", {"name": "elsewhere"}) == "elsewhere"


def test_lists_and_made_defaults_are_compared_as_they_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Odd:
        name: ClassVar[str] = "odd"
        steps: tuple[int, ...] = (1, 2)
        must: int = 3

    monkeypatch.setattr(registry, "_extra", {("attacks", "odd"): Odd})
    defaults.cache_clear()
    assert label("attacks", named(Odd())) == "odd"
    assert label("attacks", named(replace(Odd(), steps=(1,)))) == "odd (steps=[1])"
    defaults.cache_clear()


def test_names_of_folders() -> None:
    assert slug("lie (z=0.3, a=[1, 2])") == "lie(z=0.3,a=_1,2_)"
    assert slug("../../etc") == ".._.._etc"
    long = [slug("x" * 200 + end) for end in "ab"]
    assert len({*long}) == 2
    assert all(len(name) == 100 for name in long)
