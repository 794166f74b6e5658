"""Replies that Flower cannot read, through Flower's own grid: they end no run and cost no other reply."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import PullObjectResponse, PushObjectResponse
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import GetNodesResponse, PullAppMessagesResponse, PushAppMessagesResponse
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.inflatable.inflatable_object import (
    add_header_to_object_body,
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.run import Run, RunNotRunningException
from flwr.superlink.grid.http_grid import HttpGrid
from google.protobuf.message import DecodeError

from fedsiege.defenses.median import Median
from fedsiege.flower.layout import to_record, to_values
from fedsiege.flower.outer_grid import OuterGrid
from fedsiege.flower.pulling import CarefulGrid, careful
from tests.flower import bench
from tests.flower.bench import HOSTILE, averaging, defended, model, same

NODES = [1001, 1002, 1004, HOSTILE]
"""No two of them send the same metrics: objects go by their contents."""
Contents = dict[str, bytes]
Spoil = Callable[[Message, Contents], Contents]
"""Given a reply and the bytes of its objects by id: the bytes that a node uploads instead."""


def records(reply: Message, kind: type) -> list[str]:
    return [key for key, held in get_all_nested_objects(reply).items() if isinstance(held, kind)]


def no_metrics(reply: Message, contents: Contents) -> Contents:
    """A metric record whose body is no protocol buffer."""
    (key,) = records(reply, MetricRecord)
    held = get_all_nested_objects(reply)[key]
    return {**contents, key: add_header_to_object_body(b"\xff\xff\xff", held)}


def no_class(reply: Message, contents: Contents) -> Contents:
    """A record of a class that there is not."""
    (key,) = records(reply, MetricRecord)
    return {**contents, key: contents[key].replace(b"MetricRecord", b"Nonsense")}


def no_message(reply: Message, contents: Contents) -> Contents:
    """An array record where the message should be."""
    (key,) = records(reply, ArrayRecord)
    (root,) = records(reply, Message)
    return {**contents, root: contents[key]}


def in_anothers_name(reply: Message, contents: Contents) -> Contents:
    """A well-formed message that says to come from node 1001."""
    (root,) = records(reply, Message)
    reply.metadata.__dict__["_src_node_id"] = 1001
    return {**contents, root: reply.deflate()}


class Link:
    """What a SuperLink answers to `HttpGrid`; behind it honest nodes, and one that spoils its replies.

    As on a SuperLink, a reply that was handed out is gone.
    """

    def __init__(self, spoil: Spoil) -> None:
        self.spoil = spoil
        self.sent: dict[str, int] = {}
        self.objects: Contents = {}
        self.fails: BaseException | None = None

    def GetNodes(self, request: Any) -> GetNodesResponse:
        if self.fails is not None:
            raise self.fails
        return GetNodesResponse(nodes=[NodeInfo(node_id=node) for node in NODES])

    def PushMessages(self, request: Any) -> PushAppMessagesResponse:
        for proto in request.messages_list:
            self.sent[proto.metadata.message_id] = proto.metadata.dst_node_id
        wanted = [part.object_id for tree in request.message_object_trees for part in iterate_object_tree(tree)]
        return PushAppMessagesResponse(message_ids=list(self.sent), objects_to_push=wanted, session_id="s")

    def PushObject(self, request: Any) -> PushObjectResponse:
        self.objects[request.object_id] = request.object_content
        return PushObjectResponse(stored=True)

    def PullMessages(self, request: Any) -> PullAppMessagesResponse:
        if self.fails is not None:
            raise self.fails
        found, trees = [], []
        for key in request.message_ids:
            node = self.sent.pop(key, None)
            if node is None:
                continue
            message: Any = inflate_object_from_contents(key, dict(self.objects))
            message.metadata.__dict__["_message_id"] = key
            reply = bench.client(message, Context(1, node, {}, RecordDict(), {}))
            reply.metadata.__dict__["_message_id"] = reply.object_id
            contents = {part: held.deflate() for part, held in get_all_nested_objects(reply).items()}
            found.append(message_to_proto(reply))
            trees.append(get_object_tree(reply))
            self.objects |= self.spoil(reply, contents) if node == HOSTILE else contents
        return PullAppMessagesResponse(messages_list=found, message_object_trees=trees)

    def PullObject(self, request: Any) -> PullObjectResponse:
        content = self.objects[request.object_id]
        return PullObjectResponse(object_found=True, object_available=True, object_content=content)

    def ConfirmMessageReceived(self, request: Any) -> None:
        pass


def over_http(spoil: Spoil) -> tuple[HttpGrid, Link]:
    """Flower's grid on a link of ours."""
    bench.LocalGrid(bench.client, 0)  # says whose process this is
    grid, link = HttpGrid(token="token"), Link(spoil)
    grid._client = link  # type: ignore[assignment]
    grid.set_run(Run.create_empty(1))
    return grid, link


def test_flower_itself_stops_at_such_a_reply() -> None:
    """What the rest of this file guards against; should Flower mend it, this says so."""
    grid, _ = over_http(no_metrics)
    with pytest.raises(DecodeError):
        averaging().start(grid, to_record(model()), 1)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (no_metrics, "malformed: unreadable (DecodeError)"),
        (no_class, "malformed: unreadable (KeyError)"),
        (no_message, "malformed: unreadable (AttributeError)"),
        (in_anothers_name, "malformed: it says that node 1001 has sent it"),
    ],
)
def test_a_reply_that_cannot_be_read_is_its_senders_alone(spoil: Spoil, reason: str) -> None:
    """The model is bit for bit that of the same nodes without the hostile one, which is banned in round 2."""
    strategy = defended(Median(), expel_after=2)
    got = strategy.start(over_http(spoil)[0], to_record(model()), 3)
    alone = defended(Median(), expel_after=2)
    expected = alone.start(bench.LocalGrid(bench.client, NODES[:-1]), to_record(model()), 3)
    assert same(to_values(got.arrays), to_values(expected.arrays))
    said = [[one["reason"] for one in entry["uploads"] if one["node"] == HOSTILE] for entry in strategy.history]
    assert said == [[reason], [f"{reason} (rejected 2 times in a row)"], []]
    assert all(one["accepted"] for entry in strategy.history for one in entry["uploads"] if one["node"] != HOSTILE)
    assert set(strategy.banned) == {f"node:{HOSTILE}"}


def test_an_evaluation_reply_that_cannot_be_read_is_left_out() -> None:
    strategy = defended(Median(), FedAvg())
    result = strategy.start(over_http(no_metrics)[0], to_record(model()), 1)
    assert result.evaluate_metrics_clientapp[1]["accuracy"] == pytest.approx(0.5)


REFUSED = httpx.HTTPStatusError("500", request=httpx.Request("POST", "http://x"), response=httpx.Response(500))


@pytest.mark.parametrize("error", [httpx.ConnectError("gone"), REFUSED, RunNotRunningException()])
def test_a_lost_link_or_a_stopped_run_is_no_nodes_doing(error: BaseException) -> None:
    grid, link = over_http(no_metrics)
    sent = [Message(RecordDict({"arrays": to_record(model())}), node, "train") for node in NODES]
    link.fails = error
    with pytest.raises(type(error)):
        CarefulGrid(grid).send_and_receive(sent, timeout=5)


class Slow(bench.LocalGrid):
    """A grid of somebody else's, where node 1002 answers late and node 1004 never."""

    pull_interval = 0.01

    def __init__(self) -> None:
        super().__init__(bench.client, NODES)
        self.looked: list[int] = []

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        (key,) = message_ids
        node = NODES[int(key[1:]) - 1]
        self.looked.append(node)
        late = node == 1002 and self.looked.count(node) < 3
        return [] if late or node == 1004 else super().pull_messages([key])


def test_late_replies_are_waited_for_and_missing_ones_until_the_time_is_up() -> None:
    grid = Slow()
    config = ConfigRecord({"server-round": 1})
    content = RecordDict({"arrays": to_record(model()), "config": config})
    replies = CarefulGrid(grid).send_and_receive([Message(content, node, "train") for node in NODES], timeout=0.3)
    assert sorted(reply.metadata.src_node_id for reply in replies) == [1001, 1002, HOSTILE]
    assert grid.looked.count(1001) == 1
    assert grid.looked.count(1002) == 3
    assert grid.looked.count(1004) > 3


def test_grids_in_this_process_are_left_alone() -> None:
    grid = bench.without_hostile()
    assert careful(grid) is grid
    assert careful(over := OuterGrid(grid)) is over
