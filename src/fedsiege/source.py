"""Source, read instead of run: what a name stands for, without importing anything heavy."""

from __future__ import annotations

import ast
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from pathlib import Path

ROOT = Path(__file__).parent
PACKAGE = ROOT.name


class Unread(Exception):
    """Only running the code would tell."""


def located(module: str) -> ModuleSpec | None:
    """Return where Python would import a module from, None if nowhere; the packages around it are not imported."""
    top, *parts = module.split(".")
    spec = find_spec(top)
    for end in range(1, len(parts) + 1):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join([top, *parts[:end]]), spec.submodule_search_locations)
    return spec


def parsed(module: str, home: str = PACKAGE) -> ast.Module:
    """Return the source of a module of FedSiege, such as ``"fedsiege.attacks.lie"``, or of the package `home`.

    Raises
    ------
    Unread
        If it is a module of neither, or has no source.
    """
    package = module.partition(".")[0]
    if package == PACKAGE:
        return _own(module)
    spec = located(module) if package == home else None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise Unread
    tree = ast.parse(Path(spec.origin).read_bytes())
    within = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            node.module, node.level = resolve_name("." * node.level + (node.module or ""), within), 0
    return tree


@cache
def _own(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unread from error


def binding(
    tree: ast.Module, name: str, home: str = PACKAGE, passed: frozenset[tuple[str, str]] = frozenset()
) -> tuple[ast.Module, ast.ClassDef | ast.expr]:
    """Return what a file binds to `name`, and the file where that stands, following imports within FedSiege.

    Parameters
    ----------
    tree : ast.Module
        The file.
    name : str
        The name.
    home : str
        The package that the file belongs to; imports within it are followed too.
    passed : frozenset
        Imports that led here, module and name: one that leads back to itself binds nothing.

    Raises
    ------
    Unread
        If it binds nothing to that name, or what another package has.
    """
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return tree, node
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                step = (node.module, alias.name)
                if (alias.asname or alias.name) == name and step not in passed:
                    return binding(parsed(node.module, home), alias.name, home, passed | {step})
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.expr) and any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return tree, value
    raise Unread


def lacks(tree: ast.Module, name: str) -> bool:
    """Return whether running a file certainly binds nothing to `name`: it makes no names as it runs, and not this."""
    bound = {"*", "__getattr__", "globals", name}
    for node in ast.walk(tree):
        if isinstance(node, ast.alias) and bound & {node.name, node.asname}:
            return False
        if bound & {getattr(node, "id", None), getattr(node, "name", None)}:
            return False
    return True
