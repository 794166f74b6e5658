"""Finding, checking and downloading, against a server on this machine."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import hashlib
import io
import os
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fedsiege.data import CARDS, cache, fetch, load, locate
from fedsiege.data.cards import Layout, Remote
from fedsiege.errors import DataError

RATINGS = "".join(f"{user}\t{10 * user + item}\t5\t{item}\n" for user in range(3) for item in range(4))
CHECKINS = gzip.compress(b"1\t2010-10-19T23:55:27Z\t1\t2\tx\n", mtime=0)


def sums(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Server:
    """Serves what is put into `files`; counts requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.files.get(self.path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    serving = Server()
    thread = threading.Thread(target=serving.http.serve_forever, daemon=True)
    thread.start()
    yield serving
    serving.http.shutdown()
    serving.http.server_close()


def archive(members: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
    return packed.getvalue()


@pytest.fixture
def tiny(server: Server, monkeypatch: pytest.MonkeyPatch, empty_machine: Path) -> Server:
    """`ml-100k` and `gowalla` of a few lines, served from this machine."""
    packed = archive({"ml-100k/u.data": RATINGS, "ml-100k/README": "terms", "ml-100k/u.item": "unused"})
    server.files["/ml-100k.zip"] = packed
    small = dataclasses.replace(
        CARDS["ml-100k"],
        users=3,
        items=12,
        interactions=12,
        layouts=(Layout(("ml-100k/u.data",), "movielens", (sums(RATINGS.encode()),)),),
        remote=Remote(
            f"{server.address}/ml-100k.zip",
            "md5:" + hashlib.md5(packed).hexdigest(),
            ("ml-100k/u.data", "ml-100k/README"),
        ),
    )
    monkeypatch.setitem(CARDS, "ml-100k", small)
    server.files["/loc-gowalla_totalCheckins.txt.gz"] = CHECKINS
    remote = Remote(f"{server.address}/loc-gowalla_totalCheckins.txt.gz", None)
    monkeypatch.setitem(CARDS, "gowalla", dataclasses.replace(CARDS["gowalla"], remote=remote))
    return server


def test_an_archive_is_fetched_once_and_loaded(tiny: Server, empty_machine: Path) -> None:
    with pytest.raises(DataError, match="is not on this machine; download http"):
        locate("ml-100k", download=False)
    path = fetch("ml-100k")
    assert path == empty_machine / "ml-100k" / "u.data"
    assert path.read_text() == RATINGS
    # Only what is needed, with the terms of use, and nothing temporary.
    assert sorted(file.name for file in path.parent.iterdir()) == ["README", "u.data"]
    assert locate("ml-100k") == path
    assert tiny.asked == ["/ml-100k.zip"]
    data = load("ml-100k")
    assert (data.num_users, data.info["source"], data.info["sha256"]) == (
        3,
        str(path),
        sums(RATINGS.encode()),
    )


def test_a_wrong_archive_is_refused(tiny: Server, empty_machine: Path) -> None:
    tiny.files["/ml-100k.zip"] = archive({"ml-100k/u.data": "else"})
    with pytest.raises(DataError, match=r"sum is not md5:.*unpack"):
        fetch("ml-100k")
    assert list((empty_machine / "ml-100k").iterdir()) == []


@pytest.mark.parametrize("content", [b"<html>no</html>", archive({"other/u.data": RATINGS})])
def test_a_foreign_archive_is_refused(
    tiny: Server, monkeypatch: pytest.MonkeyPatch, empty_machine: Path, content: bytes
) -> None:
    tiny.files["/ml-100k.zip"] = content
    known = CARDS["ml-100k"]
    assert known.remote is not None
    unpinned = dataclasses.replace(known.remote, sum="md5:" + hashlib.md5(content).hexdigest())
    monkeypatch.setitem(CARDS, "ml-100k", dataclasses.replace(known, remote=unpinned))
    with pytest.raises(DataError, match="did not give the expected archive"):
        fetch("ml-100k")
    assert not (empty_machine / "ml-100k" / "u.data").exists()


def test_the_sum_of_the_first_download_is_trusted(tiny: Server, empty_machine: Path) -> None:
    path = fetch("gowalla")
    note = path.with_name(path.name + ".sha256")
    assert path.read_bytes() == CHECKINS
    assert note.read_text().split() == [sums(CHECKINS), path.name]
    assert locate("gowalla") == path

    path.write_bytes(CHECKINS + b"more")
    with pytest.raises(DataError, match=f"expected {sums(CHECKINS)}"):
        locate("gowalla")

    # Removed and fetched again, from an address that changed meanwhile.
    path.unlink()
    tiny.files["/loc-gowalla_totalCheckins.txt.gz"] = gzip.compress(b"other")
    with pytest.raises(DataError, match="has changed since its first download"):
        fetch("gowalla")
    assert not path.exists()
    note.unlink()
    assert fetch("gowalla") == path

    note.write_text("")
    with pytest.raises(DataError, match="is empty; remove it"):
        locate("gowalla")


@pytest.mark.parametrize("content", [b"<html>please log in</html>", CHECKINS[:-9]], ids=["page", "half"])
def test_a_page_or_half_a_file_is_not_trusted(tiny: Server, empty_machine: Path, content: bytes) -> None:
    tiny.files["/loc-gowalla_totalCheckins.txt.gz"] = content
    with pytest.raises(DataError, match="did not give a gzip file"):
        fetch("gowalla")
    assert list((empty_machine / "gowalla").iterdir()) == []


def test_an_address_that_fails_says_what_to_do(tiny: Server, empty_machine: Path) -> None:
    del tiny.files["/ml-100k.zip"]
    with pytest.raises(DataError, match="404") as error:
        load("ml-100k")
    text = str(error.value)
    assert f"download {tiny.address}/ml-100k.zip and unpack ml-100k/u.data from it" in text
    assert str(empty_machine / "ml-100k" / "u.data") in text
    assert "FEDSIEGE_DATA" in text


def test_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch, empty_machine: Path, server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}/x.txt.gz"
    known = CARDS["gowalla"]
    monkeypatch.setitem(CARDS, "gowalla", dataclasses.replace(known, remote=Remote(nowhere, None)))
    with pytest.raises(DataError, match=rf"{nowhere} could not be downloaded .*put it there as it is"):
        load("gowalla")


def test_the_data_folder_comes_first(
    tiny: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_machine: Path
) -> None:
    fetch("ml-100k")
    own = tmp_path / "own" / "ml-100k" / "u.data"
    own.parent.mkdir(parents=True)
    own.write_text(RATINGS)
    monkeypatch.setenv("FEDSIEGE_DATA", str(tmp_path / "own"))
    assert locate("ml-100k") == own
    own.unlink()
    assert locate("ml-100k") == empty_machine / "ml-100k" / "u.data"
    monkeypatch.setenv("FEDSIEGE_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"FEDSIEGE_DATA is .* not a folder"):
        locate("ml-100k")


def test_a_file_with_another_sum_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_machine: Path
) -> None:
    monkeypatch.setenv("FEDSIEGE_DATA", str(tmp_path))
    file = tmp_path / "ml-100k" / "u.data"
    file.parent.mkdir()
    file.write_text(RATINGS)
    expected = CARDS["ml-100k"].layouts[0].sha256[0]
    with pytest.raises(DataError, match=f"SHA-256 {sums(RATINGS.encode())}, expected {expected}") as error:
        load("ml-100k")
    assert str(file) in str(error.value)
    assert "load your own file by its path" in str(error.value)
    assert load(file).num_users == 3


def test_a_layout_without_known_sum_must_be_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_machine: Path
) -> None:
    monkeypatch.setenv("FEDSIEGE_DATA", str(tmp_path))
    file = tmp_path / "ml-1m" / "ratings.dat"
    file.parent.mkdir()
    file.write_text(RATINGS.replace("\t", "::"))
    assert locate("ml-1m") == file
    with pytest.raises(DataError, match="3 users, 12 items, 12 interactions instead of 6040, 3706, 1000209"):
        load("ml-1m")


def test_sums_are_computed_once_per_version(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"one")
    cache._sha256.cache_clear()
    assert cache.sha256(file) == cache.sha256(file) == sums(b"one")
    assert cache._sha256.cache_info().misses == 1
    file.write_bytes(b"other")
    assert cache.sha256(file) == sums(b"other")
    with pytest.raises(DataError, match="cannot be read"):
        cache.sha256(tmp_path / "absent")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full; free some space; or set FEDSIEGE_CACHE"),
        (errno.EACCES, "cannot be written to; or set FEDSIEGE_CACHE"),
        (errno.EIO, "Input/output error; or set FEDSIEGE_CACHE"),
    ],
)
def test_trouble_with_the_disk(
    tiny: Server, monkeypatch: pytest.MonkeyPatch, empty_machine: Path, number: int, message: str
) -> None:
    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache.shutil, "copyfileobj", fail)
    with pytest.raises(DataError, match=message):
        fetch("ml-100k")
    # Neither half a file nor a temporary one is left.
    assert list((empty_machine / "ml-100k").iterdir()) == []


def test_a_cache_that_is_a_file(tiny: Server, empty_machine: Path) -> None:
    empty_machine.write_text("in the way")
    with pytest.raises(DataError, match="cannot be written to"):
        fetch("ml-100k")


def test_generated_data_have_no_file() -> None:
    with pytest.raises(DataError, match="generated in memory"):
        locate("synthetic")


def test_the_platform_cache_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDSIEGE_CACHE", raising=False)
    assert cache.cache_folder().name == "fedsiege"


PARTS = {"a": b"pixels", "b": b"labels"}


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_machine: Path) -> Path:
    """`gowalla` in two files, plain or compressed, of two known copies; returns the folder to put them in."""
    one = tuple(sums(content) for content in PARTS.values())
    other = tuple(sums(content[::-1]) for content in PARTS.values())
    layouts = tuple(
        Layout((f"gowalla/a{end}", f"gowalla/b{end}"), "lightgcn", one, copies=(other,)) for end in ("", ".gz")
    )
    monkeypatch.setitem(CARDS, "gowalla", dataclasses.replace(CARDS["gowalla"], layouts=layouts))
    monkeypatch.setenv("FEDSIEGE_DATA", str(tmp_path))
    (tmp_path / "gowalla").mkdir()
    return tmp_path / "gowalla"


def put(folder: Path, contents: dict[str, bytes], end: str = "", level: int = 9) -> None:
    for name, content in contents.items():
        (folder / (name + end)).write_bytes(gzip.compress(content, level) if end else content)


@pytest.mark.parametrize(("end", "levels"), [("", [0]), (".gz", [0, 1, 9])])
def test_plain_and_compressed_files_share_their_sums(pinned: Path, end: str, levels: list[int]) -> None:
    for level in levels:
        for turned in (False, True):
            put(pinned, {name: part[::-1] if turned else part for name, part in PARTS.items()}, end, level)
            found = cache.find("gowalla")
            assert found is not None
            assert [file.name for file in found.files] == [f"a{end}", f"b{end}"]
            # What a run stores is the sum of the file on the disk.
            assert cache.sums(found.files).split()[0] == f"a{end}={sums((pinned / f'a{end}').read_bytes())}"


@pytest.mark.parametrize(("end", "what"), [("", "SHA-256"), (".gz", "SHA-256 of what it unpacks to")])
def test_a_changed_byte_is_refused(pinned: Path, end: str, what: str) -> None:
    for turned in (False, True):
        good = {name: part[::-1] if turned else part for name, part in PARTS.items()}
        odd = b"?" + good["b"][1:]
        put(pinned, {**good, "b": odd}, end)
        with pytest.raises(DataError) as error:
            locate("gowalla")
        text = str(error.value)
        assert text.startswith(f"{pinned / ('b' + end)} is not the gowalla it claims to be: {what} {sums(odd)}, ")
        # Held to the copy that the other file is of.
        assert f"expected {sums(good['b'])}; remove it and download http" in text


def test_files_of_two_copies_do_not_belong_together(pinned: Path) -> None:
    put(pinned, {"a": PARTS["a"], "b": PARTS["b"][::-1]})
    with pytest.raises(DataError, match=f"b is not the gowalla .*, expected {sums(PARTS['b'])}"):
        locate("gowalla")


@pytest.mark.parametrize("damage", ["half", "page", "bits"])
def test_a_damaged_gzip_file_is_named(pinned: Path, damage: str) -> None:
    put(pinned, PARTS, ".gz")
    file = pinned / "b.gz"
    whole = file.read_bytes()
    file.write_bytes({"half": whole[:-9], "page": b"<html>", "bits": whole[:12] + b"\xff\xff" + whole[14:]}[damage])
    with pytest.raises(DataError, match=r"b\.gz is damaged, not a whole gzip file .*; remove it and fetch") as error:
        locate("gowalla")
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


def test_unpacked_sums_are_computed_once_per_version(tmp_path: Path) -> None:
    file = tmp_path / "x.gz"
    file.write_bytes(gzip.compress(b"one"))
    cache._unpacked_sha256.cache_clear()
    assert cache.content_sha256(file) == cache.content_sha256(file) == sums(b"one")
    assert cache._unpacked_sha256.cache_info().misses == 1
    file.write_bytes(gzip.compress(b"other one"))
    assert cache.content_sha256(file) == sums(b"other one")
    with pytest.raises(DataError, match="cannot be read"):
        cache.content_sha256(tmp_path / "absent.gz")
    for name in ("x.tar.gz", "x.parquet"):
        (tmp_path / name).write_bytes(file.read_bytes())
        assert cache.content_sha256(tmp_path / name) == sums(file.read_bytes())
