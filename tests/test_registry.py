"""Names of plug-ins: read from source, taken from files, from entry points and from this process."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fedsiege import registry
from fedsiege.errors import ConfigError

ATTACK = '''"""A plug-in of a user."""

from dataclasses import dataclass
from typing import ClassVar

from fedsiege.attacks import AttackBase, Knowledge


@dataclass(frozen=True)
class Loud(AttackBase):
    """Loud: uploads a multiple of what it would upload honestly.

    Reference: nobody,
    2026, page 1.

    A paragraph that does not belong to the reference.
    """

    name: ClassVar[str] = "loud"
    knowledge: ClassVar[Knowledge] = Knowledge.NONE
    factor: float = 2.0
'''


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the process's registry as it was."""
    monkeypatch.setattr(registry, "_extra", dict(registry._extra))
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


@pytest.mark.parametrize("kind", ["attacks", "defenses", "models"])
def test_builtin_names_load_to_classes_of_that_name(kind: registry.Kind) -> None:
    known = registry.entries(kind)
    assert known
    for name, entry in known.items():
        cls = registry.load(kind, name)
        assert cls.name == name
        assert cls.__name__ == entry.cls
        # Read from source, a base class's included, as Python itself would find them.
        assert entry.capabilities == tuple(sorted(getattr(cls, "provides" if kind == "models" else "needs")))


def test_who_is_a_filter_is_read_from_source(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    text = "from elsewhere import Thing\nfrom fedsiege.defenses import DefenseBase, Filter as Sieve\n"
    made = {"a": "Sieve", "b": "a", "c": "DefenseBase", "d": "Thing", "e": "Thing, Sieve", "f": ""}
    for name, base in made.items():
        text += f'\nclass {name}({base}):\n    """{name}."""\n    name = "{name}"\n'
    file.write_text(text)
    roles = {e.name: e.role for e in registry.scan(file, "defenses", "mine")}
    assert roles == {"a": "filter", "b": "filter", "c": "rule", "d": "", "e": "filter", "f": "rule"}
    assert all(e.role == "" for e in registry.scan(file, "attacks", "mine"))


def test_capabilities_of_a_base_class_of_the_package_are_inherited(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    text = "from fedsiege.attacks.scaling import Scaling as Theirs\n"
    for name, base in (("mine", "Theirs"), ("other", "mine")):
        text += f'\nclass {name}({base}):\n    """{name}."""\n    name = "{name}"\n'
    file.write_text(text)
    assert [(e.name, e.capabilities) for e in registry.scan(file, "attacks", "mine")] == [
        ("mine", ("labels",)),
        ("other", ("labels",)),
    ]


def test_none_comes_first_and_the_rest_in_order() -> None:
    names = list(registry.entries("attacks"))
    assert names[0] == "none"
    assert names[1:] == sorted(names[1:])


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown defense 'multikrun': did you mean 'multikrum'"):
        registry.load("defenses", "multikrun")
    with pytest.raises(ConfigError, match=r"known: .*sasrec"):
        registry.load("models", "zzzzzz")


def test_listing_imports_no_plugin() -> None:
    code = (
        "import sys; from fedsiege import registry\n"
        "for kind in registry.FOLDERS: registry.entries(kind)\n"
        "print([m for m in sys.modules if m.startswith(('torch', 'numba', 'fedsiege.attacks', 'fedsiege.learners'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_is_scanned_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "loud.py"
    path.write_text(ATTACK, encoding="utf-8")
    (entry,) = registry.load_file(path)
    assert (entry.kind, entry.name, entry.cls) == ("attacks", "loud", "Loud")
    assert entry.summary == "uploads a multiple of what it would upload honestly"
    assert entry.reference == "nobody, 2026, page 1"
    assert registry.load("attacks", "loud").__name__ == "Loud"
    assert registry.entries("attacks")["loud"].summary == entry.summary


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_that_name", "failed to import: ModuleNotFoundError"),
        ("x = (", "failed to import: SyntaxError"),
        ("class Shy:\n    pass\n", "defines no attack and no defense"),
    ],
)
def test_files_that_are_no_plugins_say_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        registry.load_file(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.py does not exist"):
        registry.load_file(tmp_path / "nowhere.py")


def test_register_makes_a_class_of_this_process_known() -> None:
    class Quiet:
        """Quiet: does nothing, so that a name can be tested."""

        name = "quiet"

    assert registry.register("defenses", Quiet) is Quiet
    assert registry.load("defenses", "quiet") is Quiet
    assert registry.entries("defenses")["quiet"].summary == "does nothing, so that a name can be tested"


def test_entry_points_of_other_packages_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_package.py").write_text(ATTACK, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("loud", "their_package:Loud", "fedsiege.attacks")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == point.group else [])
    entry = registry.entries("attacks")["loud"]
    assert entry.reference == "nobody, 2026, page 1"
    assert "their_package" not in sys.modules
    assert registry.load("attacks", "loud").__module__ == "their_package"
    assert "loud" not in registry.entries("defenses")


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, points: Mapping[str, str], files: Mapping[str, str], name: str = "p"
) -> None:
    """Lay a package with entry points for attacks where Python finds it, as an installer would."""
    for file, text in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    lines = [f"{key} = {value}" for key, value in points.items()]
    told = folder / f"{name}-1.0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (told / "entry_points.txt").write_text("\n".join(["[fedsiege.attacks]", *lines]), encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    for module in [
        m for m in sys.modules if m.partition(".")[0] in {Path(file).parts[0].removesuffix(".py") for file in files}
    ]:
        monkeypatch.delitem(sys.modules, module)


BROKEN = {
    "gone": ("nowhere_at_all.sub:Loud", "there is no module 'nowhere_at_all.sub'"),
    "half": ("theirs.absent:Loud", "there is no module 'theirs.absent'"),
    "quiet": ("theirs.loud:Quiet", "module 'theirs.loud' has no class 'Quiet'"),
    "torn": ("theirs.torn:Loud", "SyntaxError"),
    "odd": ("theirs.loud", "it must have the form 'package.module:Class'"),
}
"""Entry points whose source tells that they lead nowhere, and why."""


def test_a_broken_package_stops_nothing_but_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {name: value for name, (value, _) in BROKEN.items()} | {"loud": "theirs.loud:Loud"}
    files = {"theirs/__init__.py": "import not_there_either\n", "theirs/loud.py": ATTACK, "theirs/torn.py": "x = ("}
    install(tmp_path, monkeypatch, points, files)
    known = registry.entries("attacks")
    assert "theirs" not in sys.modules
    assert known["loud"].reference == "nobody, 2026, page 1"
    assert not known.keys() & BROKEN.keys()
    found = {entry.name: entry.error for entry in registry.unloadable("attacks")}
    assert list(found) == sorted(BROKEN)
    for name, (value, reason) in BROKEN.items():
        assert reason in found[name]
        assert found[name].endswith(f"(entry point '{name} = {value}' of package p)")
        with pytest.raises(ConfigError, match=f"^attack '{name}' cannot be loaded: .*'{name} = .* of package p"):
            registry.load("attacks", name)
    # Only running its package's __init__ tells what that lacks.
    with pytest.raises(ConfigError, match=r"^attack 'loud' cannot be loaded: ModuleNotFoundError: .*not_there_either"):
        registry.load("attacks", "loud")


def test_names_that_only_running_a_module_makes_are_left_to_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from theirs.loud import *\n"
    install(tmp_path, monkeypatch, {"loud": "theirs:Loud"}, {"theirs/__init__.py": text, "theirs/loud.py": ATTACK})
    assert registry.entries("attacks")["loud"].summary == ""
    assert registry.unloadable("attacks") == []
    assert registry.load("attacks", "loud").__module__ == "theirs.loud"


FILE = ATTACK.replace('"loud"', '"{}"')


RULE = "from fedsiege.defenses.none import FedAvg\n\n\nclass Mine(FedAvg):\n    name = '{}'\n"


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [(FILE, "attack", "lie"), *((RULE, "defense", name) for name in ("krum", "none", "union+multikrum"))],
    ids=["lie", "krum", "none", "union+multikrum"],
)
def test_a_name_of_fedsieges_own_cannot_be_taken(tmp_path: Path, text: str, kind: str, name: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text.format(name), encoding="utf-8")
    before = dict(registry._extra)
    with pytest.raises(
        ConfigError, match=re.escape(f"plug-in name {name!r} is taken by FedSiege's own {kind}; choose")
    ):
        registry.load_file(path)
    assert registry._extra == before


def test_a_class_of_this_process_cannot_take_a_name_either() -> None:
    with pytest.raises(ConfigError, match="plug-in name 'krum' is taken by FedSiege's own defense; choose another"):
        registry.register("defenses", type("Mine", (), {"name": "krum"}))
    assert registry.load("defenses", "krum").__module__ == "fedsiege.defenses.krum"


def test_an_installed_name_of_fedsieges_own_is_told_of_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, {"lie": "theirs:Loud"}, {"theirs.py": FILE.format("lie")})
    assert registry.entries("attacks")["lie"].module == registry.load("attacks", "lie").__module__
    assert registry.load("attacks", "lie").__module__ == "fedsiege.attacks.lie"
    (entry,) = registry.unloadable("attacks")
    assert entry.error.startswith("plug-in name 'lie' is taken by FedSiege's own attack; choose another (entry point")


def test_two_plugins_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "one.py", tmp_path / "two.py"]
    for path in paths:
        path.write_text(ATTACK, encoding="utf-8")
    # Each alone, in configurations of their own, as often as one likes.
    assert [registry.load_files([path, path])[0].path for path in (*paths, paths[0])] == [
        str(path) for path in (*paths, paths[0])
    ]
    with pytest.raises(ConfigError, match=r"'loud' of .*two\.py is taken by .*one\.py; choose another"):
        registry.load_files(paths)
    paths[0].write_text(ATTACK + ATTACK[ATTACK.index("@") :].replace("Loud", "Louder"), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"'loud' is taken by another attack of the file; choose another in .*one\.py"
    ):
        registry.load_file(paths[0])
    install(tmp_path, monkeypatch, {"loud": "theirs:Loud"}, {"theirs.py": ATTACK})
    registry._installed.cache_clear()
    with pytest.raises(ConfigError, match=r"'loud' is taken by entry point 'loud = theirs:Loud' of package p; choose"):
        registry.load_file(paths[1])
    install(tmp_path / "more", monkeypatch, {"loud": "others:Loud"}, {"others.py": ATTACK}, "q")
    registry._installed.cache_clear()
    (entry,) = registry.unloadable("attacks")
    assert "two have this name" in entry.error
    assert "of package p" in entry.error
    assert "of package q" in entry.error


LOOSE = "from fedsiege.defenses import Filter\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n\n\n"
SAID = r"class Mine.* is not a frozen dataclass, {}; write @dataclass\(frozen=True\) above it"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("class Mine:\n    name = 'mine'\n    ratio: float = 3.0\n", "as every plug-in must be"),
        ("@dataclass\nclass Mine:\n    name: ClassVar[str] = 'mine'\n", "as every plug-in must be"),
        (
            "class Mine(Filter):\n    name: ClassVar[str] = 'mine'\n    ratio: float = 3.0\n    limit: int = 3\n",
            r"so its fields are lost \(ratio, limit\)",
        ),
    ],
    ids=["plain", "thawed", "undecorated"],
)
@pytest.mark.parametrize("later", ["", "from __future__ import annotations\n"], ids=["now", "later"])
def test_a_class_that_is_no_frozen_dataclass_is_refused(tmp_path: Path, text: str, why: str, later: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(later + LOOSE + text, encoding="utf-8")
    with pytest.raises(ConfigError, match=SAID.format(why)):
        registry.load_file(path)
    assert ("defenses", "mine") not in registry._extra


def test_a_class_without_fields_of_its_own_loses_none(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(LOOSE + "class Mine(Filter):\n    name: ClassVar[str] = 'mine'\n", encoding="utf-8")
    assert [entry.name for entry in registry.load_file(path)] == ["mine"]


def test_a_class_that_a_package_brings_from_another_of_its_files_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived = (
        "from .loud import Loud\n\n\nclass Louder(Loud):\n"
        '    """Louder: is louder."""\n\n    name = "louder"\n    knowledge = Loud.knowledge\n'
    )
    base = ATTACK.replace("    factor", '    needs: ClassVar[frozenset[str]] = frozenset({"items"})\n    factor')
    files = {
        "theirs/__init__.py": "from .deep import Loud\nfrom theirs.deep.louder import Louder as Loudest\n",
        "theirs/deep/__init__.py": "from .loud import Loud\n",
        "theirs/deep/loud.py": base,
        "theirs/deep/louder.py": derived,
        "theirs/ring.py": "from .ring import Loud\n",
    }
    points = {"loud": "theirs:Loud", "louder": "theirs:Loudest", "ring": "theirs.ring:Loud"}
    install(tmp_path, monkeypatch, points, files)
    known = registry.entries("attacks")
    assert known["loud"].reference == "nobody, 2026, page 1"
    assert (known["louder"].summary, known["louder"].cls) == ("is louder", "Loudest")
    assert known["loud"].capabilities == known["louder"].capabilities == ("items",)
    assert known["ring"].summary == ""
    assert "theirs" not in sys.modules
    assert registry.load("attacks", "louder").__name__ == "Louder"
    with pytest.raises(ConfigError, match="attack 'ring' cannot be loaded: ImportError"):
        registry.load("attacks", "ring")


@pytest.mark.parametrize("told", [True, False])
def test_an_entry_point_is_called_as_its_class_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    # Source tells the name of one class, and only running it that of the other.
    text = ATTACK if told else ATTACK.replace('"loud"', '"".join("loud")')
    install(tmp_path, monkeypatch, {"shout": "theirs:Loud"}, {"theirs.py": text})
    assert ("shout" in registry.entries("attacks")) != told
    with pytest.raises(ConfigError, match=r"'shout' cannot be loaded: its class says name = 'loud'; call .* the same"):
        registry.load("attacks", "shout")


def test_an_installed_class_is_a_frozen_dataclass_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ATTACK.replace("@dataclass(frozen=True)\n", "")
    install(tmp_path, monkeypatch, {"loud": "theirs:Loud"}, {"theirs.py": text})
    with pytest.raises(ConfigError, match=r"class Loud is not a frozen dataclass, so its fields are lost \(factor\)"):
        registry.load("attacks", "loud")
