"""Default settings read from source: the same as those of the imported classes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fedsiege import registry, source
from fedsiege.arena.names import _defaults
from fedsiege.arena.settings import literal_defaults
from fedsiege.attacks.adaptive_wrapper import Adaptive
from fedsiege.attacks.noise_wrapper import SameNorm

KINDS: tuple[registry.Kind, ...] = ("attacks", "defenses", "models")
BUILT_IN = [(kind, entry) for kind in KINDS for entry in registry.entries(kind).values() if entry.path]


@pytest.mark.parametrize(("kind", "entry"), BUILT_IN, ids=lambda value: getattr(value, "name", ""))
def test_source_tells_what_the_class_has(kind: registry.Kind, entry: registry.Entry) -> None:
    assert literal_defaults(entry.module, entry.cls) == _defaults(registry.load(kind, entry.name))


def test_the_wrappers_of_attacks_are_read_too() -> None:
    adaptive, noise = (registry.WRAPPERS[name] for name in ("adaptive", "noise"))
    assert literal_defaults(*adaptive) == _defaults(Adaptive) == {"maximum": 10.0, "steps": 8, "benign": True}
    assert literal_defaults(*noise) == _defaults(SameNorm) == {}


def test_what_source_does_not_tell_is_left_to_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = (
        "from dataclasses import dataclass, field\n"
        "HERE: int = 3\n"
        "@dataclass\nclass Own:\n    a: int\n    b: tuple = (1, (2, 3))\n    c: int = HERE\n    d: float = -0.5\n"
        "@dataclass\nclass Inherits(Own):\n    b: str = 'x'\n    c: int\n"
        "class Plain(Own):\n    e: int = 1\n"
    )
    untold = (
        "from elsewhere import Base, LIMIT\n"
        "@dataclass\nclass Made(Own):\n    e: list = field(default_factory=list)\n"
        "@dataclass\nclass Brought(Own):\n    e: int = LIMIT\n"
        "@dataclass\nclass Derived(Base):\n    e: int = 1\n"
    )
    (tmp_path / "odd.py").write_text(told + untold)
    monkeypatch.setattr(source, "ROOT", tmp_path)
    source._own.cache_clear()
    literal_defaults.cache_clear()
    run: dict[str, type] = {}
    exec(told, run)
    for name in ("Own", "Inherits", "Plain"):
        assert literal_defaults("fedsiege.odd", name) == _defaults(run[name]), name
    assert literal_defaults("fedsiege.odd", "Own") == {"b": [1, [2, 3]], "c": 3, "d": -0.5}
    for name in ("Made", "Brought", "Derived", "Absent"):
        assert literal_defaults("fedsiege.odd", name) is None, name
    assert literal_defaults("fedsiege.absent", "X") is None
    assert literal_defaults("json", "JSONEncoder") is None
    source._own.cache_clear()
    literal_defaults.cache_clear()


def test_naming_runs_does_not_import_torch() -> None:
    code = (
        "import sys; from fedsiege.arena.names import label; from fedsiege import registry\n"
        "for kind in ('attacks', 'defenses'):\n"
        "    for name in registry.entries(kind): label(kind, {'name': name})\n"
        "label('attacks', {'name': 'adaptive(lie)', 'steps': 3, 'lie': {'z': 0.3}})\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
