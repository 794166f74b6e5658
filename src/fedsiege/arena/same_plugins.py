"""Do runs rest on the same code of others: a configuration names it, and only the stored SHA-256 says what it held.

Every run of a configuration with plug-in files is held to all of them, for one file may use another. Of installed
code it is held to the file of each class that it plays, and to that of ``torch-module.make``; what these import in
turn, only the version of their package tells.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedsiege import registry
from fedsiege.arena.config import RunConfig
from fedsiege.arena.folder import RunFolder
from fedsiege.attacks.wrapper import Wrapper
from fedsiege.data.cache import sha256
from fedsiege.errors import RunError
from fedsiege.source import PACKAGE

_IMPORTED: dict[tuple[str, Path], str] = {}
"""SHA-256 of the files of modules that this process has imported, as they were when first asked for."""


def sums(config: RunConfig) -> dict[str, str]:
    """Return the SHA-256 of each plug-in file, by path, and of `modules`; DataError if one is unreadable.

    They are of what this process plays: a file may have been edited since it was read.
    """
    files = {file: registry.file_sum(Path(file)) or sha256(Path(file)) for file in config.plugins}
    return files | {name: _sum(name, path) for name, path in modules(config).items()}


def _sum(module: str, path: Path) -> str:
    """Return the SHA-256 of the file of a module, once that is imported the one that it had when first asked for."""
    if module not in sys.modules:
        return sha256(path)
    key = module, path
    if key not in _IMPORTED:
        _IMPORTED[key] = sha256(path)
    return _IMPORTED[key]


def modules(config: RunConfig) -> dict[str, Path]:
    """Return the files of other people's installed code that a run plays, by module."""
    found: dict[str, Path] = {}
    for part in _parts(config):
        module = type(part).__module__
        file = getattr(sys.modules.get(module), "__file__", None)
        # A script changes with every list of runs that it makes, and a plug-in file is known by its path.
        if file and module != "__main__" and not module.startswith("fedsiege_plugin_"):
            found[module] = Path(file)
    found |= getattr(config.model, "sources", dict)()
    return {module: path for module, path in found.items() if module.partition(".")[0] != PACKAGE}


def _parts(config: RunConfig) -> Iterator[Any]:
    """Yield the model, the attack and the defense, and what the latter two are made of."""
    attack: Any = config.attack
    while isinstance(attack, Wrapper):
        attack = attack.attack
    yield from (config.model, attack)
    for part in getattr(config.defense, "parts", (config.defense,)):
        yield part
        if (inner := getattr(part, "inner", None)) is not None:
            yield inner


def told(folder: RunFolder) -> dict[str, str]:
    """Return the sums that a run wrote down, by file or module; empty if it told none, or cannot be read."""
    try:
        found = folder.read_environment().get("plugins")
    except (RunError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def objection(folder: RunFolder, config: RunConfig, became: str) -> str | None:
    """Return what is wrong with a stored run, as an error with its remedy; None if nothing is.

    Parameters
    ----------
    folder : RunFolder
        The run. One that told no sum of a file, as older versions did not, is not held to it.
    config : RunConfig
        Its configuration.
    became : str
        What became of it on those that it told: "begun", "finished".
    """
    before = told(folder)
    for name, now in sums(config).items() if before else ():
        if (then := str(before.get(name, now))) != now:
            what = "plug-in file" if name in config.plugins else "module"
            return (
                f"{folder.path} was {became} on another version of {what} {name}: SHA-256 {now[:12]} now, "
                f"{then[:12]} then; put the old file back, or start in a new folder with --out"
            )
    return None


def refuse_edited(folder: RunFolder, config: RunConfig, became: str) -> None:
    """Refuse a stored run to which there is an `objection` (RunError)."""
    if reason := objection(folder, config, became):
        raise RunError(reason)
