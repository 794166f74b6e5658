"""Files of a folder or of a tar archive, read one after the other; nothing is unpacked to the disk."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from fedsiege.errors import DataError

SPLITS = ("train", "valid", "test")


def is_archive(path: Path) -> bool:
    """Return whether a file's name is that of a tar archive."""
    return path.is_file() and path.name.endswith((".tar", ".tar.gz", ".tgz"))


def folder_of(path: Path) -> Path:
    """Return a folder as it is, and of any other path the folder that it lies in."""
    return path if path.is_dir() else path.parent


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:*") as archive:
            yield archive
    # A truncated archive ends in EOFError, a damaged one in zlib's error.
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is not a whole tar archive ({error}); remove it and fetch it again") from error


def members(path: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield path inside the archive and content of every wanted file, in the archive's order.

    Raises
    ------
    DataError
        If the archive is damaged.
    """
    with _opened(path) as archive:
        for member in archive:
            inside = PurePosixPath(member.name)
            if member.isfile() and wanted(inside):
                source = archive.extractfile(member)
                assert source is not None
                yield inside, source.read()


def names(path: Path) -> set[str]:
    """Return the names in a folder, the name of a file, or names that tell what a tar archive holds.

    Of an archive the first file is enough to tell class folders, so that large ones are not read to their end.
    """
    if path.is_dir():
        return {entry.name for entry in path.iterdir()}
    if not is_archive(path):
        return {path.name}
    found: set[str] = set()
    with _opened(path) as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts
            if member.isfile() and len(parts) >= 3 and parts[-3] in SPLITS:
                return {"train", "test"}
            found.update(parts)
    return found
