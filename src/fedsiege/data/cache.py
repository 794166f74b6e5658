"""Finding, checking and downloading the files of the named data sets.

A data set is looked for under ``$FEDSIEGE_DATA``, then in the cache folder (``$FEDSIEGE_CACHE``, or the
platform's own), and is downloaded from its official address into the cache if it is in neither. MovieLens
archives are checked against the MD5 sums that GroupLens publishes, and what is taken out of them against a
pinned SHA-256 where the genuine file's sum is known. SNAP publishes no sum for Gowalla: it is pinned by trust
on first use, that is, the SHA-256 of the first download is written beside the file (``….sha256``) and every
later use must agree with it; so is CINIC-10. FashionMNIST's files and CIFAR-10's archives are checked against a
published sum when they are downloaded, and at every use against a pinned SHA-256.

A pinned sum of a ``.gz`` file is that of what it unpacks to (`content_sha256`), so that one sum serves a file plain
and compressed, by whichever program; a sum that was written down, and the one that a run stores, is that of the
file on the disk (`sha256`). Folders are not checked.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from operator import eq
from pathlib import Path
from typing import Any

from fedsiege.data.cards import DatasetCard, Layout, Remote, card
from fedsiege.errors import DataError

DATA_VARIABLE = "FEDSIEGE_DATA"
CACHE_VARIABLE = "FEDSIEGE_CACHE"


@dataclass(frozen=True)
class Found:
    """Files of a data set on this machine, in the order of ``layout.files``."""

    files: tuple[Path, ...]
    layout: Layout

    @property
    def path(self) -> Path:
        """The file or folder to load, or the folder of a layout with several."""
        return self.files[0] if len(self.files) == 1 else self.files[0].parent


def data_folder() -> Path | None:
    """Return the folder that ``$FEDSIEGE_DATA`` names, or None if it is not set.

    Raises
    ------
    DataError
        If it is set and is not a folder: falling back to a download would hide a typing error.
    """
    value = os.environ.get(DATA_VARIABLE)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataError(f"{DATA_VARIABLE} is {value!r}, which is not a folder; correct or unset it")
    return folder


def cache_folder() -> Path:
    """Return the folder for downloads: ``$FEDSIEGE_CACHE`` or the platform's; it may not exist yet."""
    value = os.environ.get(CACHE_VARIABLE)
    if value:
        return Path(value).expanduser()
    import pooch

    return Path(pooch.os_cache("fedsiege"))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, computed once per process and version of the file."""
    try:
        state = path.stat()
        return _sha256(str(path.resolve()), state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; check the path and its rights") from error


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(path: Path) -> str:
    """Return the SHA-256 of what a ``.gz`` file unpacks to, and of any other file (a ``.tar.gz`` too) its own.

    Computed once per process and version of the file.

    Raises
    ------
    DataError
        If the file cannot be read, or is not a whole gzip file.
    """
    if not _is_packed(path):
        return sha256(path)
    try:
        state = path.stat()
        return _unpacked_sha256(str(path.resolve()), state.st_size, state.st_mtime_ns)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} is damaged, not a whole gzip file ({error}); remove it and fetch the data set again"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; check the path and its rights") from error


def _is_packed(path: Path) -> bool:
    """Return whether a file is one compressed file, by its name; an archive of many is not."""
    return path.suffix == ".gz" and not path.name.endswith(".tar.gz")


@lru_cache(maxsize=256)
def _unpacked_sha256(path: str, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with gzip.open(path, "rb") as packed:
        while part := packed.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def sums(files: tuple[Path, ...]) -> str:
    """Return the SHA-256 of one file, or ``name=sum`` of several, parted by spaces."""
    if len(files) == 1:
        return sha256(files[0])
    return " ".join(f"{file.name}={sha256(file)}" for file in files)


def find(name: str) -> Found | None:
    """Return the checked files of a named data set, or None if they are not on this machine.

    Raises
    ------
    DataError
        If a file's SHA-256 is known and differs, or a pinned ``.gz`` file cannot be unpacked.
    """
    known = card(name)
    for folder in (data_folder(), cache_folder()):
        if folder is None:
            continue
        for layout in known.layouts:
            files = tuple(folder / file for file in layout.files)
            if all(file.exists() for file in files):
                _check(files, layout, known)
                return Found(files, layout)
    return None


def locate(name: str, *, download: bool = True) -> Path:
    """Return the path of a named data set: a file, or the folder of a data set of several files.

    Parameters
    ----------
    name : str
        A name of the catalog.
    download : bool
        Whether an absent data set is downloaded.

    Raises
    ------
    DataError
        If it is absent and cannot be downloaded, saying what to get where, or if a known sum differs.
    """
    return obtain(name, download=download).path


def obtain(name: str, *, download: bool = True) -> Found:
    """Return the files of a named data set, as `locate`, with their layout."""
    known = card(name)
    if known.remote is None:
        how = "generated in memory" if known.kind == "interactions" else "part of an installed package"
        call = "load" if known.kind == "interactions" else "load_images"
        raise DataError(f"{name} is {how} and has no file; load it with {call}({name!r})")
    found = find(name)
    if found is None and download:
        _download(known, known.remote)
        found = find(name)
    if found is None:
        raise DataError(f"{name} is not on this machine; {remedy(known)}")
    return found


def fetch(name: str) -> Path:
    """Make sure that a named data set is on this machine and return its path; the CLI's ``data fetch``."""
    return locate(name, download=True)


def remedy(known: DatasetCard) -> str:
    """Return what to download from which address and where to put it."""
    assert known.remote is not None
    target = cache_folder() / known.layouts[-1].files[0]
    what = f"unpack {known.remote.members[0]} from it" if known.remote.members else "put it there as it is"
    others = [remote.url.rsplit("/", 1)[-1] for remote in known.further]
    beside = f", with {', '.join(others)} of the same address beside it" if others else ""
    return (
        f"download {known.remote.url} and {what}: {target}{beside} "
        f"(or the same path below a folder named by {DATA_VARIABLE})"
    )


def _check(files: tuple[Path, ...], layout: Layout, known: DatasetCard) -> None:
    """Hold files to the pinned sums of one known copy, and those without to what was written down (DataError)."""
    pinned = [None if expected is None else content_sha256(file) for file, expected in zip(files, layout.sha256)]
    # The copy that most files are of (the first of equals), so that the error names the file that is odd.
    nearest = max((layout.sha256, *layout.copies), key=lambda copy: sum(map(eq, pinned, copy)))
    for file, have, expected in zip(files, pinned, nearest):
        if have is not None:
            what = "SHA-256 of what it unpacks to" if _is_packed(file) else "SHA-256"
            _compare(file, what, have, expected, known)
        elif file.is_file() and (recorded := _recorded(file)) is not None:
            _compare(file, "SHA-256", sha256(file), recorded, known)


def _compare(file: Path, what: str, have: str, expected: str | None, known: DatasetCard) -> None:
    if have != expected:
        raise DataError(
            f"{file} is not the {known.name} it claims to be: {what} {have}, expected {expected}; remove it "
            f"and {remedy(known)}, or load your own file by its path"
        )


def _note(file: Path) -> Path:
    return file.with_name(file.name + ".sha256")


def _recorded(file: Path) -> str | None:
    """Return the sum that was written beside a file at its first download, if any."""
    note = _note(file)
    if not note.is_file():
        return None
    words = note.read_text().split()
    if not words:
        raise DataError(f"{note} is empty; remove it and {file.name} and fetch the data set again")
    return words[0]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn errors of the file system into `DataError` with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = "the disk is full; free some space"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            what = "it cannot be written to"
        else:
            what = error.strerror or str(error)
        raise DataError(
            f"cache folder {folder}: {what}; or set {CACHE_VARIABLE} to a folder with room and rights"
        ) from error


def write_atomically(target: Path, source: Any) -> None:
    """Copy an open binary file to `target` through a temporary file beside it and a rename.

    A reader, or a second process fetching the same data set, never sees half a file.
    """
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _keep(file: Path, target: Path, known: DatasetCard, remote: Remote) -> None:
    """Take a downloaded file as it is, with its sum; without a published one, hold it to the remembered one."""
    try:
        with gzip.open(file, "rb") as packed:
            while packed.read(1 << 20):
                pass
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        # Else an error page of a proxy would be trusted from now on.
        raise DataError(f"{remote.url} did not give a gzip file ({error}); {remedy(known)}") from error
    have, before = sha256(file), _recorded(target)
    if remote.sum is None and before is not None and before != have:
        raise DataError(
            f"{remote.url} has changed since its first download: SHA-256 {have}, expected {before}; if the "
            f"change is known to be right, remove {_note(target)} and fetch again"
        )
    # The sum first: a file without its sum would not be checked, a sum without its file does no harm.
    write_atomically(_note(target), io.BytesIO(f"{have}  {target.name}\n".encode()))
    with open(file, "rb") as source:
        write_atomically(target, source)


def _download(known: DatasetCard, remote: Remote) -> None:
    """Download a data set into the cache and take its files out."""
    from fedsiege.data._download import retrieve

    folder = cache_folder()
    targets = [folder / file for file in known.layouts[-1].files]
    target = targets[0]
    with _writing(folder):
        target.parent.mkdir(parents=True, exist_ok=True)
        # A failed or foreign download must not stay under the name that `find` trusts.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as room:
            if not remote.members:
                for one, where in zip((remote, *known.further), targets, strict=True):
                    # What an interrupted download left complete is not fetched again; `find` checks its sum.
                    if not (where.is_file() and _note(where).is_file()):
                        _keep(retrieve(known, one, Path(room), remedy(known)), where, known, one)
                return
            file = retrieve(known, remote, Path(room), remedy(known))
            try:
                with zipfile.ZipFile(file) as archive:
                    # The data file last: once it is there, the data set counts as present.
                    for member in reversed(remote.members):
                        with archive.open(member) as source:
                            write_atomically(target.parent / Path(member).name, source)
            except (zipfile.BadZipFile, KeyError) as error:
                raise DataError(f"{remote.url} did not give the expected archive ({error}); {remedy(known)}") from error
