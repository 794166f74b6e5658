"""What a board's tables say, before Markdown or LaTeX: numbers, footnotes, badges, what is bold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fedsiege.arena.board import CLEAN, Board, Row
from fedsiege.arena.flags import NONE, RULES
from fedsiege.arena.stats import PAIRS, Estimate

DASH = "–"


@dataclass(frozen=True)
class Cell:
    """A cell's text, whether it is bold, and letters of its footnotes."""

    text: str
    bold: bool = False
    marks: str = ""


@dataclass(frozen=True)
class Grid:
    """A table: caption, head, rows of cells, the first of each row being its heading."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass
class Marks:
    """Letters of footnotes, given in the order in which flags' codes are first met."""

    codes: list[str] = field(default_factory=list)

    def of(self, codes: Sequence[str]) -> str:
        """Return the letters of `codes`, in order and separated by commas."""
        for code in codes:
            if code not in self.codes:
                self.codes.append(code)
        return ",".join(sorted("abcdefghijklmnopqrstuvwxyz"[self.codes.index(code)] for code in codes))

    @property
    def legend(self) -> list[tuple[str, str]]:
        """The letters met, each with what it says."""
        return [("abcdefghijklmnopqrstuvwxyz"[i], RULES[code]) for i, code in enumerate(self.codes)]


def interval(value: Estimate, digits: int = 4) -> str:
    """Return ``mean [low, high]``; without the interval if there is none, a dash without a mean."""
    if math.isnan(value.mean):
        return DASH
    text = f"{value.mean:.{digits}f}"
    return text if math.isnan(value.low) else f"{text} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def about(value: Estimate, digits: int = 4) -> str:
    """Return ``mean ± half the interval``; without that if there is none, a dash without a mean."""
    if math.isnan(value.mean):
        return DASH
    text = f"{value.mean:.{digits}f}"
    return text if math.isnan(value.low) else f"{text} ± {value.half_width:.{digits}f}"


def lacking(value: Estimate, board: Board) -> str:
    """Return ``" (2 of 5)"`` of a mean over two of a board's five seeds, nothing of one over all or none."""
    return f" ({value.n} of {len(board.seeds)})" if 0 < value.n < len(board.seeds) else ""


def defense_name(row: Row) -> str:
    """Return what readers call a row: FedAvg, or the defense's label, with what an open entry changed."""
    name = "FedAvg" if row.defense == NONE else row.defense
    return f"{name} (open: {', '.join(row.changes) or 'unnamed changes'})" if row.division == "open" else name


def title(board: Board) -> str:
    """Return card, version hash and degree in one line."""
    card = f"{board.card} ({board.card_hash})" if board.card_hash else board.card
    return card + (f", {board.degree}" if board.degree else "")


def intro(board: Board) -> list[str]:
    """Return how the numbers are to be read, in sentences."""
    wanted = "higher" if board.higher_is_better else "lower"
    one = len(board.seeds) == 1
    said = [
        f"{board.metric} on test data after the last round; {wanted} is better for the defender.",
        f"Mean over seed{'' if one else 's'} {', '.join(map(str, board.seeds))}"
        + ("; with one seed there is no interval." if one else ", with the 95% bootstrap interval."),
    ]
    if any(lacking(score.value, board) for row in board.rows for score in row.scores.values()):
        said.append("(2 of 5) beside a mean: it rests on two of five seeds; compare it with care.")
    if board.clean_metric != board.metric:
        said.append(f"Clean runs have no {board.metric}; they and the price are in {board.clean_metric}.")
    said.append(
        "Bold: better than every other defense, the 95% interval of each difference, paired by seed, excluding zero; "
        f"only where every compared cell has all seeds of the card, and these are at least {PAIRS}. "
        "Price: clean FedAvg less clean defense, paired by seed. Cost: seconds per round over FedAvg's, paired by "
        "seed, of runs of one commit on the same hardware; they shared the machine with other runs, so it is rough."
    )
    return said


def ranking(board: Board, marks: Marks) -> Grid:
    """Return defenses by their worst case, with price, adaptive attack, cost and flags."""
    rows = []
    for row in board.rows:
        adaptive = "not faced"
        if met := row.adaptive:
            adaptive = f"{interval(met.value)}{lacking(met.value, board)} ({met.attack})"
        name = defense_name(row) + ("" if row.complete else f" ({row.faced} of {row.due} attacks)")
        rows.append(
            (
                Cell(name, row.best, marks.of([flag.code for flag in row.flags])),
                Cell(interval(row.worst_score.value) + lacking(row.worst_score.value, board), row.best),
                Cell(row.worst or DASH),
                Cell(DASH if row.defense == NONE and not row.adaptive else adaptive),
                Cell(interval(row.clean.value) + lacking(row.clean.value, board), CLEAN in row.wins),
                Cell(interval(row.price)),
                Cell(DASH if math.isnan(row.cost.mean) else f"{interval(row.cost, 2)} ×"),
            )
        )
    head = ("defense", "worst case", "under", "adaptive attack", f"clean {board.clean_metric}", "price", "cost")
    return Grid("Defenses by their worst case", head, tuple(rows))


def corners(board: Board) -> Grid:
    """Return the four corners of each defense: with and without it, with and without its worst attack."""
    rows = []
    for row in board.rows:
        if row.defense != NONE:
            four = board.corners(row)
            rows.append((Cell(defense_name(row)), *(Cell(interval(e)) for e in four), Cell(row.worst or DASH)))
    head = ("defense", "clean, FedAvg", "clean, defense", "attack, FedAvg", "attack, defense", "attack")
    return Grid("Four corners, the attack being each defense's worst", head, tuple(rows))


def every(board: Board, marks: Marks) -> Grid:
    """Return all defenses under all attacks."""
    rows = []
    for row in board.rows:
        line = [Cell(defense_name(row), row.best)]
        for column, score in ((CLEAN, row.clean), *((attack, row.scores.get(attack)) for attack in board.attacks)):
            # What a row says of the defense as a whole is not repeated in each of its cells.
            codes = [flag.code for flag in score.flags if flag.code != "told"] if score else []
            text = about(score.value) + lacking(score.value, board) if score else DASH
            line.append(Cell(text, column in row.wins, marks.of(codes)))
        rows.append(tuple(line))
    head = ("defense", "no attack" if board.metric == board.clean_metric else f"no attack ({board.clean_metric})")
    return Grid("Every attack, ± half of the 95% interval", (*head, *board.attacks), tuple(rows))


def badges(board: Board) -> list[str]:
    """Return the threat model: what each attack sees, what defenses were told and given, and how they may be tuned."""
    said = [f"{attack} sees: {board.knowledge.get(attack) or 'unknown'}" for attack in board.attacks]
    told = [defense_name(row) for row in board.rows if row.told]
    said.append(f"told the number of attackers: {', '.join(told) if told else 'no defense'}")
    if given := clean(board):
        said.append(f"given clean training data on the server: {given}")
    if board.tuning:
        said.append(f"the card's rule of tuning: {board.tuning.rstrip('.')}")
    return said


def clean(board: Board) -> str:
    """Return the defenses with clean data on the server, each with how many; empty if there is none."""
    return ", ".join(f"{defense_name(row)} ({row.clean_data})" for row in board.rows if row.clean_data)


def doubts(board: Board) -> list[str]:
    """Return the board's flags and notes in words, and why adaptive attacks do not count for which defenses."""
    return [*(flag.message for flag in board.flags), *_unadapted(board), *board.notes]


def _unadapted(board: Board) -> list[str]:
    """Return what is wrong with the adaptive attacks that defenses met, where they met some; once for each reason."""
    whose: dict[str, list[str]] = {}
    for row in board.rows:
        for why in (flag.why for flag in row.flags if flag.code == "unadapted" and flag.why):
            whose.setdefault(why, []).append(defense_name(row))
    return [f"Adaptive attacks that do not count for {', '.join(names)}: {why}" for why, names in whose.items()]


def gaps(board: Board, most: int = 12) -> list[str]:
    """Return what is missing, at most so many lines, the last of which counts the others."""
    if len(board.missing) <= most:
        return list(board.missing)
    return [*board.missing[: most - 1], f"and {len(board.missing) - most + 1} cells more"]
