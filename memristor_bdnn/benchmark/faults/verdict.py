"""What became of one damaged file."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

Finding = tuple[str, str]
"""Kind and what happened."""


@dataclass
class Verdict:
    """What was done, whether it was taken, and what is wrong with that."""

    done: str
    taken: bool = False
    findings: list[Finding] = field(default_factory=list)
    note: ClassVar[Path | None] = None
    """File that says what is being done, for whoever finds that the reader hangs."""

    def __post_init__(self) -> None:
        """Note what will be read."""
        if self.note is not None:
            self.note.write_text(self.done, errors="backslashreplace")

    def found(self, kind: str, happened: str) -> None:
        """Note a fault."""
        self.findings.append((kind, happened))

    def crashed(self, error: BaseException) -> None:
        """Note an error that is no answer to a user."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        self.found("crashed", f"{type(error).__name__}: {error} ({place.filename.rsplit('/', 1)[-1]}:{place.lineno})")
