"""The roster of clients: rejections in a row, bans that outlive node ids, uploads sent twice."""

from __future__ import annotations

import pytest

pytest.importorskip("flwr")

from fedsiege.flower.identity import Roster


def roster(*nodes: int) -> Roster:
    made = Roster()
    made.meet({node: f"key {node}".encode() for node in nodes})
    return made


def test_strikes_are_rejections_in_a_row() -> None:
    clients = roster(5, 9)
    out = [clients.strike(5, accepted, 3) for accepted in (False, False, True, False, False, False)]
    assert out == [False] * 5 + [True]
    # Each client has its own, and without a limit nobody is out.
    assert not clients.strike(9, False, 2)
    assert clients.strike(9, False, 2)
    assert not any(clients.strike(9, False, None) for _ in range(9))


def test_a_ban_holds_for_the_key_whatever_the_node_is_called() -> None:
    clients = roster(5, 9)
    clients.ban([clients.nodes[5]], 4, "why")
    clients.ban([clients.nodes[5]], 7, "again")
    assert [clients.is_banned(node) for node in (5, 9, 77)] == [True, False, False]
    again = Roster(dict(clients.numbers), dict(clients.banned))
    again.meet({31: b"key 5", 32: b"key 9"})
    assert [again.is_banned(node) for node in (31, 32)] == [True, False]
    assert again.number(31) == clients.number(5)
    assert [entry["round"] for entry in again.banned.values()] == [4]


def test_the_same_answer_to_another_model_is_a_replay() -> None:
    clients = roster(5, 9)
    assert not clients.replayed(5, "m1", "u")
    clients.remember(5, "m1", "u")
    assert not clients.replayed(5, "m1", "u")
    assert clients.replayed(5, "m2", "u")
    assert not clients.replayed(9, "m2", "u")
