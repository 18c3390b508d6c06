"""Progress of a session on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from memristor_bdnn import skills
from memristor_bdnn.skills import Skill

PHASES = {"initial": "random trials", "query": "queries", "evaluation": "confident trials"}
EVERY = 4
"""In a pipe one line for so many trials."""
_PROBLEMS = ("WARN", "ERROR", "FATAL", "Traceback", "Error:", "error:", "[supervisor]")


class SessionProgress:
    """Three bars (random trials, queries, confident trials) fed with ActiveLearn feedback; plain lines in a pipe.

    Args:
        skill: whose fraction a trial's outcome is said as; None: that of the first outcome.
        totals: trials of each phase (initial, query, evaluation); None where only the other side knows.
        console: default standard output.
    """

    def __init__(self, skill: Skill | None, totals: Mapping[str, int | None], console: Console | None = None) -> None:
        self._skill, self._totals = skill, dict(totals)
        console = console or Console()
        self._plain = not console.is_terminal
        self._progress = Progress(*_columns(console.width), console=console, disable=self._plain)
        self._tasks = {
            phase: self._progress.add_task(PHASES[phase], total=total, note="", start=False)
            for phase, total in totals.items()
        }
        self._said: set[tuple[str, int]] = set()

    def update(self, feedback: Any) -> None:
        """Show one ActiveLearn feedback message."""
        if feedback.phase not in self._tasks:
            return
        task, last = self._tasks[feedback.phase], feedback.last_outcome
        notes = [f"{feedback.labels} labels", f"{feedback.failures} failed"]
        if feedback.accuracy > 0:
            notes.append(f"accuracy {feedback.accuracy:.2f}")
        if last.source:
            self._skill = self._skill or skills.load(last.skill)
            notes.insert(0, f"last trial {self._skill.fraction(np.array(last.measures.values)):.2f}")
        self._progress.start_task(task)
        self._progress.update(task, completed=feedback.round, note=", ".join(notes))
        key, total = (feedback.phase, int(feedback.round)), self._totals[feedback.phase]
        if self._plain and key not in self._said and (feedback.round % EVERY == 0 or feedback.round == total):
            self._said.add(key)
            of = "" if total is None else f" of {total}"
            self.print(f"{PHASES[feedback.phase]} {feedback.round}{of}: {', '.join(notes)}")

    def print(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def only_problems(self, line: str) -> None:
        """Print a node's line only if it reports a problem; all lines are in the log folder."""
        if any(word in line for word in _PROBLEMS):
            self.print(line)

    def __enter__(self) -> SessionProgress:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing; the bars stay."""
        self._progress.stop()


def _columns(width: int) -> list[ProgressColumn]:
    """What fits a terminal of so many characters, in one line each: the note is cut, the bar is the first to go."""
    name = TextColumn("{task.description}", table_column=Column(min_width=16, no_wrap=True))
    note = TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
    count = MofNCompleteColumn(table_column=Column(min_width=5, no_wrap=True))
    columns: list[ProgressColumn] = [name, count, note] if width >= 40 else [name, count]
    if width >= 80:
        columns.insert(1, BarColumn(16 if width < 110 else 30))
    if width >= 110:
        columns.insert(3, TimeElapsedColumn())
    return columns
