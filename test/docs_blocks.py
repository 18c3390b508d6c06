"""Code blocks and commands of the pages: where they stand, what they are, and what is said of them."""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"^(?P<mark><!-- [^\n]*-->\n)?(?:\n)?```(?P<language>[\w{}-]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
COMMAND = "memristor-bdnn "


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: file name.
        line: of its fence, from 1.
        language: after the fence; empty for commands.
        text: without fences and common indent.
        mark: ``not run: ...``, ``run by ...`` or ``first: ...`` of the comment above it; empty without one.
    """

    page: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def name(self) -> str:
        """For messages and test ids."""
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = path.read_text()
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("text"))
        mark = (match["mark"] or "").removeprefix("<!-- ").strip().removesuffix("-->").strip()
        found.append(Block(path.name, line, match["language"], textwrap.dedent(match["text"]), mark))
    return found


def lines(text: str) -> list[str]:
    """Lines of a shell block without comments, those that go on with a backslash joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line for raw in joined.splitlines() if (line := re.sub(r"(^|\s)# .*", "", raw).strip())]


def commands(path: Path) -> list[str]:
    """Every memristor-bdnn command of a page: in blocks, in indented lines and between backticks."""
    text = path.read_text()
    found = [line for block in blocks(path) if block.language in ("", "bash") for line in lines(block.text)]
    found += [line for raw in re.findall(r"^    .*(?:\\\n.*)*$", text, re.MULTILINE) for line in lines(raw)]
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    found += [" ".join(inline.split()) for inline in re.findall(r"`([^`]+)`", plain)]
    return list(dict.fromkeys(line for line in found if line.startswith(COMMAND)))


def words(line: str) -> list[str]:
    """A command's words without the program; optional parts in brackets count."""
    line = re.sub(r"\[(--[^\]]*)\]", r"\1", line)
    return shlex.split(line)[1:]
