"""Markdown pages of published tables, from their JSON alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedsiege.arena.measures import MEASURES


def _cell(value: float | None, low: float | None, high: float | None, scale: float, digits: int) -> str:
    if value is None:
        return "–"
    text = f"{scale * value:.{digits}f}"
    if low is not None and high is not None:
        text += f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
    return text


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _named(row: Mapping[str, Any], usual: str | None) -> list[str]:
    """Return the cells that say what was run; `usual` is what rows without a variant are called, None without any."""
    return [
        f"{row['model']}, {row['dataset']}",
        f"{100 * row['malicious']:g} %",
        row["defense"] + (" (told the count)" if row["told"] else ""),
        *([row["variant"] or usual] if usual else []),
        row["attack"],
    ]


def _losses(data: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells of a table of metrics with what was lost."""
    metrics = [c for c in data["columns"] if c in ("HR@5", "NDCG@5")]
    judged = any(row["FPR"] is not None for row in data["rows"])
    head = []
    for metric in metrics:
        head += [f"{metric} (last round)", f"{metric} (best on validation)", "paper"]
    head += ["lost", "lost in paper", *(["honest rejected", "attackers accepted"] if judged else [])]
    body = []
    for row in data["rows"]:
        cells = []
        for metric in metrics:
            cells += [
                _cell(row[metric], row[f"{metric} low"], row[f"{metric} high"], 1, 4),
                _cell(row[f"{metric} best"], None, None, 1, 4),
                _cell(row[f"{metric} paper"], None, None, 1, 4),
            ]
        lost = _cell(row["loss"], row["loss low"], row["loss high"], 100, 1)
        cells += [lost + (" %" if lost != "–" else ""), _percent(row["loss paper"])]
        if judged:
            cells += [_percent(row["FPR pooled"]), _percent(row["FNR pooled"])]
        body.append(cells)
    return head, body


def _measures(data: Mapping[str, Any], names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells of a table of measures, without those of which nothing is known."""
    known = [n for n in names if any(row[n] is not None or row[f"{n} paper"] is not None for row in data["rows"])]
    printed = {n for n in known if any(row[f"{n} paper"] is not None for row in data["rows"])}
    head = []
    for name in known:
        measure = MEASURES[name]
        head += [f"{measure.label}{' (%)' * measure.percent}", *(["paper"] if name in printed else [])]
    body = []
    for row in data["rows"]:
        cells = []
        for name in known:
            scale, digits = MEASURES[name].scale, MEASURES[name].digits
            cells.append(_cell(row[name], row[f"{name} low"], row[f"{name} high"], scale, digits))
            if name in printed:
                cells.append(_cell(row[f"{name} paper"], None, None, scale, digits))
        body.append(cells)
    return head, body


def render(data: Mapping[str, Any]) -> str:
    """Return the Markdown page of a published table (`fedsiege.arena.publish.evidence`)."""
    varied = any(row["variant"] for row in data["rows"])
    smaller = data["id"].endswith(("-lite", "-small"))
    usual = "as noted below" if smaller else "as in the paper"
    if data["id"].startswith("variants-"):
        usual = "our default"
    own, body = _measures(data, data["measures"]) if "measures" in data else _losses(data)
    head = ["model, data", "malicious", "defense", *(["variant"] if varied else []), "attack", *own, "seeds"]
    lines = [f"# {data['title']}", "", data["about"], "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row, cells in zip(data["rows"], body):
        lines.append("| " + " | ".join([*_named(row, usual if varied else None), *cells, str(row["seeds"])]) + " |")
    lines += ["", *[f"- {note}" for note in data["notes"]], "", "```console", f"$ {data['command']}", "```", ""]
    commits = ", ".join(data["commits"]) or "unknown"
    made = f"Commit: {commits}. Hardware: {'; '.join(data['hardware'])}. Paper: {data['paper']}."
    lines += [f"{made} Every seed's values are in `{data['id']}.json` beside this page.", ""]
    return "\n".join(lines)
