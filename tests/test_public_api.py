"""Everything public says what it is, and every plug-in names its paper."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fedsiege
from fedsiege import registry

ROOT = Path(fedsiege.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(tree: ast.Module, name: str) -> Iterator[tuple[str, Documented]]:
    """Yield the public names of a module with their nodes: the module, its functions, classes and their methods."""
    yield name, tree
    stack: list[tuple[str, Documented]] = [(name, tree)]
    while stack:
        inside, node = stack.pop()
        for child in node.body:
            if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if child.name.startswith("_"):
                continue
            yield f"{inside}.{child.name}", child
            # What a function defines inside itself is nobody's interface.
            if isinstance(child, ast.ClassDef):
                stack.append((f"{inside}.{child.name}", child))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_names_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = str(path.relative_to(ROOT).with_suffix(""))
    bare = [name for name, node in public(tree, module) if not ast.get_docstring(node)]
    assert not bare, f"without a docstring: {', '.join(bare)}"


ENTRIES = [entry for kind in registry.FOLDERS for entry in registry.entries(kind).values()]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.kind}/{e.name}")
def test_plugins_are_introduced(entry: registry.Entry) -> None:
    assert len(entry.summary) > 10
    if (entry.kind, entry.name) != ("attacks", "none"):
        assert re.search(r"\d{4}|own", entry.reference), f"{entry.name}: no paper with its year"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.kind}/{e.name}")
def test_hyperparameters_are_documented(entry: registry.Entry) -> None:
    tree = ast.parse(Path(entry.path).read_text(encoding="utf-8"))
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == entry.cls)
    doc = ast.get_docstring(node) or ""
    fields = [
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and "ClassVar" not in ast.unparse(item.annotation)
    ]
    missing = [f for f in fields if not re.search(rf"^\s*(\w+, )*{f}(, \w+)* : ", doc, re.MULTILINE)]
    assert not missing, f"{entry.cls} does not document {missing}"


def test_names_are_spelled_alike() -> None:
    for entry in ENTRIES:
        assert re.fullmatch(r"[a-z0-9]+([-+][a-z0-9]+)*", entry.name), entry.name
