"""Print-ready figures of a report: leaderboards, heat maps, curves and costs; readable in grey."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from fedsiege.report import words
from fedsiege.report.cells import BEST, LOSS, NONE, PACE, SLOW, VALUE, cost, curves, judged, orders, paces
from fedsiege.report.leaderboard_words import known

if TYPE_CHECKING:
    from fedsiege.arena.board import Board as Leaderboard
    from fedsiege.report.contest import Contest

INK, MAIN = "#111111", "#0072b2"
SERIES = ("#5a6570", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a87900", "#56b4e9", "#8c5a44")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (6, 2, 1, 2)))
_SHADES = {
    LOSS: ", and the change against no attack and no defense",
    VALUE: " (lower is better; the darker, the higher)",
    BEST: " (the darker, the further from the best cell: there is no run without attack and defense)",
}
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<")


def look(number: int) -> dict[str, Any]:
    """Return colour, dash and mark of the line with that number; dash and mark together repeat after 56 lines."""
    return {
        "color": SERIES[number % len(SERIES)],
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKS[number % len(MARKS)],
    }


@dataclass(frozen=True)
class Picture:
    """One figure: a name for its file, and what draws it."""

    name: str
    draw: Callable[[], Any]


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _title(figure: Any, text: str) -> None:
    wide = max(40, int(figure.get_size_inches()[0] * 11))
    figure.suptitle(textwrap.fill(text, wide), fontsize=9)


def ranking(board: Leaderboard) -> Any:
    """Return the worst case of each defense with its interval, its clean score and the undefended clean one."""
    rows = board.rows[::-1]
    alike = board.clean_metric == board.metric
    figure = _figure(6.4, 1.3 + 0.34 * len(rows))
    axes = figure.subplots()
    marked: set[str] = set()

    def named(what: str) -> str | None:
        """Return the legend's words for the first mark of a kind, None for the others."""
        first = what not in marked
        marked.add(what)
        return what if first else None

    for at, row in enumerate(rows):
        value = row.worst_score.value
        if known(value.mean):
            low, high = (value.low, value.high) if known(value.low) else (value.mean, value.mean)
            axes.errorbar(
                value.mean, at, xerr=[[max(0.0, value.mean - low)], [max(0.0, high - value.mean)]], fmt="o", color=MAIN,
                capsize=3, label=named("worst case (95% interval)"),
            )  # fmt: skip
        if alike and known(row.clean.value.mean):
            axes.plot(row.clean.value.mean, at, "D", mfc="white", mec=INK, label=named("nobody attacks"))
    base = next((r for r in rows if r.defense == NONE and r.division == "closed"), None)
    if alike and base is not None and known(base.clean.value.mean):
        axes.axvline(base.clean.value.mean, color=INK, linestyle="--", linewidth=1, label="no attack, no defense")
    names = [
        f"{row.defense}{' ★' if row.best else ''}{' (open)' if row.division == 'open' else ''}"
        f"{' (told)' if row.told else ''}{f'  under {row.worst}' if row.worst else ''}"
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.set_xlabel(board.metric if board.higher_is_better else f"{board.metric} (lower is better)")
    axes.grid(axis="x", linewidth=0.4, alpha=0.6)
    axes.margins(y=0.5 / max(len(rows), 1))
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    _title(figure, " · ".join(part for part in (board.card, board.degree) if part))
    return figure


def heat(board: Contest, cells: pl.DataFrame, group: str) -> Any:
    """Return scores of attacks against defenses as a grid of numbers; the darker, the worse for the defender."""
    metric = board.sticks[group].metric
    mine = cells.filter((pl.col("group") == group) & (pl.col("metric") == metric) & (pl.col("moment") == "last"))
    found = {(c["attack"], c["defense"]): c for c in mine.iter_rows(named=True)}
    attacks, defenses = orders(board)
    rows = [a for a in attacks if any(a == key[0] for key in found)]
    columns = [d for d in defenses if any(d == key[1] for key in found)]
    harm = np.full((len(rows), len(columns)), np.nan)
    basis = mine["basis"][0]
    black = 1.0 if basis == VALUE else 0.8
    figure = _figure(1.9 + 0.95 * len(columns), 1.6 + 0.42 * len(rows))
    axes = figure.subplots()
    for i, attack in enumerate(rows):
        for j, defense in enumerate(columns):
            cell = found.get((attack, defense))
            if cell is None or not cell["n"]:
                why = "not run" if cell is None else "no score"
                axes.text(j, i, why, ha="center", va="center", fontsize=7, style="italic", color=INK)
                continue
            harm[i, j] = cell["harm"]
            text = f"{words.score(cell['mean'])}\n{words.change(cell['loss'])}".rstrip()
            axes.text(
                j, i, text, ha="center", va="center", fontsize=7, color="white" if harm[i, j] > black * 0.625 else INK
            )
    axes.imshow(np.where(np.isfinite(harm), harm, 0.0), cmap="Greys", vmin=0, vmax=black, aspect="auto", alpha=0.9)
    axes.set_xticks(range(len(columns)), [_broken(d) for d in columns], fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("defense")
    axes.set_ylabel("attack")
    _title(figure, f"{metric} after the last round{_SHADES[basis]}: {group}")
    return figure


def _broken(name: str) -> str:
    return name.replace("+", "+\n").replace(" (", "\n(")


def learning(board: Contest, group: str) -> Any:
    """Return test scores over rounds, a panel for each defense, a line for each attack; the group must have some."""
    stick = board.sticks[group]
    every = judged(board, curves(board)).filter(pl.col("group") == group)
    attacks, defenses = orders(board)
    present = set(every["attack"])
    attacks = [a for a in attacks if a in present]
    there = set(every["defense"])
    panels = [d for d in defenses if d in there]
    columns = min(3, len(panels))
    height = -(-len(panels) // columns)
    figure = _figure(2.4 * columns + 0.6, 1.8 * height + 0.9)
    grid = figure.subplots(height, columns, squeeze=False, sharey=True, sharex=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles: dict[str, Any] = {}
    for axes, defense in zip(grid.flat, panels):
        parts = every.filter(pl.col("defense") == defense).partition_by("attack", as_dict=True)
        for (attack,), part in sorted(parts.items(), key=lambda p: attacks.index(str(p[0][0]))):
            mine = look(attacks.index(str(attack)))
            (handles[str(attack)],) = axes.plot(
                part["round"], part["mean"], linewidth=1.2, markersize=3, markevery=max(1, part.height // 6), **mine
            )
            axes.fill_between(part["round"], part["low"], part["high"], color=mine["color"], alpha=0.12, linewidth=0)
        axes.set_title(defense, fontsize=8)
        axes.grid(linewidth=0.4, alpha=0.6)
        axes.tick_params(labelsize=7)
    for axes in grid.flat[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel("round", fontsize=8)
        axes.tick_params(labelbottom=True)
    figure.supylabel(stick.metric if stick.higher else f"{stick.metric} (lower is better)", fontsize=9)
    named = [name for name in attacks if name in handles]
    figure.legend([handles[name] for name in named], named, loc="outside lower center", ncols=4, fontsize=8)
    _title(figure, group)
    return figure


def costs(board: Contest, group: str) -> Any:
    """Return what each defense costs when nobody attacks: the clean score and the time of a round."""
    metric = board.sticks[group].clean
    every = pl.concat([cost(board).filter(pl.col("metric") != SLOW).drop("attack"), paces(board)])
    every = every.filter(pl.col("group") == group)
    pace = PACE if PACE in every["metric"] else SLOW
    _, order = orders(board)
    names = [d for d in order if d in set(every["defense"])][::-1]
    figure = _figure(6.4, 1.1 + 0.3 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, what in ((left, metric), (right, pace)):
        part = {c["defense"]: c for c in every.filter(pl.col("metric") == what).iter_rows(named=True)}
        for at, name in enumerate(names):
            cell = part.get(name)
            if cell is None:
                continue
            ends = [cell["mean"] - cell["low"]], [cell["high"] - cell["mean"]]
            axes.barh(
                at, cell["mean"], 0.6, color="#c9d7e3", edgecolor=INK, linewidth=0.6,
                xerr=np.nan_to_num(np.array(ends)).clip(min=0), error_kw={"elinewidth": 0.9, "capsize": 2},
            )  # fmt: skip
        if NONE in part:
            axes.axvline(part[NONE]["mean"], color=INK, linestyle="--", linewidth=1)
        axes.set_xlabel(what if what == PACE else f"{what}, nobody attacks")
        axes.grid(axis="x", linewidth=0.4, alpha=0.6)
    left.set_yticks(range(len(names)), names)
    _title(figure, f"What a defense costs (dashed: no defense): {group}")
    return figure


def pictures(board: Contest, boards: tuple[Leaderboard, ...], cells: pl.DataFrame) -> Iterator[Picture]:
    """Yield every figure of a report that has something to show, leaderboards first."""
    for found in boards:
        yield Picture(f"leaderboard {found.card} {found.degree}".strip(), lambda found=found: ranking(found))  # type: ignore[misc]
    scored, drawn = set(judged(board, cells)["group"]), set(judged(board, curves(board))["group"])
    priced = set(cost(board)["group"])
    for group in board.groups:
        if group in scored:
            yield Picture(f"grid {group}", lambda group=group: heat(board, cells, group))  # type: ignore[misc]
        if group in drawn:
            yield Picture(f"curves {group}", lambda group=group: learning(board, group))  # type: ignore[misc]
        if group in priced:
            yield Picture(f"cost {group}", lambda group=group: costs(board, group))  # type: ignore[misc]
