"""The replies of a round sorted into uploads that can be judged, replies that cannot, and nodes that stayed away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import Message

from fedsiege.errors import UploadError
from fedsiege.flower.identity import Roster
from fedsiege.flower.layout import Layout
from fedsiege.flower.parse import Upload, read_upload, shown

EXPELLED = "expelled before"
UNKNOWN = "unknown node"
NOT_ASKED = "not asked in this round"
DUPLICATE = "duplicate reply"
SEVERAL = "several replies that differ"


@dataclass(frozen=True)
class Refused:
    """A reply that never reaches the defense: its node, why, and whether the node was asked at all."""

    node: int
    reason: str
    asked: bool = False


@dataclass(frozen=True)
class Intake:
    """What has come in.

    Parameters
    ----------
    uploads : list
        Pairs (node, upload), one for each node, in order of client numbers.
    refused : list of Refused
        Replies that cannot be judged.
    absent : list of int
        Nodes that were asked and sent nothing, or an error: nobody's fault.
    """

    uploads: list[tuple[int, Upload]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    absent: list[int] = field(default_factory=list)


def stale(reply: Message, asked: Message) -> str:
    """Return why a reply belongs to another round than the message `asked`, or nothing."""
    tag, wanted = reply.metadata.group_id, asked.metadata.group_id
    if tag != wanted:
        return f"replay: it is marked {shown(tag)}, this round {shown(wanted)}"
    to, sent = reply.metadata.reply_to_message_id, asked.metadata.message_id
    if sent and to != sent:
        return "replay: it answers another message than this round's"
    return ""


def _read(reply: Message, asked: Message, layout: Layout, key: str, roster: Roster, model: str) -> Upload | str:
    """Return a reply's upload, or the reason why it has none."""
    node = reply.metadata.src_node_id
    if reason := stale(reply, asked):
        return reason
    try:
        upload = read_upload(reply, layout, key)
    except UploadError as error:
        return f"malformed: {error}"
    except Exception as error:
        # Whatever a client manages to send, the round goes on without it.
        return f"malformed: unreadable ({type(error).__name__})"
    if roster.replayed(node, model, upload.digest):
        return "replay: the same upload as in an earlier round"
    return upload


def _one(found: list[Upload | str]) -> tuple[Upload | None, list[str]]:
    """Return the upload that counts among the replies of one node, and reasons for the replies that do not."""
    first = found[0]
    if len(found) == 1:
        return (first, []) if isinstance(first, Upload) else (None, [first])
    same = [isinstance(one, Upload) and isinstance(first, Upload) and _same(one, first) for one in found]
    if isinstance(first, Upload) and all(same):
        return first, [DUPLICATE] * (len(found) - 1)
    return None, [one if isinstance(one, str) else SEVERAL for one in found]


def _same(one: Upload, other: Upload) -> bool:
    return one.digest == other.digest and one.count == other.count and one.metrics == other.metrics


def take_in(
    replies: Iterable[Message], asked: Mapping[int, Message], layout: Layout, key: str, roster: Roster, model: str
) -> Intake:
    """Sort the replies to a round's training messages.

    Parameters
    ----------
    replies : iterable of Message
        Whatever the grid has returned, in any order.
    asked : mapping of int to Message
        The message that each node was sent.
    layout : Layout
        The model's own arrays.
    key : str
        Metric that declares sample counts.
    roster : Roster
        Who is who, who is banned, and what was uploaded before.
    model : str
        Hash of the model that was sent.
    """
    found: dict[int, list[Upload | str]] = {}
    refused: list[Refused] = []
    for reply in replies:
        node = reply.metadata.src_node_id
        if reply.has_error():
            continue
        if roster.is_banned(node):
            refused.append(Refused(node, EXPELLED))
        elif node not in asked:
            refused.append(Refused(node, NOT_ASKED if node in roster.nodes else UNKNOWN))
        else:
            found.setdefault(node, []).append(_read(reply, asked[node], layout, key, roster, model))
    uploads: list[tuple[int, Upload]] = []
    for node, several in found.items():
        upload, reasons = _one(several)
        refused += [Refused(node, reason, asked=True) for reason in reasons]
        if upload is not None:
            uploads.append((node, upload))
    uploads.sort(key=lambda pair: roster.number(pair[0]))
    return Intake(uploads, sorted(refused, key=lambda r: (r.node, r.reason)), sorted(set(asked) - set(found)))
