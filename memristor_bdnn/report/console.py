"""Progress of a session on the terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from memristor_bdnn.skills import Skill

_PROBLEMS = ("WARN", "ERROR", "FATAL", "Traceback", "Error:", "error:", "[supervisor]")


class SessionProgress:
    """Three bars (random trials, queries, confident trials) fed with ActiveLearn feedback."""

    def __init__(self, skill: Skill, initial: int, queries: int, evaluations: int) -> None:
        self._skill = skill
        self._progress = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(),
        )
        totals = {
            "initial": ("random trials", initial),
            "query": ("queries", queries),
            "evaluation": ("confident trials", evaluations),
        }
        self._tasks = {
            phase: self._progress.add_task(text, total=total, note="", start=False)
            for phase, (text, total) in totals.items()
        }
        self._plain = not self._progress.console.is_terminal
        self._said: set[tuple[str, int]] = set()

    def update(self, feedback: Any) -> None:
        """Show one ActiveLearn feedback message."""
        if feedback.phase not in self._tasks:
            return
        task = self._tasks[feedback.phase]
        note = f"labels {feedback.labels}, failures {feedback.failures}"
        if feedback.accuracy > 0:
            note += f", accuracy {feedback.accuracy:.2f}"
        last = feedback.last_outcome
        if last.source:
            note += f", last trial {self._skill.fraction(np.array(last.measures.values)):.2f}"
        self._progress.start_task(task)
        self._progress.update(task, completed=feedback.round, note=note)
        key = (feedback.phase, int(feedback.round))
        if self._plain and key not in self._said and feedback.round % 4 == 0:
            self._said.add(key)
            self._progress.console.print(f"{feedback.phase} {feedback.round}: {note}", highlight=False)

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
