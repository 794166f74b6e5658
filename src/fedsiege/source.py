"""FedSiege's own source, read instead of run: what a name stands for, without importing anything heavy."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent
PACKAGE = ROOT.name


class Unread(Exception):
    """Only running the code would tell."""


@cache
def parsed(module: str) -> ast.Module:
    """Return the source of a module of FedSiege, such as ``"fedsiege.attacks.lie"``; Unread if it is not one."""
    package, *parts = module.split(".")
    if package != PACKAGE:
        raise Unread
    path = ROOT.joinpath(*parts)
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unread from error


def binding(tree: ast.Module, name: str) -> tuple[ast.Module, ast.ClassDef | ast.expr]:
    """Return what a file binds to `name`, and the file where that stands, following imports within FedSiege.

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
                if (alias.asname or alias.name) == name:
                    return binding(parsed(node.module), alias.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.expr) and any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return tree, value
    raise Unread
