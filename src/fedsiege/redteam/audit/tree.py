"""The copy of an app's folder that a run works in, so that nothing it writes reaches the app's own files."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedsiege.errors import ConfigError, RunError

LIMIT = 2 * 1024**3
"""Bytes of an app's folder above which a copy for each run is refused."""
JUNK = {
    ".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".idea", ".vscode", ".cache", ".ipynb_checkpoints",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__", "node_modules",
}  # fmt: skip
"""Names of what no app reads when it runs. Virtual environments are known by what is in them."""

Stamps = dict[Path, tuple[int, int, int]]
"""Inode, size and time of last change of each file of a copy, by its path in it."""


@dataclass(frozen=True)
class Tree:
    """What a run's copy of an app's folder consists of; paths are relative to `root`.

    Parameters
    ----------
    root : Path
        The app's folder.
    folders, files : tuple of Path
        What is copied, a folder before what is in it.
    links : tuple of Path
        What is linked instead.
    """

    root: Path
    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    links: tuple[Path, ...]


def survey(root: Path, out: Path, links: Sequence[str] = ()) -> Tree:
    """Return what a run's copy of a folder consists of.

    Links are followed, since what is written through one lands in the file that it names. Caches, virtual environments,
    earlier audits, `out` and what cannot be read are left out.

    Parameters
    ----------
    root : Path
        The app's folder.
    out : Path
        Folder of the audit.
    links : sequence of str
        Paths in the app's folder that are linked instead of copied.

    Raises
    ------
    ConfigError
        If a link is not in the folder, or what is left to copy is larger than `LIMIT`.
    """
    linked = tuple(dict.fromkeys(Path(os.path.normpath(link)) for link in links))
    for link in linked:
        if link.is_absolute() or link.parts[:1] in ((), ("..",)) or not (root / link).exists():
            raise ConfigError(f"--link {link}: there is no such file or folder in {root}; give its path inside it")
    audit = os.path.realpath(out)
    folders: list[Path] = []
    files: list[Path] = []
    sizes: Counter[str] = Counter()

    def walk(inside: Path, above: tuple[str, ...]) -> None:
        real = os.path.realpath(root / inside)
        if real in above or real == audit:
            return  # A link to a folder that it lies in, or what is made here.
        try:
            entries = sorted(os.scandir(root / inside), key=lambda entry: entry.name)
        except OSError:
            return
        if inside.parts and any(entry.name == "pyvenv.cfg" for entry in entries):
            return
        folders.append(inside)
        for entry in entries:
            path = inside / entry.name
            if path in linked or entry.name in JUNK or (not inside.parts and entry.name.startswith("audit-")):
                continue
            if os.path.isdir(entry.path):
                walk(path, (*above, real))
            # Neither a pipe, which would be waited for, nor a link to nothing.
            elif os.path.isfile(entry.path) and os.access(entry.path, os.R_OK):
                files.append(path)
                sizes[path.parts[0]] += entry.stat().st_size
                if sizes.total() > LIMIT:
                    raise ConfigError(
                        f"{root} holds more than {LIMIT / 1024**3:.0f} GB, most of it in {sizes.most_common(1)[0][0]}, "
                        "and every run works in a copy of its own; name what the app only reads with --link, such as "
                        f"--link {sizes.most_common(1)[0][0]}"
                    )

    walk(Path(), ())
    return Tree(root, tuple(folders), tuple(files), linked)


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its mode and time; where the file system can, both share their blocks until one is written."""
    try:
        with source.open("rb") as old, target.open("wb") as new:
            while os.copy_file_range(old.fileno(), new.fileno(), LIMIT):  # type: ignore[attr-defined,unused-ignore]
                pass
    except (AttributeError, OSError):
        shutil.copyfile(source, target)
    shutil.copystat(source, target)


def _stamp(path: Path) -> tuple[int, int, int]:
    state = path.lstat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def lay_out(tree: Tree, work: Path) -> Stamps:
    """Make the copy in the folder `work`, in place of what an earlier run has left there.

    Raises
    ------
    RunError
        If a file cannot be copied.
    """
    stamps: Stamps = {}
    try:
        if work.exists():
            shutil.rmtree(work)
        for folder in tree.folders:
            (work / folder).mkdir(parents=True, exist_ok=True)
        for path in tree.files:
            _copy(tree.root / path, work / path)
            stamps[path] = _stamp(work / path)
        for link in tree.links:
            (work / link).parent.mkdir(parents=True, exist_ok=True)
            (work / link).symlink_to(tree.root / link)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        raise RunError(
            f"cannot copy {tree.root} to {work}: {error.strerror or error} ({error.filename}); make room, or choose "
            "another --out, then start again: runs that have ended are kept"
        ) from error
    return stamps


def tidy(tree: Tree, work: Path, stamps: Stamps) -> None:
    """Remove from `work` what a run has left as it was; what it has written or changed stays."""
    for link in tree.links:
        with suppress(OSError):
            if (work / link).is_symlink():
                (work / link).unlink()
    for path, stamp in stamps.items():
        with suppress(OSError):
            if _stamp(work / path) == stamp:
                (work / path).unlink()
    for made in list(work.rglob("__pycache__")):
        shutil.rmtree(made, ignore_errors=True)
    for folder in reversed(tree.folders):
        with suppress(OSError):
            (work / folder).rmdir()  # Only where it is empty.
