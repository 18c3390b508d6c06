"""What is known after every round of learning: rounds.jsonl, one line for each number of labels."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memristor_bdnn.errors import StoreError
from memristor_bdnn.state import write_atomic


class Rounds:
    """The file of a session; a round that is learned again after an interruption replaces its line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """Rounds by number of labels, the last line for each; a torn last line of version 0.1 is left out."""
        try:
            lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}; move it away, or choose another folder") from error
        rounds: dict[int, dict[str, Any]] = {}
        for line in lines:
            try:
                row = json.loads(line)
                rounds[int(row["labels"])] = row
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        return [rounds[n] for n in sorted(rounds)]

    def write(self, row: Mapping[str, Any]) -> None:
        """Add or replace the line of ``row["labels"]``, in one step."""
        rows = {int(r["labels"]): r for r in self.read()} | {int(row["labels"]): dict(row)}
        text = "".join(json.dumps(rows[n]) + "\n" for n in sorted(rows))
        write_atomic(self.path, text.encode())

    def begin(self) -> None:
        """Put the rounds of another session away, before the first trial of a new one."""
        if self.path.exists():
            os.replace(self.path, self.path.with_suffix(".previous.jsonl"))

    def accuracy(self, labels: int) -> float:
        """On the labels of the last round that knew at most so many; 0 before the first."""
        rows = [row for row in self.read() if int(row["labels"]) <= labels]
        return float(rows[-1].get("train_accuracy", 0.0)) if rows else 0.0
