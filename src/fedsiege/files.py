"""Files and folders that users name: written whole or not at all, and one clear error where that cannot be."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import yaml

from fedsiege.errors import ConfigError, RunError


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary file, a flush to disk and a rename.

    Several processes may write one file at once: the last wins. A kill leaves a file beside it that ends in ``.part``.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written; what was there before is untouched.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another folder, then start again: "
            f"the run resumes from its last checkpoint"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> Path:
    """Make a folder and those above it, where they are not there yet, and return its path.

    Raises
    ------
    RunError
        If a file is in the way, the disk is full, or the folder above cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make folder {path}: {error.strerror or error}; choose another") from error
    return path


class _Unique(yaml.SafeLoader):
    """YAML without keys that stand twice in one mapping, of which PyYAML would take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping; YAMLError for a key that stands twice. Here ``<<`` is still a key of its own."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    where = f"lines {lines[name]} and {line}" if line > lines[name] else f"line {line}"
                    raise yaml.YAMLError(f"key {key.value!r} is given twice, in {where}; keep one")
                lines[name] = line
        return node


def load_yaml(text: str) -> Any:
    """Return the values of a YAML text; YAMLError if it is none, or gives a key of one mapping twice."""
    # A safe loader: it makes plain values alone.
    return yaml.load(text, _Unique)


def read_yaml(path: Path, what: str) -> Any:
    """Return the values of a YAML file.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it is, for the error: "card", "configuration".

    Raises
    ------
    ConfigError
        If the file cannot be read, is not YAML in UTF-8, or gives a key of one mapping twice.
    """
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {what} {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
