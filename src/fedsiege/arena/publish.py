"""Results for the documentation: a JSON with every seed's value, and the page that is rendered from it alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedsiege.arena.evidence import Run, known, published
from fedsiege.arena.grid import Cell
from fedsiege.arena.reproduce import ROUNDS, plan, tabulate, target
from fedsiege.federation.checkpoint import write_atomic


def evidence(id_: str, cells: Sequence[Cell], runs: Sequence[Run], command: str) -> dict[str, Any]:
    """Return the table of a target with each of its `runs`: seed, values, commit, hardware, configuration hash.

    `command` is the command line that repeats it.
    """
    return {
        **tabulate(id_, cells, runs).to_json(),
        "about": target(id_).about,
        "command": command,
        "commits": sorted({str(run.commit) for run in runs}),
        "hardware": sorted({f"{r.hardware['cpu']}, {r.hardware['threads']} thread a run" for r in runs}),
        "runs": [run.to_json() for run in runs],
    }


def _cell(value: float | None, low: float | None, high: float | None, scale: float, digits: int) -> str:
    if value is None:
        return "–"
    text = f"{scale * value:.{digits}f}"
    if low is not None and high is not None:
        text += f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
    return text


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def render(data: dict[str, Any]) -> str:
    """Return the Markdown page of `evidence`."""
    metrics = [c for c in data["columns"] if c in ("HR@5", "NDCG@5")]
    judged = any(row["FPR"] is not None for row in data["rows"])
    varied = any(row["variant"] for row in data["rows"])
    head = ["model, data", "malicious", "defense", *(["variant"] if varied else []), "attack"]
    for metric in metrics:
        head += [f"{metric} (last round)", f"{metric} (best on validation)", "paper"]
    head += ["lost", "lost in paper", *(["honest rejected", "attackers accepted"] if judged else []), "seeds"]
    lines = [f"# {data['title']}", "", data["about"], "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in data["rows"]:
        cells = [
            f"{row['model']}, {row['dataset']}",
            f"{100 * row['malicious']:g} %",
            row["defense"] + (" (told the count)" if row["told"] else ""),
            *([row["variant"] or "as in the paper"] if varied else []),
            row["attack"],
        ]
        for metric in metrics:
            cells += [
                _cell(row[metric], row[f"{metric} low"], row[f"{metric} high"], 1, 4),
                _cell(row[f"{metric} best"], None, None, 1, 4),
                _cell(row[f"{metric} paper"], None, None, 1, 4),
            ]
        spread = [row["loss low"], row["loss high"]]
        lost = _cell(row["loss"], spread[0], spread[1], 100, 1)
        cells += [lost + (" %" if lost != "–" else ""), _percent(row["loss paper"])]
        if judged:
            cells += [_percent(row["FPR pooled"]), _percent(row["FNR pooled"])]
        lines.append("| " + " | ".join([*cells, str(row["seeds"])]) + " |")
    lines += ["", *[f"- {note}" for note in data["notes"]], "", "```console", f"$ {data['command']}", "```", ""]
    made = f"Commit: {', '.join(data['commits'])}. Hardware: {'; '.join(data['hardware'])}. Paper: {data['paper']}."
    lines += [f"{made} Every seed's values are in `{data['id']}.json` beside this page.", ""]
    return "\n".join(lines)


def publish(id_: str, cells: Sequence[Cell], folder: Path, root: Path = Path("runs")) -> list[Path]:
    """Write ``<id>.json`` and ``<id>.md`` of a target into `folder`; return their paths.

    The table holds every run of the target that is known: finished under `root`, or published in `folder` before, in
    this table or another. So a table grows cell by cell, on one machine after another.

    Parameters
    ----------
    id_ : str
        The target.
    cells : sequence of Cell
        The cells that were just run, not empty; their rounds are those of the table.
    folder : Path
        Where tables are published.
    root : Path
        Where run folders lie.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rounds = cells[0].config.federation.rounds
    seeds = {run.seed for run in published(folder).values() if run.rounds == rounds}
    every = plan(id_, sorted(seeds | {cell.config.seed for cell in cells}), rounds, None, root)
    runs = known(every, folder)
    words = ["fedsiege", "reproduce", id_, "--seeds", *map(str, sorted({run.seed for run in runs}))]
    data = evidence(id_, every, runs, " ".join(words + (["--rounds", str(rounds)] if rounds != ROUNDS else [])))
    written = [folder / f"{id_}.json", folder / f"{id_}.md"]
    write_atomic(written[0], (json.dumps(data, indent=1) + "\n").encode())
    write_atomic(written[1], render(data).encode())
    return written
