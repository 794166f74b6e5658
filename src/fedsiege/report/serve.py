"""The report as a live page: a small server that draws it anew when stored runs changed."""

from __future__ import annotations

import ipaddress
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from fedsiege.errors import RunError
from fedsiege.report.watch import State, look

FRESH = 1.0
"""Seconds for which a look at the store is good enough."""
REST = 2.0
"""Between two drawings passes so many times the time that the last one took, so that a grid keeps the machine."""
LOCAL = "127.0.0.1"
WRONG_NAME = b"this server answers to its address, to the name given with --host and to that of its machine\n"


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own, out of reach from outside."""
    if host == "localhost":
        return True
    return is_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback


def is_address(host: str) -> bool:
    """Return whether a host is an address and no name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


class Site:
    """The page of a store and its state, kept up to date; safe for use by several threads.

    Parameters
    ----------
    root : Path
        Folder with the runs.
    draw : callable
        Makes the page, given the token of the state that it shows.
    """

    def __init__(self, root: Path, draw: Callable[[str], str]) -> None:
        self.root = root
        self._draw = draw
        self._looking, self._drawing, self._page_lock = threading.Lock(), threading.Lock(), threading.Lock()
        self._seen: tuple[float, State] | None = None
        self._page: tuple[str, bytes] | None = None
        self._failed: tuple[str, str] | None = None
        self._next = 0.0

    def state(self) -> State:
        """Return the state of the store, at most a second old."""
        with self._looking:
            now = time.monotonic()
            if self._seen is None or now - self._seen[0] > FRESH:
                self._seen = now, look(self.root)
            return self._seen[1]

    def page(self) -> bytes:
        """Return the newest page that is drawn; the first one is drawn now."""
        with self._page_lock:
            # Where nothing could be drawn yet, there is only an excuse, which asks again by itself.
            if self._page is None or (self._failed and not self._page[0] and self._failed[0] != self.state().token):
                self._make()
            return self._page[1] if self._page else _sorry("it is being drawn")

    def status(self) -> dict[str, Any]:
        """Return counts of runs, the state of the store and the state that the newest page shows.

        If they differ, a new page is drawn in the background.
        """
        state = self.state()
        shown = self._page[0] if self._page else ""
        tried = shown, self._failed[0] if self._failed else shown
        if self._page is not None and state.token not in tried and time.monotonic() >= self._next:
            threading.Thread(target=self._make, daemon=True).start()
        counts = {name: value for name, value in asdict(state).items() if name != "token"}
        return {**counts, "store": state.token, "page": shown, "error": self._failed[1] if self._failed else None}

    def _make(self) -> None:
        """Draw the page, unless somebody is drawing it."""
        if not self._drawing.acquire(blocking=False):
            return
        try:
            started = time.monotonic()
            token = self.state().token
            try:
                self._page = token, self._draw(token).encode()
                self._failed = None
            except Exception as error:  # whatever a damaged run does to the page, the server and the last page stay
                self._failed = token, f"{type(error).__name__}: {error}"
                if self._page is None or not self._page[0]:
                    self._page = "", _sorry(self._failed[1])
            now = time.monotonic()
            self._next = now + REST * (now - started)
        finally:
            self._drawing.release()


def _sorry(error: str) -> bytes:
    from html import escape

    return (
        "<!DOCTYPE html><html lang='en'><meta charset='utf-8'><meta http-equiv='refresh' content='5'>"
        "<title>FedSiege report</title>"
        f"<p>There is no page yet: {escape(error)}</p></html>"
    ).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers with the page and its state and nothing else: no path leads to a file."""

    server: Server
    server_version = "FedSiege"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Answer a request."""
        self._answer(True)

    def do_HEAD(self) -> None:
        """Answer with headers alone."""
        self._answer(False)

    def _answer(self, body: bool) -> None:
        try:
            welcome, path = self.server.welcomes(self.headers.get("Host", "")), urlsplit(self.path).path
        except ValueError:
            return self._send(HTTPStatus.BAD_REQUEST, "text/plain", b"no such address; the report is at /\n", body)
        if not welcome:
            return self._send(HTTPStatus.FORBIDDEN, "text/plain", WRONG_NAME, body)
        if path == "/":
            return self._send(HTTPStatus.OK, "text/html", self.server.site.page(), body)
        if path == "/status.json":
            text = json.dumps(self.server.site.status()).encode()
            return self._send(HTTPStatus.OK, "application/json", text, body)
        return self._send(HTTPStatus.NOT_FOUND, "text/plain", b"nothing here; the report is at /\n", body)

    def _send(self, status: HTTPStatus, kind: str, content: bytes, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: a page that asks every few seconds would fill the terminal."""


class Server(ThreadingHTTPServer):
    """Serves one site.

    Parameters
    ----------
    site : Site
        What to serve.
    host : str
        Address to listen on; anything but loopback lets others in.
    port : int
        Port; 0 takes a free one.

    Raises
    ------
    RunError
        If the address cannot be used.
    """

    daemon_threads = True

    def __init__(self, site: Site, host: str = LOCAL, port: int = 0) -> None:
        self.site = site
        self.host = host
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise RunError(f"cannot listen on {host}:{port}: {why}; choose another with --port or --host") from error

    @cached_property
    def names(self) -> frozenset[str]:
        """Names under which others may know this server, in small letters."""
        machine = socket.gethostname().lower().rstrip(".")
        short = machine.partition(".")[0]
        return frozenset({self.host.lower().rstrip("."), machine, short, f"{short}.local"})

    def server_bind(self) -> None:
        """Bind without asking a name server who we are, as the standard library would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    def welcomes(self, host: str) -> bool:
        """Return whether a request was sent to this server by a name of its own.

        A page of the web whose name was made to lead here must not read results: on loopback only its names are
        welcome; elsewhere addresses, which no page of the web goes by, the `host` given and the machine's own name.

        Raises
        ------
        ValueError
            If `host` is no name, address or either with a port, such as ``"["``.
        """
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        if is_loopback(name):
            return True
        return not is_loopback(self.host) and (is_address(name) or name in self.names)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet of browsers that leave while they are answered; tell the rest as the standard library does."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Where the page is."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{shown}:{self.server_address[1]}/"


def site(root: Path, title: str | None = None) -> Site:
    """Return the live site of the runs under `root`; RunError if that is no folder."""
    if not root.is_dir():
        raise RunError(f"{root} is not a folder; give the folder in which the runs are or will be stored")

    def draw(token: str) -> str:
        from fedsiege.report.collect import collect
        from fedsiege.report.page import render

        return render(collect(root), title or f"Attacks against defenses: {root.resolve().name}", live=token)

    return Site(root, draw)
