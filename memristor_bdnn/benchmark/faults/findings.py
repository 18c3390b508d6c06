"""What a campaign tried and found: counts by part, and each finding with the seed and case that repeat it."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

KINDS = ("lost", "duplicated", "diverged", "crashed", "wrongly_accepted")
"""Every count must be zero.

lost: something committed or saved is gone. duplicated: something is there twice. diverged: an interrupted run chose or
scored otherwise than the uninterrupted one, or something that was refused left a trace. crashed: a process died, hung,
ended with a traceback or refused without a reason. wrongly_accepted: something harmful or without effect was taken.
"""

GIVE_UP = 40
"""A part ends early after so many crashes: each costs a restart, and the verdict stands."""


@dataclass(frozen=True)
class Finding:
    """One fault found.

    Attributes:
        part: of the campaign.
        kind: one of :data:`KINDS`.
        seed: of the campaign.
        case: number of the case in its part; ``--parts PART --seed SEED --case CASE`` repeats it.
        done: what was done.
        happened: what happened.
    """

    part: str
    kind: str
    seed: int
    case: int
    done: str
    happened: str


@dataclass
class Tally:
    """What one part tried with one seed, and what it found."""

    part: str
    seed: int
    tried: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def count(self, what: str, n: int = 1) -> None:
        """Note that something was tried."""
        self.tried[what] += n

    def found(self, kind: str, case: int, done: str, happened: str) -> None:
        """Note a fault."""
        assert kind in KINDS, kind
        self.findings.append(Finding(self.part, kind, self.seed, case, shortened(done), shortened(happened)))

    @property
    def given_up(self) -> bool:
        """Whether there were so many crashes that going on tells nothing new."""
        return sum(f.kind == "crashed" for f in self.findings) >= GIVE_UP

    def rng(self, case: int) -> np.random.Generator:
        """Draws of a case: a function of seed, part and case."""
        return np.random.default_rng([self.seed, zlib.crc32(self.part.encode()), case])


def shortened(text: str, limit: int = 600) -> str:
    """A text that fits a table or a log."""
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 2 :]}"


def summary(tallies: Iterable[Tally]) -> dict[str, Any]:
    """Figures of all parts: what was tried, the counts by part and in all, and the findings."""
    tallies = list(tallies)
    parts: dict[str, Any] = {}
    for tally in tallies:
        row = parts.setdefault(tally.part, {"tried": Counter(), **dict.fromkeys(KINDS, 0)})
        row["tried"].update(tally.tried)
        for finding in tally.findings:
            row[finding.kind] += 1
    for row in parts.values():
        row["tried"] = dict(row["tried"])
    totals: dict[str, Any] = {kind: sum(row[kind] for row in parts.values()) for kind in KINDS}
    for what in ("kills", "parameter sets", "calls", "files"):
        totals[what.replace(" ", "_")] = sum(row["tried"].get(what, 0) for row in parts.values())
    findings = [asdict(f) for tally in tallies for f in tally.findings]
    return {**totals, "ok": not findings, "parts": parts, "findings": findings}
