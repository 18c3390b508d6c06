"""Relative links of a Markdown file, and where they lead on the site."""

from __future__ import annotations

import os
import re
from pathlib import Path

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|<)([^)\s#]+)(#[^)\s]*)?(?=\))")
"""Target and anchor of a link or picture that is neither a web address nor an anchor of its own page."""
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]+`", re.DOTALL | re.MULTILINE)
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "generated/project/contributing.md",
    "CHANGELOG.md": "generated/project/changelog.md",
    "SECURITY.md": "generated/project/reporting.md",
    "bench/README.md": "generated/project/bench.md",
}
"""Files outside docs/ that have a page on the site."""


def without_code(text: str) -> str:
    """The text with code replaced by spaces, so that places stay."""
    return CODE.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)


def of_file(path: Path) -> list[tuple[str, str]]:
    """Relative links of a file as (target, anchor); the anchor is empty or begins with #."""
    return [(found[1], found[2] or "") for found in LINK.finditer(without_code(path.read_text()))]


def place(target: Path) -> Path:
    """The page of the site that stands for a file or folder of the repository; itself where there is none."""
    name = target.relative_to(ROOT).as_posix()
    if name in PAGES:
        return DOCS / PAGES[name]
    if target.parent == ROOT / "examples" and target.is_dir():
        return DOCS / "generated" / "examples" / f"{target.name}.md"
    return target


def of_site(text: str, origin: Path, page: Path) -> str:
    """A text whose relative links lead from another page.

    Args:
        text: Markdown.
        origin: the file that it was written for.
        page: the page of docs/ that shows it.
    """
    plain, parts, end = without_code(text), [], 0
    for found in LINK.finditer(plain):
        target = Path(os.path.normpath(origin.parent / found[1]))
        if target.is_relative_to(ROOT):
            there = Path(os.path.relpath(place(target), page.parent)).as_posix()
            parts += [text[end : found.start()], there + (found[2] or "")]
            end = found.end()
    return "".join([*parts, text[end:]])
