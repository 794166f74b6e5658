"""The live page: one page, its state, nothing else, and only for this machine."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsiege.errors import RunError
from fedsiege.report.serve import Server, Site, is_loopback, site
from fedsiege.report.watch import look
from tests.report.fakes import write_run, write_store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_store(tmp_path / "runs", ("none", "fang"), ("none",), 1)


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    (root / "secret.txt").write_text("secret")
    with Server(site(root, "<b>Live</b>")) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, dict(answer.getheaders())


def test_the_page_and_its_state_are_served(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    status, body, headers = ask(server, "/")
    page = body.decode()
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert "&lt;b&gt;Live&lt;/b&gt;" in page
    assert "connect-src 'self'" in page
    status, body, _ = ask(server, "/status.json?x=1")
    state = json.loads(body)
    assert status == 200
    assert {k: state[k] for k in ("finished", "running", "failed", "stopped", "error")} == {
        "finished": 2, "running": 0, "failed": 0, "stopped": 0, "error": None,
    }  # fmt: skip
    assert state["page"] == state["store"]
    assert f'data-state="{state["page"]}"' in page
    status, body, headers = ask(server, "/", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(page.encode())


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt", "/none-none-0/result.json", "/../runs/secret.txt", "/%2e%2e/runs/secret.txt", "/..%2fsecret.txt",
        "//secret.txt", "/./secret.txt", "/status.json/../secret.txt", "/index.html", "/report.html", "secret.txt",
        "/status.json/", "/%2fetc/passwd",
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(server: Server, path: str) -> None:
    status, body, _ = ask(server, path)
    assert status == 404
    assert b"secret" not in body


def test_only_reading_is_answered(server: Server) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert ask(server, "/", method)[0] == 501


def test_a_name_of_the_web_that_leads_here_is_refused(server: Server) -> None:
    assert ask(server, "/status.json", Host="evil.example")[0] == 403
    assert ask(server, "/status.json", Host="evil.example:80")[0] == 403
    for host in ("localhost", "127.0.0.1:99", "[::1]:8741"):
        assert ask(server, "/status.json", Host=host)[0] == 200


def test_beyond_loopback_only_addresses_and_own_names_are_welcome(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Lab.uni.example")
    with Server(site(root), host="0.0.0.0") as made:
        assert not made.welcomes("evil.example")
        assert not made.welcomes("lab.evil.example:80")
        assert not made.welcomes("")
        for host in (
            "10.0.0.7:8741",
            "[fe80::1]",
            "localhost",
            "lab",
            "LAB.uni.example.:8741",
            "lab.local",
            "127.0.0.1",
        ):
            assert made.welcomes(host), host
    with Server(site(root)) as made:
        assert not made.welcomes("10.0.0.7")
        assert not made.welcomes("lab")


def test_a_browser_that_leaves_early_is_no_event(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.site._page = server.site.state().token, b"x" * 50_000_000
    with socket.create_connection(server.server_address[:2], timeout=60) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.recv(100)
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(60)
    assert ask(server, "/status.json")[0] == 200
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "host"),
    [("http://[", "localhost"), ("http://[::1/", "localhost"), ("/", "["), ("/", "[::1"), ("/", "localhost]")],
)
def test_a_malformed_address_is_a_bad_request(
    server: Server, path: str, host: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # By hand: the client of the standard library refuses to send such a thing.
    with socket.create_connection(server.server_address[:2], timeout=60) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        told = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert body == (b"" if method == "HEAD" else b"no such address; the report is at /\n")
    assert ask(server, "/status.json")[0] == 200
    assert capsys.readouterr().err == ""


def wait(server: Server, token: str) -> dict[str, object]:
    for _ in range(600):
        state = json.loads(ask(server, "/status.json")[1])
        if state["page"] != token:
            return state
        time.sleep(0.05)
    raise AssertionError("the page was not drawn again")


def test_the_page_is_drawn_again_when_a_run_ends(server: Server, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsiege.report.serve.FRESH", 0.0)
    monkeypatch.setattr("fedsiege.report.serve.REST", 0.0)
    before = ask(server, "/")[1].decode()
    token = json.loads(ask(server, "/status.json")[1])["page"]
    assert "newattack" not in before
    write_run(root / "newattack", "newattack")
    state = wait(server, token)
    assert state["finished"] == 3
    assert "newattack" in ask(server, "/")[1].decode()


def test_an_empty_folder_is_served_until_it_fills(tmp_path: Path) -> None:
    made = site(tmp_path)
    assert "Nothing to show yet" in made.page().decode()
    assert made.status()["finished"] == 0
    with pytest.raises(RunError, match="not a folder"):
        site(tmp_path / "nothing")


def test_a_page_that_cannot_be_drawn_leaves_the_last_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsiege.report.serve.FRESH", -1.0)
    monkeypatch.setattr("fedsiege.report.serve.REST", 0.0)
    broken = threading.Event()

    def draw(token: str) -> str:
        if broken.is_set():
            raise ValueError("<torn>")
        return f"page {token}"

    made = Site(root, draw)
    good = made.page()
    broken.set()
    write_run(root / "more", "lie")
    for _ in range(200):
        state = made.status()
        if state["error"]:
            break
        time.sleep(0.02)
    assert state["error"] == "ValueError: <torn>"
    assert made.page() == good
    assert state["page"] != state["store"]
    fresh = Site(root, draw)
    assert b"&lt;torn&gt;" in fresh.page()
    broken.clear()
    write_run(root / "still more", "lie", seed=1)
    assert fresh.page().startswith(b"page ")


def test_a_port_in_use_is_an_error_with_a_remedy(server: Server, root: Path) -> None:
    with pytest.raises(RunError, match="--port"):
        Server(site(root), port=server.server_address[1])
    with pytest.raises(RunError, match="cannot listen on 203"):
        Server(site(root), host="203.0.113.1")


@pytest.mark.parametrize(
    ("host", "mine"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True),
        ("0.0.0.0", False), ("192.168.0.4", False), ("localhost.evil.example", False), ("", False),
    ],
)  # fmt: skip
def test_what_is_loopback(host: str, mine: bool) -> None:
    assert is_loopback(host) is mine


def test_the_state_of_a_store(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "done")
    first = look(tmp_path)
    assert (first.finished, first.running, first.failed, first.stopped) == (1, 0, 0, 0)
    assert look(tmp_path) == first
    for name in ("working", "killed", "failed"):
        folder = write_run(tmp_path / name)
        (folder / "result.json").unlink()
        (folder / ".lock").touch()
        for file in folder.iterdir():
            os.utime(file, (0, 0))
    (tmp_path / "failed" / "failed.json").write_text("{}")
    handle = os.open(tmp_path / "working" / ".lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        state = look(tmp_path)
    finally:
        os.close(handle)
    assert (state.finished, state.running, state.failed, state.stopped) == (1, 1, 1, 1)
    assert state.token != first.token
    (tmp_path / "a" / "done" / "result.json").write_text("{} ")
    assert look(tmp_path).token != state.token


def test_an_outcome_without_a_configuration_hides_no_run(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "done")
    (tmp_path / "result.json").write_text("{}")
    (tmp_path / "a" / "failed.json").write_text("{}")
    state = look(tmp_path)
    assert (state.finished, state.running, state.failed, state.stopped) == (1, 0, 0, 0)


def test_where_locks_cannot_be_read_fresh_files_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsiege.report.watch._LOCKS", tmp_path / "no such file")
    for name in ("fresh", "old"):
        folder = write_run(tmp_path / name)
        (folder / "result.json").unlink()
    for file in (tmp_path / "old").iterdir():
        os.utime(file, (0, 0))
    state = look(tmp_path)
    assert (state.running, state.stopped) == (1, 1)


def test_whoever_asks_while_the_first_page_is_drawn_is_told_to_wait(root: Path) -> None:
    made = site(root, "t")
    assert made._drawing.acquire(blocking=False)
    try:
        assert "There is no page yet: it is being drawn" in made.page().decode()
    finally:
        made._drawing.release()
    assert "There is no page yet" not in made.page().decode()


def test_the_excuse_is_that_of_the_last_try(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = site(root, "t")
    causes = iter(["first", "second"])

    def fail(token: str) -> str:
        raise RuntimeError(next(causes))

    monkeypatch.setattr(made, "_draw", fail)
    assert "first" in made.page().decode()
    write_run(root / "another", "lie")
    time.sleep(1.1)  # what was seen of the store is a second old
    assert "second" in made.page().decode()
