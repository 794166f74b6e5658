"""The code blocks of a page, in order: files to write, commands to run, Python to execute."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^```(\{code-block\} )?(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_CAPTION = re.compile(r"\A:caption: (?P<name>\S+)\n+")


@dataclass(frozen=True)
class Code:
    """One block: its language, the file that it is to be saved as (or None), and its text."""

    kind: str
    name: str | None
    text: str

    @property
    def lines(self) -> int:
        """Lines that are not empty."""
        return sum(bool(line.strip()) for line in self.text.splitlines())

    @property
    def commands(self) -> list[str]:
        """The commands of a console block, without their prompts."""
        return [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]


def blocks(path: Path) -> list[Code]:
    """Return the code blocks of a page; those in ``text`` and ``toml`` are for reading alone."""
    found = []
    for match in _BLOCK.finditer(path.read_text(encoding="utf-8")):
        body = match["body"]
        caption = _CAPTION.match(body)
        name = caption["name"] if caption else None
        found.append(Code(match["kind"], name, body[caption.end() :] if caption else body))
    return found
