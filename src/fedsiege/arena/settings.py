"""The default settings of a built-in plug-in, read from its source: what only reads runs need not import torch."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from typing import Any

from fedsiege.arena.validate import plain
from fedsiege.registry import ROOT

PACKAGE = "fedsiege"


class _NotLiteral(Exception):
    """A default that only running the code would tell."""


@cache
def _source(module: str) -> ast.Module:
    """Parse a module of FedSiege."""
    package, *parts = module.split(".")
    if package != PACKAGE:
        raise _NotLiteral
    path = ROOT.joinpath(*parts)
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _NotLiteral from error


def _binding(module: str, name: str) -> tuple[str, ast.ClassDef | ast.expr]:
    """Return what a module binds to `name`, and the module where that stands, following imports within FedSiege."""
    for node in _source(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _binding(node.module, alias.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.expr) and any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return module, value
    raise _NotLiteral


def _value(module: str, node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        home, bound = _binding(module, node.id)
        if isinstance(bound, ast.ClassDef):
            raise _NotLiteral
        return _value(home, bound)
    try:
        value = ast.literal_eval(node)
    except ValueError as error:
        raise _NotLiteral from error
    return plain(value)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _fields(module: str, node: ast.ClassDef) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(node.bases):
        if not isinstance(base, ast.Name):
            raise _NotLiteral
        home, above = _binding(module, base.id)
        if not isinstance(above, ast.ClassDef):
            raise _NotLiteral
        found |= _fields(home, above)
    for item in node.body if _is_dataclass(node) else ():
        # A field that is declared again without a default keeps the inherited one.
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name) or item.value is None:
            continue
        if not ast.unparse(item.annotation).startswith("ClassVar"):
            found[item.target.id] = _value(module, item.value)
    return found


@cache
def literal_defaults(module: str, cls: str) -> Mapping[str, Any] | None:
    """Return the default settings of a dataclass of FedSiege without importing it.

    Parameters
    ----------
    module : str
        Its module, such as ``"fedsiege.attacks.lie"``.
    cls : str
        Its name.

    Returns
    -------
    mapping or None
        Defaults as plain YAML values by field, inherited ones included; fields without a default are left out. None
        if source alone does not tell: another package's class, a base from elsewhere, or a default that is computed.
    """
    try:
        home, node = _binding(module, cls)
        return _fields(home, node) if isinstance(node, ast.ClassDef) else None
    except _NotLiteral:
        return None
