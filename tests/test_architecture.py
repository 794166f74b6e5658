"""The house keeps its shape: imports run downwards only and in no circle, and the loop names no plug-in."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fedsiege
from fedsiege import registry

ROOT = Path(fedsiege.__file__).parent

LAYERS = [
    {"cli"},
    {"report"},
    {"arena", "redteam"},
    {"federation", "flower"},
    {"attacks", "defenses", "learners"},
    {"updates", "data", "metrics", "optim", "kernels"},
    {"capabilities", "errors", "files", "rng", "registry", "source", "checks", "fields", "heap", "threads"},
]
"""From the top; a part may import from its own layer and from those below."""

LEVEL = {part: depth for depth, layer in enumerate(LAYERS) for part in layer}

NEVER = {
    ("attacks", "defenses"): "an attack does not know which defense it faces",
    ("defenses", "attacks"): "a defense does not know which attack it faces",
    ("learners", "attacks"): "a learner knows no attack",
    ("learners", "defenses"): "a learner knows no defense",
    ("data", "metrics"): "data sets know nothing of scores",
    ("updates", "data"): "uploads know nothing of data sets",
    ("flower", "attacks"): "production carries no attack",
    ("metrics", "data"): "metrics do not ask who computed what",
}
"""Forbidden inside a layer or to one below, beyond the order of layers."""

FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Return the modules of this package that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "fedsiege"}


def module(path: Path) -> str:
    """Return the name of the module in a file."""
    pieces = ("fedsiege", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(pieces[:-1] if pieces[-1] == "__init__" else pieces)


class Running(ast.NodeTransformer):
    """Leaves out what only a type checker reads."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        only_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if only_types else self.generic_visit(node)


def needed(path: Path, known: set[str]) -> set[str]:
    """Return which of the modules `known` run when all imports of a file do."""
    tree = Running().visit(ast.parse(path.read_text(encoding="utf-8")))
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named = [(str(node.module), f"{node.module}.{alias.name}") for node in froms for alias in node.names]
    return {whole if whole in known else package for package, whole in named} & known


def test_no_two_files_need_each_other() -> None:
    known = {module(path): path for path in FILES}
    ties = {name: needed(path, set(known)) for name, path in known.items()}
    assert sum(map(len, ties.values())) > len(known)
    assert list(TopologicalSorter(ties).static_order())  # CycleError names the circle


def part(module: str) -> str | None:
    """Return the part of the house that a module belongs to; None for the package itself."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 and pieces[1] in LEVEL else None


def home(path: Path) -> str | None:
    return path.relative_to(ROOT).with_suffix("").parts[0] if path.parent != ROOT else path.stem


def test_every_part_has_a_layer() -> None:
    parts = {home(path) for path in FILES} - {"__init__"}
    assert parts <= set(LEVEL), f"give {parts - set(LEVEL)} a layer"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downwards(path: Path) -> None:
    mine = home(path)
    if mine == "__init__":
        return
    for module in sorted(imports(path)):
        theirs = part(module)
        if theirs is None or theirs == mine:
            continue
        assert LEVEL[theirs] >= LEVEL[mine], f"{mine} imports {module}, which stands above it"
        assert (mine, theirs) not in NEVER, f"{mine} imports {module}: {NEVER[mine, theirs]}"


def code_words(path: Path) -> set[str]:
    """Return every string and name in a file's code, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found |= {node.name, node.name.rpartition(".")[2]}
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "federation").glob("*.py")), ids=lambda p: p.name)
def test_the_loop_names_no_plugin(path: Path) -> None:
    names = {entry.name for kind in registry.FOLDERS for entry in registry.entries(kind).values()}
    classes = {entry.cls for kind in registry.FOLDERS for entry in registry.entries(kind).values()}
    # "none" and "median" are ordinary words too; their modules are caught by the imports below.
    spoken = code_words(path) & ((names - {"none", "median"}) | classes)
    assert not spoken, f"{path.name} names {spoken}"
    modules = {entry.module for kind in registry.FOLDERS for entry in registry.entries(kind).values()}
    assert not imports(path) & modules
