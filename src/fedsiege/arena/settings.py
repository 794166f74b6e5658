"""The default settings of a built-in plug-in, read from its source: what only reads runs need not import torch."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from typing import Any

from fedsiege.arena.validate import plain
from fedsiege.source import Unread, binding, parsed


def _value(tree: ast.Module, node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        home, bound = binding(tree, node.id)
        if isinstance(bound, ast.ClassDef):
            raise Unread
        return _value(home, bound)
    try:
        value = ast.literal_eval(node)
    except ValueError as error:
        raise Unread from error
    return plain(value)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _fields(tree: ast.Module, node: ast.ClassDef) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(node.bases):
        if not isinstance(base, ast.Name):
            raise Unread
        home, above = binding(tree, base.id)
        if not isinstance(above, ast.ClassDef):
            raise Unread
        found |= _fields(home, above)
    for item in node.body if _is_dataclass(node) else ():
        # A field that is declared again without a default keeps the inherited one.
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name) or item.value is None:
            continue
        if not ast.unparse(item.annotation).startswith("ClassVar"):
            found[item.target.id] = _value(tree, item.value)
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
        home, node = binding(parsed(module), cls)
        return _fields(home, node) if isinstance(node, ast.ClassDef) else None
    except Unread:
        return None
