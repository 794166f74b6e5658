"""Names of plug-ins, found without importing them.

A built-in plug-in is a file in ``attacks``, ``defenses`` or ``learners`` with one class that carries a literal
``name``; its one-line summary and its paper are read from the class's docstring. Other people's plug-ins come
through the entry-point groups ``fedsiege.attacks``, ``fedsiege.defenses`` and ``fedsiege.models``, or as plain
Python files named in a run's ``plugins``. Reading source keeps ``fedsiege list`` free of torch.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from fedsiege.errors import ConfigError, nearest
from fedsiege.source import ROOT, Unread, binding, lacks, located, parsed

Kind = Literal["attacks", "defenses", "models"]
FOLDERS: dict[Kind, str] = {"attacks": "attacks", "defenses": "defenses", "models": "learners"}
SINGULAR: dict[Kind, str] = {"attacks": "attack", "defenses": "defense", "models": "model"}


@dataclass(frozen=True)
class Entry:
    """A registered plug-in: its name, what its docstring says of it, and where its class is.

    ``capabilities`` are those that an attack or a defense needs of the model, or that a model offers. ``role`` is that
    of a defense: a ``"filter"``, which may stand before a plus sign, or a ``"rule"``, which can only stand last; empty
    where source does not tell. Of a plug-in of an installed package ``origin`` names package and entry point, and
    ``error`` says why it cannot be loaded, as far as its source tells.
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
    origin: str = ""
    error: str = ""


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
_files: dict[Path, tuple[str, ModuleType]] = {}
"""What was executed of each plug-in file: its SHA-256 and the module."""
"""Classes of this process: those that were registered, and those of plug-in files."""


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


def _literal_capabilities(node: ast.ClassDef, tree: ast.Module, home: str) -> tuple[str, ...]:
    """The strings of a literal ``needs`` or ``provides``, such as ``frozenset({"items"})``, ascending.

    A class without one has those of its first base class that has, in this file or another of FedSiege or of the
    package `home`.
    """
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name) or item.value is None:
            continue
        if item.target.id in ("needs", "provides"):
            return tuple(sorted(str(c.value) for c in ast.walk(item.value) if isinstance(c, ast.Constant)))
    for base in node.bases:
        try:
            there, above = binding(tree, ast.unparse(base), home)
        except Unread:
            continue
        if isinstance(above, ast.ClassDef) and (inherited := _literal_capabilities(above, there, home)):
            return inherited
    return ()


def _role(node: ast.ClassDef, tree: ast.Module, home: str) -> str:
    """``"filter"`` for a class that derives from `FILTER`, else ``"rule"``; empty if a base cannot be read."""
    if node is binding(parsed(FILTER[0]), FILTER[1])[1]:
        return "filter"
    roles = set()
    for base in node.bases:
        try:
            there, above = binding(tree, ast.unparse(base), home)
        except Unread:
            roles.add("")
            continue
        roles.add(_role(above, there, home) if isinstance(above, ast.ClassDef) else "")
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


def _entry(kind: Kind, name: str, node: ast.ClassDef, tree: ast.Module, module: str, path: str) -> Entry:
    """The plug-in whose class is `node` of the file `tree`, found in `module`."""
    home = module.partition(".")[0]
    summary, reference = _describe(ast.get_docstring(node))
    capabilities = _literal_capabilities(node, tree, home)
    role = _role(node, tree, home) if kind == "defenses" else ""
    return Entry(kind, name, summary, reference, module, node.name, path, capabilities, role)


def scan(path: Path, kind: Kind, module: str) -> list[Entry]:
    """Return the plug-ins that the source file `path` defines, without running it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [_entry(kind, name, c, tree, module, str(path)) for c in classes if (name := _literal_name(c))]


@cache
def _builtin(kind: Kind) -> dict[str, Entry]:
    folder = ROOT / FOLDERS[kind]
    found: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.py")):
        for entry in scan(path, kind, f"fedsiege.{FOLDERS[kind]}.{path.stem}"):
            found[entry.name] = entry
    return found


def _pointed(kind: Kind, point: EntryPoint) -> Entry:
    """What source tells of the class behind an entry point; an exception says why it cannot be loaded."""
    module, _, cls = point.value.partition(":")
    module, cls = module.strip(), cls.partition("[")[0].strip()
    if not module or not cls:
        raise ConfigError("it must have the form 'package.module:Class'")
    if located(module) is None:
        raise ConfigError(f"there is no module {module!r}")
    unread = Entry(kind, point.name, "", "", module, cls, "")
    home = module.partition(".")[0]
    try:
        first = parsed(module, home)
        if lacks(first, cls):
            raise ConfigError(f"module {module!r} has no class {cls!r}")
        tree, node = binding(first, cls, home)
    except Unread:
        return unread
    if not isinstance(node, ast.ClassDef):
        return unread
    if (name := _literal_name(node)) not in (None, point.name):
        raise ConfigError(_other_name(name))
    return replace(_entry(kind, point.name, node, tree, module, ""), cls=cls)


def _other_name(name: object) -> str:
    # A run folder keeps the class's name, by which nobody would find it again.
    return f"its class says name = {name!r}; call the entry point the same"


@cache
def _installed(kind: Kind) -> dict[str, Entry]:
    """The plug-ins of installed packages by name; what is wrong with one of them is no reason to stop at the others."""
    found: dict[str, Entry] = {}
    for point in entry_points(group=f"fedsiege.{kind}"):
        package = f" of package {point.dist.name}" if point.dist else ""
        try:
            entry = _pointed(kind, point)
        except Exception as error:
            entry = Entry(kind, point.name, "", "", "", "", "", error=_reason(error))
        entry = replace(entry, origin=f"entry point '{point.name} = {point.value}'{package}")
        if _own(kind, point.name):
            entry = replace(entry, error=_taken(kind, point.name))
        elif point.name in found:
            both = f"{found[point.name].origin} and {entry.origin}"
            entry = replace(entry, origin=both, error="two have this name, and only one of them may be installed")
        found[point.name] = entry
    return found


def _own(kind: Kind, name: str) -> bool:
    """Whether FedSiege itself has something of that name, alone or composed of several as in ``union+multikrum``."""
    builtin = _builtin(kind)
    return name in builtin or (kind == "defenses" and "+" in name and set(name.split("+")) <= builtin.keys())


def _taken(kind: Kind, name: str) -> str:
    return f"plug-in name {name!r} is taken by FedSiege's own {SINGULAR[kind]}; choose another"


def _refuse_loose(cls: Any, where: str) -> None:
    """Refuse a class that is no frozen dataclass, or whose own fields are lost as it is not decorated (ConfigError)."""
    params = getattr(cls, "__dataclass_params__", None)
    own = inspect.get_annotations(cls) if isinstance(cls, type) else {}
    lost = [] if "__dataclass_params__" in vars(cls) else [n for n, kind in own.items() if "ClassVar" not in str(kind)]
    if params is None or not params.frozen or lost:
        why = f"so its fields are lost ({', '.join(lost)})" if params and lost else "as every plug-in must be"
        raise ConfigError(f"{where} is not a frozen dataclass, {why}; write @dataclass(frozen=True) above it")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"


def unloadable(kind: Kind) -> list[Entry]:
    """Return the plug-ins of installed packages that cannot be loaded, each with the reason in its ``error``."""
    broken = [entry for entry in _installed(kind).values() if entry.error]
    return sorted((replace(e, error=f"{e.error} ({e.origin})") for e in broken), key=lambda e: e.name)


def entries(kind: Kind) -> dict[str, Entry]:
    """Return all plug-ins of a kind by name: built in, installed, and registered in this process.

    Those of which source tells that they cannot be loaded are `unloadable` and not among them.
    """
    found = {**_builtin(kind), **{name: entry for name, entry in _installed(kind).items() if not entry.error}}
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
    """Register a class of this process under its ``name``; returns it, so it may serve as a decorator's core.

    Raises
    ------
    ConfigError
        If FedSiege itself has that name.
    """
    name: str = cls.name  # type: ignore[attr-defined]
    if _own(kind, name):
        raise ConfigError(_taken(kind, name))
    _extra[kind, name] = cls
    return cls


def load_files(paths: Iterable[Path]) -> list[Entry]:
    """Load the plug-in files of one configuration (`load_file`); ConfigError also if two of them share a name."""
    found: dict[tuple[Kind, str], Entry] = {}
    for path in dict.fromkeys(paths):
        for entry in load_file(path):
            other = found.setdefault((entry.kind, entry.name), entry)
            if other is not entry:
                raise ConfigError(f"plug-in name {entry.name!r} of {path} is taken by {other.path}; choose another")
    return list(found.values())


def load_file(path: Path) -> list[Entry]:
    """Import a user's Python file and register the attacks and defenses that it defines.

    A class with a ``name`` is an attack if it has ``knowledge`` and a defense otherwise.

    Raises
    ------
    ConfigError
        If the file is missing, cannot be imported, defines no plug-in, or one of a name that is taken or that is
        not a frozen dataclass.
    """
    if not path.is_file():
        raise ConfigError(f"plug-in file {path} does not exist; give a path relative to the configuration file")
    module = f"fedsiege_plugin_{path.stem}"
    loaded = _executed(path, module)
    found: list[Entry] = []
    for entry in scan(path, "defenses", module):
        cls = getattr(loaded, entry.cls)
        kind: Kind = "attacks" if hasattr(cls, "knowledge") else "defenses"
        if _own(kind, entry.name):
            raise ConfigError(f"{_taken(kind, entry.name)} in {path}")
        installed = _installed(kind).get(entry.name)
        by = installed.origin if installed and not installed.error else f"another {SINGULAR[kind]} of the file"
        if (installed and not installed.error) or any((e.kind, e.name) == (kind, entry.name) for e in found):
            raise ConfigError(f"plug-in name {entry.name!r} is taken by {by}; choose another in {path}")
        _refuse_loose(cls, f"class {entry.cls} of plug-in file {path}")
        found.append(replace(entry, kind=kind, role=entry.role if kind == "defenses" else ""))
    for entry in found:
        _extra[entry.kind, entry.name] = getattr(loaded, entry.cls)
    if not found:
        raise ConfigError(f'plug-in file {path} defines no attack and no defense; give a class a literal `name = "…"`')
    return found


def _executed(path: Path, name: str) -> ModuleType:
    """Return a plug-in file as a module; the same one as before while its bytes are the same."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"plug-in file {path} cannot be read: {error.strerror or error}") from error
    digest = hashlib.sha256(source).hexdigest()
    if (known := _files.get(path)) and known[0] == digest:
        sys.modules[name] = known[1]
        return known[1]
    made = ModuleType(name)
    made.__file__ = str(path)
    # Classes look for the names in their annotations there.
    sys.modules[name] = made
    try:
        # Not through Python's cache of bytecode, which may be that of another file of this size and second.
        exec(compile(source, str(path), "exec", dont_inherit=True), made.__dict__)
    except Exception as error:
        raise ConfigError(f"plug-in file {path} failed to import: {type(error).__name__}: {error}") from error
    _files[path] = digest, made
    return made


def file_sum(path: Path) -> str | None:
    """Return the SHA-256 of what this process has executed of a plug-in file, None if nothing."""
    return _files[path][0] if path in _files else None


def load(kind: Kind, name: str) -> Any:
    """Return the class registered under `name`.

    Raises
    ------
    ConfigError
        With the nearest known name if there is none, and with package and entry point if an installed one fails.
    """
    if (kind, name) in _extra:
        return _extra[kind, name]
    known = entries(kind)
    entry = known.get(name) or _installed(kind).get(name)
    if entry is None:
        raise ConfigError(f"unknown {SINGULAR[kind]} {name!r}: {nearest(name, known)}")
    if not entry.origin:
        return getattr(importlib.import_module(entry.module), entry.cls)
    try:
        if entry.error:
            raise ConfigError(entry.error)
        cls = getattr(importlib.import_module(entry.module), entry.cls)
        if cls.name != name:
            raise ConfigError(_other_name(cls.name))
        _refuse_loose(cls, f"class {entry.cls}")
        return cls
    except Exception as error:
        raise ConfigError(
            f"{SINGULAR[kind]} {name!r} cannot be loaded: {_reason(error)} ({entry.origin}); repair or uninstall it"
        ) from error


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
