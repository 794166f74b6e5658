"""The page's tables and lists in semantic HTML. Every text that comes from a run is escaped here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import polars as pl

from fedsiege.arena.folder import UNSELECTED
from fedsiege.report import words
from fedsiege.report.cells import LOSS, NONE, SLOW, VALUE, Keyed, describe_seeds, judgements, orders
from fedsiege.report.collect import Board
from fedsiege.report.contest import Contest, contest, controls
from fedsiege.report.fits import Sweep
from fedsiege.report.labels import percent


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """Return a table from HTML cells, the first of each row being its heading; `numeric` columns stand right."""

    def cell(tag: str, column: int, text: str, scope: str = "") -> str:
        kind = ' class="n"' if column in numeric else ""
        return f"<{tag}{scope}{kind}>{text}</{tag}>"

    top = "".join(cell("th", i, text, ' scope="col"') for i, text in enumerate(head))
    body = "".join(
        "<tr>"
        + cell("th", 0, row[0], ' scope="row"')
        + "".join(cell("td", i, text) for i, text in enumerate(row) if i)
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scrolls" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def folded(summary: str, content: str) -> str:
    """Return content that opens on demand."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _unique(frame: pl.DataFrame, column: str) -> list[Any]:
    return frame[column].drop_nulls().unique(maintain_order=True).to_list()


def facts(board: Board) -> str:
    """Return what was run, as a list of terms."""
    runs = board.runs
    commits = [text[:12] + ("+changes" if text.endswith("+changes") else "") for text in _unique(runs, "commit")]
    pairs = [
        ("Runs", f"{runs.height}" + (f" (and {board.unfinished} unfinished)" if board.unfinished else "")),
        ("Data sets", ", ".join(sorted(_unique(runs, "dataset")))),
        ("Models", ", ".join(sorted(_unique(runs, "model")))),
        ("Malicious clients", ", ".join(percent(s) for s in sorted(_unique(runs, "malicious")))),
        ("Rounds", ", ".join(f"{n:,}" for n in sorted(_unique(runs, "rounds")))),
        ("Seeds", describe_seeds(_unique(runs, "seed"))),
        ("Protocol", ", ".join(sorted(_unique(runs, "protocol")))),
        ("Code version", ", ".join(commits) or "unknown"),
        ("Hardware", "; ".join(_unique(runs, "hardware")) or "unknown"),
    ]
    if names := Counter(controls(board)["attack_name"].sort().to_list()):
        told = ", ".join(f"{name} ({words.counted(n, 'run')})" for name, n in names.items())
        pairs.insert(1, ("Controls, in no chart", told))
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)
    command = next(iter(_unique(runs, "command")), None)
    example = f"<p>One of the commands behind it: <code>{escape(command)}</code></p>" if command else ""
    return f'<dl class="facts">{items}</dl>{example}'


def badges(board: Board) -> str:
    """Return what each attack may see and what defenses are told."""
    board = contest(board)
    attacks, _ = orders(board)
    known: dict[str, list[str]] = {}
    for attack, knowledge in board.grouped.select("attack", "knowledge").unique(maintain_order=True).rows():
        if attack != NONE:
            known.setdefault(attack, []).append(knowledge)
    items = [
        f"<li><b>{escape(attack)}</b> sees: {escape('; '.join(sorted(known[attack])))}</li>"
        for attack in attacks
        if attack in known
    ]
    told = sorted(_unique(board.runs, "told_byzantine"))
    blind = board.runs["told_byzantine"].null_count()
    if blind:
        items.append(
            f"<li><b>defenses</b> are {'sometimes ' if told else ''}not told how many attackers there are</li>"
        )
    if told:
        items.append(
            f"<li><b>defenses</b> are told to expect {escape(words.listing(list(map(str, told))))} per round</li>"
        )
    return f'<ul class="badges" aria-label="Threat model">{"".join(items)}</ul>'


def _grid_cell(cell: dict[str, Any] | None) -> str:
    if cell is None or not cell["n"]:
        return "–"
    change = words.change(cell["loss"])
    interval = words.change_range(cell["loss_low"], cell["loss_high"])
    small = f"{change} ({interval or words.seeds(cell['loss_n'])})" if change else words.seeds(cell["n"])
    return f"{words.score(cell['mean'])} {words.half_width(cell['low'], cell['high'])}<small>{small}</small>"


def grid(board: Contest, cells: pl.DataFrame, group: str) -> str:
    """Return one group's scores of the last round, attacks by defenses, in what it is judged by."""
    metric = board.sticks[group].metric
    attacks, defenses = orders(board)
    mine = cells.filter((pl.col("group") == group) & (pl.col("metric") == metric) & (pl.col("moment") == "last"))
    found = {(c["attack"], c["defense"]): c for c in mine.iter_rows(named=True)}
    columns = [d for d in defenses if any(d == key[1] for key in found)]
    rows = [
        [escape(a), *(_grid_cell(found.get((a, d))) for d in columns)]
        for a in attacks
        if any(a == key[0] for key in found)
    ]
    basis = "" if mine.is_empty() else mine["basis"][0]
    compared = "and the change against no attack and no defense (with its 95% interval)"
    loose = f"and the number of seeds{'; lower is better' if basis == VALUE else ''}"
    caption = (
        f"{metric} on test data after the last round, {group}: mean over seeds ± half of its 95% interval, "
        f"{compared if basis == LOSS else loose}"
    )
    return table(caption, ["attack \\ defense", *map(escape, columns)], rows)


def detection(frame: pl.DataFrame, group: str) -> str:
    """Return one group's detection rates."""
    mine, columns = frame.filter(pl.col("group") == group), judgements(frame, group)
    rows = []
    for (defense, attack), part in mine.partition_by("defense", "attack", as_dict=True, maintain_order=True).items():
        found = {c["metric"]: c for c in part.iter_rows(named=True)}
        texts = []
        for name in columns:
            cell = found.get(name)
            digits = 2 if name == "AAR" else 4
            spread = words.half_width(cell["low"], cell["high"], digits) if cell else ""
            texts.append(f"{cell['mean']:.{digits}f} <small>{spread}</small>" if cell else "–")
        rows.append([escape(str(defense)), escape(str(attack)), *texts])
    rows.sort(key=lambda row: row[0])
    head = ["defense", "attack", *columns]
    caption = f"How uploads were judged, {group}: mean over seeds ± half of the 95% interval"
    return table(caption, head, rows, numeric=range(2, len(head)))


def _share(part: int, whole: int) -> str:
    return percent(round(part / whole, 3)) if whole else "–"


def thresholds(sweep: Sweep) -> str:
    """Return at which γ and within how many iterations one defense's clients would be rejected, by attack."""
    rows = []
    for gamma in sweep.gammas:
        if not sweep.known(gamma):
            rows.append([f"{gamma:g}", "any", *("–" for _ in sweep.attacks)])
            continue
        for budget in sweep.budgets:
            texts = []
            for attack in sweep.attacks:
                bad, good = sweep.rejected(attack, gamma, budget)
                texts.append(
                    f"{_share(bad, sweep.bad[attack])}<small>benign {_share(good, sweep.good[attack])}</small>"
                )
            own = " (as run)" if (gamma, budget) == (sweep.gamma, sweep.budget) else ""
            rows.append([f"{gamma:g}", f"{budget:,}{own}", *texts])
    head = ["γ", "iterations at most"]
    for attack in sweep.attacks:
        counts = [f"{n[attack]} {who}" for n, who in ((sweep.bad, "malicious"), (sweep.good, "benign")) if n[attack]]
        head.append(f"{escape(attack)} ({', '.join(counts)})")
    caption = (
        f"Malicious clients, and below them benign ones, whose first upload would be rejected at another γ or with "
        f"fewer iterations, {sweep.group}, {sweep.defense}: one seed, run with γ {sweep.gamma:g} and a budget of "
        f"at most {words.counted(sweep.budget, 'iteration')}"
    )
    said = (
        f"These fits end as soon as the error is below γ. So an error found at γ {sweep.gamma:g} says nothing for a "
        f"smaller γ (–): the fit might have gone on and reached it."
        if sweep.early
        else "These fits use up their budget whatever γ is, so their errors hold for every γ."
    )
    lost = f" Without a finite error, a client counts as rejected: {sweep.lost}." if sweep.lost else ""
    return f'{table(caption, head, rows, numeric=(0, 1))}<p class="soft">{escape(said + lost)}</p>'


def clients(frame: pl.DataFrame, group: str, defense: str) -> str:
    """Return the verdict on each client whose curve is drawn."""
    mine = frame.filter((pl.col("group") == group) & (pl.col("defense") == defense))
    rows = [
        [
            escape(row["attack"]),
            str(row["client"]),
            row["who"],
            str(row["round"]),
            f"{row['iterations']:,}",
            f"{row['final']:.4g}" if row["final"] is not None and row["final"] < float("inf") else "not finite",
            row["verdict"],
        ]
        for row in mine.iter_rows(named=True)
    ]
    head = ["attack", "client", "who", "round", "iterations", "error", "verdict"]
    return table(f"Verdicts on first uploads, {group}, {defense}", head, rows, numeric=(1, 3, 4, 5))


def cost(frame: pl.DataFrame, changes: pl.DataFrame, group: str, metric: str) -> str:
    """Return what one group's defenses cost when nobody attacks; `changes` are of `fedsiege.report.cells.prices`."""
    mine = frame.filter(pl.col("group") == group)
    found = {(c["defense"], c["metric"]): c for c in mine.iter_rows(named=True)}
    paired = changes.filter((pl.col("group") == group) & (pl.col("n") > 0))
    change = {(c["defense"], c["metric"]): c["mean"] for c in paired.iter_rows(named=True)}
    rows = []
    for defense in _unique(mine, "defense"):
        clean, time = found.get((defense, metric)), found.get((defense, SLOW))
        shift, ratio = change.get((defense, metric)), change.get((defense, SLOW))
        rows.append(
            [
                escape(defense),
                f"{words.score(clean['mean'])} {words.half_width(clean['low'], clean['high'])}" if clean else "–",
                "–" if shift is None else words.signed_percent(shift),
                words.milliseconds(time["mean"]) if time else "–",
                "–" if ratio is None else words.pace(ratio),
            ]
        )
    head = ["defense", escape(metric), "against no defense", "time of a round", "against no defense"]
    return table(f"With no attack, {group}", head, rows, numeric=range(1, 5))


def commands(keys: Keyed, group: str) -> str:
    """Return the command that repeats the first seed of each cell of a group, controls among them."""
    rows = []
    for (_, attack, defense), part in (pair for pair in keys if pair[0][0] == group):
        command = part["command"][0]
        rows.append(
            [
                escape(attack),
                escape(defense),
                escape(describe_seeds(part["seed"].to_list())),
                f"<code>{escape(command)}</code>" if command else "unknown",
            ]
        )
    return table(f"Commands, {group}", ["attack", "defense", "seeds", "command (its first seed)"], rows)


def notes(board: Board) -> str:
    """Return what a reader must know to trust or doubt the numbers, and what could not be read."""
    runs = board.runs
    said: list[str] = []
    protocols = set(_unique(runs, "protocol"))
    ranked = any("@" in metric for metric in board.metrics)
    if ranked and "fair" in protocols:
        said.append("Protocol fair: clients draw training negatives without knowing what is held out of their data.")
    if "paper" in protocols:
        said.append(
            "Protocol paper: training negatives spare held-out items, as the public code of the AAAI 2023 paper does, "
            "which lets clients know what is held out. Such scores are not comparable with fair ones."
        )
    if ranked:
        said.append(
            "HR and NDCG are taken on benign clients only; each is asked for the one item that was held out last."
        )
    selected = [word for word in _unique(runs, "selected_by") if word != UNSELECTED]
    if selected:
        said.append(f"“Best round” is the round with the best {words.listing(selected)}; test data chose nothing.")
    said.append(
        "Intervals are 95% percentile-bootstrap intervals over seeds; changes are paired by seed with the run without "
        "attack and defense, and times of a round only with one of the same commit and machine. With few seeds they "
        "are rough."
    )
    told = runs["told_byzantine"].drop_nulls().len()
    if told:
        said.append(
            f"In {told} of {runs.height} runs the defense was told how many attackers to expect (told_byzantine), "
            f"which a real server does not know."
        )
    cell = ["group", "attack", "defense"]
    lone = board.grouped.group_by(cell).agg(pl.col("seed").n_unique()).filter(pl.col("seed") == 1).height
    if lone:
        said.append(f"{lone} cell(s) rest on a single seed and have no interval: read them as anecdotes.")
    broken = runs.filter(~pl.col("finite"))["path"].to_list()
    if broken:
        said.append(f"Training left the finite numbers in: {', '.join(broken)}.")
    idle = runs.filter(pl.col("rounds_applied") < pl.col("rounds")).height
    if idle:
        said.append(f"In {idle} run(s) the defense rejected every upload of some rounds; the model then stood still.")
    spared = runs.filter((pl.col("attack_name") != NONE) & pl.col("FNR").is_null() & pl.col("FPR").is_not_null()).height
    if spared:
        said.append(f"In {spared} run(s) of an attack no malicious client took part: their scores are clean ones.")
    if board.unfinished:
        said.append(f"{board.unfinished} run(s) have not ended and are left out.")
    items = "".join(f"<li>{escape(text)}</li>" for text in said)
    html = f"<ul>{items}</ul>"
    if board.warnings:
        bad = "".join(f"<li>{escape(text)}</li>" for text in board.warnings)
        html += f'<h3>What could not be read</h3><ul class="warn">{bad}</ul>'
    return html
