"""Files that users name: whole or not at all, and one clear error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fedsiege.errors import ConfigError, RunError
from fedsiege.files import make_folder, read_yaml, write_atomic


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"old")
    with pytest.raises(RunError, match="cannot write"):
        write_atomic(tmp_path / "missing" / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_stop_in_the_middle_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    write_atomic(tmp_path / "file", b"old")
    monkeypatch.setattr("fedsiege.files.os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"file": b"old"}


def test_two_processes_may_write_one_file_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fedsiege.files import write_atomic\n"
        "for _ in range(300): write_atomic(Path(sys.argv[1]), sys.argv[2].encode() * 10_000)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "file", letter], stderr=subprocess.PIPE, text=True)
        for letter in "ab"
    ]
    assert [writer.communicate()[1] for writer in writers] == ["", ""]
    assert {p.name for p in tmp_path.iterdir()} == {"file"}
    assert (tmp_path / "file").read_bytes() in (b"a" * 10_000, b"b" * 10_000)


def test_a_folder_is_made_once_and_a_file_in_its_way_is_named(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b") == make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match=r"cannot make folder .*file.*; choose another"):
            make_folder(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read card .*a.yaml: No such file"),
        (b"a: [1", "a.yaml is not valid YAML"),
        ("# caf\u00e9\na: 1".encode("latin-1"), "a.yaml is not valid YAML: .*utf-8"),
        (b"a: 1\nb: {c: 1}\na: 2", "a.yaml is not valid YAML: key 'a' is given twice, in lines 1 and 3; keep one"),
        (b"a:\n- {b: 1, b: 1}", "key 'b' is given twice, in line 2"),
    ],
)
def test_what_is_no_yaml_is_one_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        read_yaml(path, "card")
    assert "\n" not in str(caught.value)


def test_yaml_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [1, 2]", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml", "card") == {"a": [1, 2]}


def test_a_merged_key_may_be_given_anew(tmp_path: Path) -> None:
    # b stands deeper than c, so that its merge is resolved for c before b itself is made.
    text = "a: &a {x: 1, y: 1}\np: {q: &b {<<: *a, x: 2}}\nc: {<<: *b, y: 3}\n"
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    a, b = {"x": 1, "y": 1}, {"x": 2, "y": 1}
    assert read_yaml(tmp_path / "a.yaml", "card") == {"a": a, "p": {"q": b}, "c": {"x": 2, "y": 3}}
