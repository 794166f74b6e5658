"""Leaderboards for the documentation: a JSON with the record of every run, and the page rendered from it alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from fedsiege.arena import card_store
from fedsiege.arena.board_command import repeating
from fedsiege.arena.board_tables import markdown
from fedsiege.arena.boards import boards, shipped
from fedsiege.arena.environment import each_commit
from fedsiege.arena.record import Record
from fedsiege.arena.store import Store
from fedsiege.arena.turns import turn
from fedsiege.errors import RunError
from fedsiege.files import make_folder, write_atomic

ORIGIN = ("version", "commit", "data_sha256", "hardware", "versions")
"""Fields that many runs share; the JSON holds each combination once."""
USUAL = {f.name: f.default_factory() if f.default_factory is not MISSING else f.default for f in fields(Record)}
"""Values of fields that the JSON leaves out."""


def _bare(value: Any) -> Any:
    """JSON has no NaN: an undefined number is null."""
    if isinstance(value, Mapping):
        return {key: _bare(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_bare(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _full(name: str, value: Any) -> Any:
    """Undo `_bare` for a field of a record."""
    if isinstance(USUAL[name], tuple):
        return tuple(math.nan if inner is None else inner for inner in value)
    if name in ("scores", "detection"):
        return {key: math.nan if inner is None else inner for key, inner in value.items()}
    return value


def to_json(card: str, records: Iterable[Record], cards: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return finished runs of a card as JSON values; `from_json` gives the records back.

    Parameters
    ----------
    card : str
        The card's id.
    records : iterable of Record
        Its runs.
    cards : mapping, optional
        By hash the values of cards that do not come with FedSiege, without which nobody else could read the board.
    """
    origins: list[dict[str, Any]] = []
    runs = []
    for record in sorted(records, key=lambda r: (r.card_hash, r.degree, r.defense_label, r.attack_label, r.seed)):
        values = {name: _bare(getattr(record, name)) for name in USUAL}
        origin = {name: values.pop(name) for name in ORIGIN}
        if origin not in origins:
            origins.append(origin)
        kept = {name: value for name, value in values.items() if value is not None and value != _bare(USUAL[name])}
        runs.append({**kept, "origin": origins.index(origin)})
    return {"card": card, **({"cards": dict(cards)} if cards else {}), "origins": origins, "runs": runs}


def from_json(data: Mapping[str, Any]) -> list[Record]:
    """Return the records of a published leaderboard."""
    found = []
    for run in data["runs"]:
        values = {**run, **data["origins"][run["origin"]]}
        del values["origin"]
        found.append(Record(**{name: _full(name, value) for name, value in values.items()}))
    return found


def render(data: Mapping[str, Any]) -> str:
    """Return the Markdown page of a published leaderboard."""
    records = from_json(data)
    known = card_store.published(records, data.get("cards", {}))
    commits = each_commit(record.commit for record in records)
    hardware = sorted({record.hardware for record in records if record.hardware})
    lines = [
        f"# Leaderboard of {data['card']}",
        "",
        *(markdown(board) for board in boards(records, known)),
        *repeating(data["card"], records),
        f"{len(records)} runs; commits {', '.join(commits) or 'unknown'}; made on {'; '.join(hardware) or 'unknown'}. "
        "The JSON beside this page holds every run, its seed and the command that repeats it.",
    ]
    return "\n".join(lines) + "\n"


def read(path: Path) -> tuple[list[Record], dict[str, Any]]:
    """Return the records of a published leaderboard and the values of cards of one's own, by hash; RunError if damaged.

    A file that is not there holds nothing.
    """
    if not path.exists():
        return [], {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return from_json(data), dict(data.get("cards", {}))
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is no published leaderboard ({error}); remove it, or publish elsewhere") from error


def place(card: str, folder: Path) -> Path:
    """Return where the leaderboard of a card lies in `folder`, as JSON; its page is beside it."""
    return folder / f"{card}.json"


def publish(card: str, root: Path, folder: Path) -> list[Path]:
    """Write ``<card>.json`` and ``<card>.md`` of all known runs of a card into `folder`; return their paths.

    Known are finished runs under `root` and those published in `folder` before, on whatever machine, so that a
    leaderboard grows run by run. Where a run is known twice, that of `root` counts. Of several processes that
    publish in `folder` at once, each waits for its turn.

    Parameters
    ----------
    card : str
        The card's id; runs of all its versions and degrees are published.
    root : Path
        Where run folders lie.
    folder : Path
        Where leaderboards are published.

    Raises
    ------
    RunError
        If there is no run to publish, the JSON that is there cannot be read, or the folder cannot be written.
    """
    target = place(card, folder)
    with Store(root) as store:
        found = store.records(card)
    if not found and not read(target)[0]:
        raise RunError(f"{root} holds no finished run of {card}; there is nothing to publish")
    kept = card_store.kept(root, found)
    make_folder(folder)
    with turn(folder):
        before, cards = read(target)
        # Of several folders with one configuration the first counts, as on a board.
        known = {(r.card_hash, r.config_hash, r.seed): r for r in [*before, *reversed(found)]}
        ours = shipped(known.values())
        own = {**cards, **{hash_: card_store.values(made) for hash_, made in kept.items()}}
        data = to_json(card, known.values(), {hash_: own[hash_] for hash_ in sorted(own) if hash_ not in ours})
        lines = ",\n  ".join(json.dumps(run, allow_nan=False) for run in data["runs"])
        head = json.dumps({**data, "runs": []}, indent=1, allow_nan=False)
        write_atomic(target, (head.removesuffix('"runs": []\n}') + f'"runs": [\n  {lines}\n ]\n}}\n').encode())
        page = target.with_suffix(".md")
        write_atomic(page, render(data).encode())
    return [target, page]
