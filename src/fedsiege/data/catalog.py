"""Loading a data set by name or by path, split for a federation, with where it came from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from fedsiege.data.cache import Found, find, obtain, sums
from fedsiege.data.cards import CARDS, DatasetCard, card
from fedsiege.data.interactions import RawInteractions, RecDataset
from fedsiege.data.splits import MIN_LENGTH, leave_one_out
from fedsiege.errors import DataError, nearest

FORMATS = ("movielens", "recbole", "lightgcn", "checkins")


def load(name_or_path: str | Path, *, format: str | None = None, seed: int = 0) -> RecDataset:
    """Return a data set with the leave-one-out split applied.

    Parameters
    ----------
    name_or_path : str or Path
        A name of the catalog, or the path of a file of a known format ("bring your own data").
    format : {"movielens", "recbole", "lightgcn", "checkins"} or None
        For a path: its format; None looks at the file's name, then at its first line.
    seed : int
        For the split of data without order. The generated data set is the same at every seed, so that runs of
        several seeds differ in the run alone.

    Returns
    -------
    RecDataset
        ``info`` holds ``source`` (path or "generated"), ``format``, ``sha256`` (of the file; of several files
        ``name=sum`` parted by spaces; of the arrays of generated data), ``split``, ``order``, ``exact_last``,
        ``users``, ``items``, ``interactions`` and ``held_out`` (users with a test item).

    Raises
    ------
    DataError
        If the name is unknown, the file absent, damaged or of no known format.
    """
    name, raw, info = load_raw(name_or_path, format=format)
    train, valid, test = leave_one_out(raw, seed)
    held_out = int((test >= 0).sum())
    if not held_out:
        raise DataError(f"{name}: no user has {MIN_LENGTH} interactions, so nothing can be held out; use a denser file")
    if raw.order == "none":
        split = f"leave-one-out at random (seed {seed})"
    elif raw.order == "file":
        split = "leave-one-out by the order of the file"
    else:
        split = "leave-one-out by time"
    info |= {
        "split": split,
        "order": raw.order,
        "exact_last": int(raw.exact_last),
        "users": raw.interactions.num_users,
        "items": raw.interactions.num_items,
        "interactions": raw.interactions.nnz,
        "held_out": held_out,
    }
    return RecDataset(name, train, valid, test, raw.order, info)


def load_raw(
    name_or_path: str | Path, *, format: str | None = None
) -> tuple[str, RawInteractions, dict[str, str | int]]:
    """Return the name, every interaction and the source of a data set, before any split.

    Raises
    ------
    DataError
        As `load`.
    """
    if format is not None and format not in FORMATS:
        raise DataError(f"unknown format {format!r}; {nearest(format, FORMATS)}")
    if isinstance(name_or_path, str) and name_or_path in CARDS:
        if format is not None:
            raise DataError(f"{name_or_path} has a format of its own; give format with a path alone")
        return _named(card(name_or_path))
    path = Path(name_or_path).expanduser()
    if not path.exists():
        if isinstance(name_or_path, str) and not _looks_like_path(name_or_path):
            card(name_or_path)  # Raises, with the nearest name.
        raise DataError(f"{path} does not exist; check the path (catalog names: {', '.join(CARDS)})")
    chosen = format or sniff(path)
    raw = _parse(path, chosen, exact_last=False)
    return path.name, raw, {"source": str(path), "format": chosen, "sha256": sums(_files(path, chosen))}


def sum_of(raw: RawInteractions) -> str:
    """Return the SHA-256 of the arrays of interactions, for data without a file of their own."""
    digest = hashlib.sha256(raw.interactions.indptr.tobytes())
    digest.update(raw.interactions.items.tobytes())
    return digest.hexdigest()


def _looks_like_path(text: str) -> bool:
    return "/" in text or "\\" in text or "." in text


def _named(known: DatasetCard) -> tuple[str, RawInteractions, dict[str, str | int]]:
    if known.kind != "interactions":
        raise DataError(f"{known.name} holds {known.kind}; load it with load_images({known.name!r})")
    if known.remote is None:
        from fedsiege.data.synthetic import synthetic

        raw = synthetic()
        return known.name, raw, {"source": "generated", "format": "none", "sha256": sum_of(raw)}
    found = obtain(known.name)
    raw = _parse(found.path, found.layout.format, exact_last=found.layout.exact_last)
    have = (raw.interactions.num_users, raw.interactions.num_items, raw.interactions.nnz)
    want = (known.users, known.items, known.interactions)
    if found.layout.exact and have != want:
        raise DataError(
            f"{found.path} is not the complete {known.name}: {have[0]} users, {have[1]} items, {have[2]} "
            f"interactions instead of {want[0]}, {want[1]}, {want[2]}; remove it and fetch it again, "
            "or load your own file by its path"
        )
    return (
        known.name,
        raw,
        {"source": str(found.path), "format": found.layout.format, "sha256": sums(found.files)},
    )


def _parse(path: Path, format: str, *, exact_last: bool) -> RawInteractions:
    if format == "movielens":
        from fedsiege.data.movielens import load_movielens

        return load_movielens(path)
    if format == "recbole":
        from fedsiege.data.recbole import load_recbole

        return load_recbole(path, exact_last=exact_last)
    if format == "lightgcn":
        from fedsiege.data.lightgcn import load_lightgcn

        return load_lightgcn(path)
    from fedsiege.data.checkins import load_checkins

    return load_checkins(path)


def _files(path: Path, format: str) -> tuple[Path, ...]:
    if format == "lightgcn":
        from fedsiege.data.lightgcn import pair

        return pair(path)
    return (path,)


def _told_by_name(name: str) -> str | None:
    """Return the format that a file's name alone tells, None if it tells none."""
    name = name.removesuffix(".gz")
    if name in ("train.txt", "test.txt"):
        return "lightgcn"
    if name.endswith(".inter"):
        return "recbole"
    if name in ("u.data", "ratings.dat"):
        return "movielens"
    return "checkins" if name.lower().endswith("checkins.txt") else None


def sniff(path: Path) -> str:
    """Return the format of a file or folder, by its name, then by its first line.

    Raises
    ------
    DataError
        If it is of no known format.
    """
    told = _told_by_name(path.name)
    if path.is_dir():
        inside = {entry.name: _told_by_name(entry.name) for entry in sorted(path.iterdir())}
        if "lightgcn" in inside.values():
            return "lightgcn"
        files = [name for name, format in inside.items() if format]
        if files:
            raise DataError(f"{path} as a folder holds no data of a known format; give the file {path / files[0]}")
        raise DataError(
            f"{path} holds no data of a known format; expected train.txt and test.txt, or images as train/CLASS/*.png "
            "and test/CLASS/*.png; records of other formats are given by the path of their file, such as u.data"
        )
    if told:
        return told
    from fedsiege.data._text import read_lines

    first = str(read_lines(path).text[0])
    fields = first.split("\t")
    if ":token" in fields[0]:
        return "recbole"
    if len(first.split("::")) == 4:
        return "movielens"
    if len(fields) == 5 and "T" in fields[1]:
        return "checkins"
    if len(fields) == 4 and all(field.strip().lstrip("-").replace(".", "", 1).isdigit() for field in fields):
        return "movielens"
    raise DataError(
        f"{path} is of no known format (first line {first[:80]!r}); give format=, one of {', '.join(FORMATS)}"
    )


def describe(name_or_path: str | Path, *, format: str | None = None) -> dict[str, str | int | float]:
    """Return the figures of a data set for people: counts, density, activity, concentration.

    Returns
    -------
    dict
        ``name``, ``source``, ``format``, ``sha256``, ``order``; ``users``, ``items``, ``interactions``,
        ``density`` (in [0, 1]); ``mean_length`` and the quantiles ``length_min``, ``length_q25``,
        ``length_median``, ``length_q75``, ``length_max`` of a user's number of interactions; ``top1_share``,
        the share in [0, 1] of interactions that fall on the most popular 1 % of items; for a named data set
        also ``summary``, ``paper`` and ``license``.
    """
    name, raw, info = load_raw(name_or_path, format=format)
    table = raw.interactions
    counts, popularity = table.counts(), np.sort(table.popularity())[::-1]
    top = max(1, round(table.num_items / 100))
    low, q25, median, q75, high = (float(q) for q in np.quantile(counts, [0, 0.25, 0.5, 0.75, 1]))
    known = CARDS.get(name_or_path) if isinstance(name_or_path, str) else None
    about: dict[str, str | int | float] = {"name": name}
    if known is not None:
        about |= {"summary": known.summary, "paper": known.paper, "license": known.license}
    return about | {
        **info,
        "order": raw.order,
        "users": table.num_users,
        "items": table.num_items,
        "interactions": table.nnz,
        "density": table.nnz / (table.num_users * table.num_items),
        "mean_length": table.nnz / table.num_users,
        "length_min": int(low),
        "length_q25": q25,
        "length_median": median,
        "length_q75": q75,
        "length_max": int(high),
        "top1_share": float(popularity[:top].sum() / table.nnz),
    }


def present(name: str) -> Found | None:
    """Return the files of a named data set if they are on this machine, never downloading (for listings)."""
    return None if card(name).remote is None else find(name)
