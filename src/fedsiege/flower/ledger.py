"""A round in one dictionary: a verdict with a reason for every reply, who is expelled, and what became of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flwr.app import MetricRecord

from fedsiege.defenses.base import Outcome
from fedsiege.flower.identity import Roster
from fedsiege.flower.intake import Intake
from fedsiege.flower.logbook import plain

Row = dict[str, Any]


def _judged(intake: Intake, outcome: Outcome, cut: np.ndarray) -> list[Row]:
    """Rows of the uploads that a defense has judged."""
    v, rows = outcome.verdicts, []
    for place, (node, upload) in enumerate(intake.uploads):
        reason = v.reason[place]
        if v.accepted[place] and cut[place] and not reason:
            reason = f"sample count of {upload.count:.6g} cut down"
        rows.append(
            {
                "node": node,
                "accepted": bool(v.accepted[place]),
                "score": plain(v.score[place]),
                "weight": plain(v.weight[place]),
                "reason": reason,
                "expelled": bool(v.expelled is not None and v.expelled[place]),
            }
        )
    return rows


def _unjudged(node: int, reason: str) -> Row:
    return {"node": node, "accepted": False, "score": None, "weight": 0.0, "reason": reason, "expelled": False}


def verdict_rows(
    round_: int,
    intake: Intake,
    outcome: Outcome | None,
    cut: np.ndarray,
    why: Sequence[str],
    roster: Roster,
    most: int | None,
) -> list[Row]:
    """Return a row for every reply, and ban whoever is expelled.

    Parameters
    ----------
    round_ : int
        Number of the round.
    intake : Intake
        What has come in.
    outcome : Outcome or None
        What the defense decided; None: it was not asked.
    cut : numpy.ndarray
        bool ``(n,)``: whose sample count was not believed.
    why : sequence of str
        Why it was not asked about each upload.
    roster : Roster
        Who is who.
    most : int or None
        Rejections in a row that expel a client; None: however many.
    """
    if outcome is None:
        # A round that came to nothing is no strike against anybody.
        rows = [_unjudged(node, reason) for (node, _), reason in zip(intake.uploads, why)]
        struck = {node: False for node, _ in intake.uploads}
    else:
        rows = _judged(intake, outcome, cut)
        struck = {row["node"]: roster.strike(row["node"], row["accepted"], most) for row in rows}
    for one in intake.refused:
        if one.asked and one.node not in struck:
            struck[one.node] = roster.strike(one.node, False, most)
        rows.append(_unjudged(one.node, one.reason))
    for row in rows:
        identity = roster.nodes.get(row["node"])
        row["identity"] = identity
        row["client"] = None if identity is None else roster.numbers[identity]
        if struck.get(row["node"]) and not row["accepted"] and not row["expelled"]:
            row["expelled"], row["reason"] = True, f"{row['reason']} (rejected {most} times in a row)"
        if row["expelled"] and identity is not None:
            roster.ban([identity], round_, row["reason"])
    return rows


def ban_absent(outcome: Outcome | None, round_: int, roster: Roster) -> list[int]:
    """Ban the clients that a defense finds malicious though they sent nothing in this round; return their numbers."""
    found = () if outcome is None else outcome.verdicts.absent
    roster.ban(
        [who for who, number in roster.numbers.items() if number in found], round_, "found malicious while absent"
    )
    return list(found)


def with_verdicts(inner: MetricRecord | None, entry: dict[str, Any], banned: int) -> MetricRecord:
    """Return the wrapped strategy's metrics and, beside them, the round's verdicts in numbers.

    Parameters
    ----------
    inner : MetricRecord or None
        What the wrapped strategy has returned.
    entry : dict
        The round's line in the logbook.
    banned : int
        Number of clients banned so far.
    """
    rows = entry["uploads"]
    refused = sorted({row["client"] for row in rows if not row["accepted"] and row["client"] is not None})
    return MetricRecord(
        {
            **(dict(inner) if inner is not None else {}),
            "defense-replies": len(rows),
            "defense-accepted": sum(row["accepted"] for row in rows),
            "defense-rejected": sum(not row["accepted"] for row in rows),
            "defense-expelled": sum(row["expelled"] for row in rows) + len(entry["expelled_absent"]),
            "defense-absent": len(entry["absent"]),
            "defense-banned": banned,
            "defense-applied": int(entry["applied"]),
            "defense-rejected-clients": refused,
        }
    )
