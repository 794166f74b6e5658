"""Names of plug-ins, found without importing them.

A built-in plug-in is a file in ``attacks``, ``defenses`` or ``learners`` with one class that carries a literal
``name``; its one-line summary and its paper are read from the class's docstring. Other people's plug-ins come
through the entry-point groups ``fedsiege.attacks``, ``fedsiege.defenses`` and ``fedsiege.models``, or as plain
Python files named in a run's ``plugins``. Reading source keeps ``fedsiege list`` free of torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from fedsiege.errors import ConfigError, nearest
from fedsiege.source import ROOT, Unread, binding, parsed

Kind = Literal["attacks", "defenses", "models"]
FOLDERS: dict[Kind, str] = {"attacks": "attacks", "defenses": "defenses", "models": "learners"}
SINGULAR: dict[Kind, str] = {"attacks": "attack", "defenses": "defense", "models": "model"}


@dataclass(frozen=True)
class Entry:
    """A registered plug-in: its name, what its docstring says of it, and where its class is.

    ``capabilities`` are those that an attack or a defense needs of the model, or that a model offers. ``role`` is that
    of a defense: a ``"filter"``, which may stand before a plus sign, or a ``"rule"``, which can only stand last; empty
    where source does not tell.
    """

    kind: Kind
    name: str
    summary: str
    reference: str
    module: str
    cls: str
    path: str
    capabilities: tuple[str, ...] = ()
    role: str = ""


WRAPPERS: dict[str, tuple[str, str]] = {
    "adaptive": ("fedsiege.attacks.adaptive_wrapper", "Adaptive"),
    "noise": ("fedsiege.attacks.noise_wrapper", "SameNorm"),
}
"""Attacks around another one, by what stands before the brackets in ``adaptive(minmax)``: module and class."""

WRAPPING: dict[Kind, str] = {
    "attacks": "Any attack may be wrapped, as in adaptive(minmax), to ask a copy of the defense how far it may go, and "
    "as in noise(minmax), to send noise of the same norm in its place.",
    "defenses": "A filter takes or rejects whole uploads and may stand before a plus sign, as in union+multikrum; a "
    "rule makes the aggregate itself and can only stand last.",
}
"""What ``fedsiege list`` says of names that are made of several."""

FILTER = ("fedsiege.defenses.base", "Filter")
"""Module and name of the class that all filters derive from."""

_extra: dict[tuple[Kind, str], type] = {}


def _literal_name(node: ast.ClassDef) -> str | None:
    for item in node.body:
        target: ast.expr | None = item.target if isinstance(item, ast.AnnAssign) else None
        if isinstance(item, ast.Assign) and len(item.targets) == 1:
            target = item.targets[0]
        if not (isinstance(target, ast.Name) and target.id == "name"):
            continue
        value = getattr(item, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
            return value.value
    return None


def _literal_capabilities(node: ast.ClassDef, tree: ast.Module) -> tuple[str, ...]:
    """The strings of a literal ``needs`` or ``provides``, such as ``frozenset({"items"})``, ascending.

    A class without one has those of its first base class that has, in this file or another of the package.
    """
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name) or item.value is None:
            continue
        if item.target.id in ("needs", "provides"):
            return tuple(sorted(str(c.value) for c in ast.walk(item.value) if isinstance(c, ast.Constant)))
    for base in node.bases:
        try:
            home, above = binding(tree, ast.unparse(base))
        except Unread:
            continue
        if isinstance(above, ast.ClassDef) and (inherited := _literal_capabilities(above, home)):
            return inherited
    return ()


def _role(node: ast.ClassDef, tree: ast.Module) -> str:
    """``"filter"`` for a class that derives from `FILTER`, else ``"rule"``; empty if a base cannot be read."""
    if node is binding(parsed(FILTER[0]), FILTER[1])[1]:
        return "filter"
    roles = set()
    for base in node.bases:
        try:
            home, above = binding(tree, ast.unparse(base))
        except Unread:
            roles.add("")
            continue
        roles.add(_role(above, home) if isinstance(above, ast.ClassDef) else "")
    return "filter" if "filter" in roles else "" if "" in roles else "rule"


def _describe(doc: str | None) -> tuple[str, str]:
    """Summary (first line without the name) and reference of a class docstring."""
    if not doc:
        return "", ""
    summary = doc.strip().splitlines()[0].strip().rstrip(".")
    head, colon, tail = summary.partition(": ")
    if colon and len(head) <= 24:
        summary = tail
    found = re.search(r"^\s*Reference: (.+?)(?=\n\s*\n|\Z)", doc, re.MULTILINE | re.DOTALL)
    return summary, " ".join(found.group(1).split()).rstrip(".") if found else ""


def scan(path: Path, kind: Kind, module: str) -> list[Entry]:
    """Return the plug-ins that the source file `path` defines, without running it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and (name := _literal_name(node)):
            summary, reference = _describe(ast.get_docstring(node))
            capabilities = _literal_capabilities(node, tree)
            role = _role(node, tree) if kind == "defenses" else ""
            found.append(Entry(kind, name, summary, reference, module, node.name, str(path), capabilities, role))
    return found


@cache
def _builtin(kind: Kind) -> dict[str, Entry]:
    folder = ROOT / FOLDERS[kind]
    found: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.py")):
        for entry in scan(path, kind, f"fedsiege.{FOLDERS[kind]}.{path.stem}"):
            found[entry.name] = entry
    return found


@cache
def _installed(kind: Kind) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for point in entry_points(group=f"fedsiege.{kind}"):
        module, _, cls = point.value.partition(":")
        spec = importlib.util.find_spec(module)
        entries = scan(Path(spec.origin), kind, module) if spec and spec.origin else []
        match = next((e for e in entries if e.cls == cls), None)
        empty = Entry(kind, point.name, "", "", module, cls, "")
        found[point.name] = replace(match, name=point.name, path="") if match else empty
    return found


def entries(kind: Kind) -> dict[str, Entry]:
    """Return all plug-ins of a kind by name: built in, installed, and registered in this process."""
    found = {**_builtin(kind), **_installed(kind)}
    for (k, name), cls in _extra.items():
        if k == kind:
            summary, reference = _describe(cls.__doc__)
            asked: frozenset[str] = getattr(cls, "provides" if kind == "models" else "needs", frozenset())
            filters = any((c.__module__, c.__name__) == FILTER for c in cls.__mro__)
            role = ("filter" if filters else "rule") if kind == "defenses" else ""
            found[name] = Entry(
                kind, name, summary, reference, cls.__module__, cls.__name__, "", tuple(sorted(asked)), role
            )
    return dict(sorted(found.items(), key=lambda item: (item[0] != "none", item[0])))


def register(kind: Kind, cls: type) -> type:
    """Register a class of this process under its ``name``; returns it, so it may serve as a decorator's core."""
    _extra[kind, cls.name] = cls  # type: ignore[attr-defined]
    return cls


def load_file(path: Path) -> list[Entry]:
    """Import a user's Python file and register the attacks and defenses that it defines.

    A class with a ``name`` is an attack if it has ``knowledge`` and a defense otherwise.

    Raises
    ------
    ConfigError
        If the file is missing, cannot be imported or defines no plug-in.
    """
    if not path.is_file():
        raise ConfigError(f"plug-in file {path} does not exist; give a path relative to the configuration file")
    module = f"fedsiege_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(module, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:
        raise ConfigError(f"plug-in file {path} failed to import: {type(error).__name__}: {error}") from error
    found = []
    for entry in scan(path, "defenses", module):
        cls = getattr(loaded, entry.cls)
        kind: Kind = "attacks" if hasattr(cls, "knowledge") else "defenses"
        _extra[kind, entry.name] = cls
        found.append(replace(entry, kind=kind, role=entry.role if kind == "defenses" else ""))
    if not found:
        raise ConfigError(f'plug-in file {path} defines no attack and no defense; give a class a literal `name = "…"`')
    return found


def load(kind: Kind, name: str) -> Any:
    """Return the class registered under `name`; ConfigError with the nearest known name if there is none."""
    if (kind, name) in _extra:
        return _extra[kind, name]
    known = entries(kind)
    if name not in known:
        raise ConfigError(f"unknown {SINGULAR[kind]} {name!r}: {nearest(name, known)}")
    entry = known[name]
    return getattr(importlib.import_module(entry.module), entry.cls)


def wrapped(kind: Kind, name: str) -> tuple[str, str] | None:
    """Return wrapper and wrapped of a name such as ``adaptive(NAME)``; None if it is not of that form."""
    wrapper, _, rest = name.partition("(")
    if kind != "attacks" or wrapper not in WRAPPERS or not rest.endswith(")"):
        return None
    return wrapper, rest[:-1]


def load_wrapper(wrapper: str) -> Any:
    """Return the class of a wrapper, a key of `WRAPPERS`."""
    module, cls = WRAPPERS[wrapper]
    return getattr(importlib.import_module(module), cls)
