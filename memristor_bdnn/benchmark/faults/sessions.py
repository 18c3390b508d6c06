"""What two runs of the same session must have in common, and what a kill may not take away."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

from memristor_bdnn.active.store import TrialStore
from memristor_bdnn.errors import MemristorError

Judgement = tuple[str, str]
"""Kind of a finding and what happened."""


def read(path: Path) -> bytes:
    """Bytes of a file; none when it does not exist."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def whole_lines(content: bytes) -> list[bytes]:
    """The lines that end: a torn last one was never acknowledged."""
    return content.split(b"\n")[:-1]


def lost(before: bytes, after: bytes) -> list[Judgement]:
    """Trials of a file as a kill left it that are not in their place in a later state of the file."""
    old, new = whole_lines(before), whole_lines(after)
    for number, line in enumerate(old):
        if number >= len(new) or new[number] != line:
            kept = "is elsewhere in the file" if line in new else "is gone"
            return [("lost", f"line {number + 1} of {len(old)}, committed before the kill, {kept}")]
    return []


def trials(path: Path) -> list[dict[str, Any]]:
    """Trials of a store without what the clock decides.

    Raises:
        MemristorError: the store cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a torn last line
        found = TrialStore(path, readonly=True).trials
    rows = [json.loads(json.dumps(dataclasses.asdict(trial))) for trial in found]
    for row in rows:
        row["details"] = {k: v for k, v in row["details"].items() if "time" not in k}
    return rows


def compare(path: Path, reference: list[dict[str, Any]]) -> list[Judgement]:
    """A store against the trials of the uninterrupted session: duplicated, missing and different ones."""
    try:
        rows = trials(path)
    except MemristorError as error:
        return [("lost", f"the store cannot be read any more: {error}")]
    found: list[Judgement] = []
    seen: set[str] = set()
    for number, row in enumerate(rows):
        key = json.dumps([row[k] for k in ("phase", "context", "parameters", "seed")])
        if key in seen:
            found.append(("duplicated", f"trial {number} is in the store twice"))
        seen.add(key)
    for number, (row, expected) in enumerate(zip(rows, reference, strict=False)):
        if row != expected:
            names = ", ".join(k for k in expected if row[k] != expected[k])
            found.append(("diverged", f"trial {number} ({expected['phase']}) differs in {names}"))
            return found
    if len(rows) != len(reference):
        found.append(("diverged", f"{len(rows)} trials, the uninterrupted session has {len(reference)}"))
    return found


ROUND = ("labels", "train_accuracy", "epochs", "test_accuracy")
"""What of a round must be the same: the rest depends on clocks."""


def rounds(path: Path) -> list[dict[str, Any]]:
    """Rows of rounds.jsonl; a torn last line is left out."""
    return [json.loads(line) for line in whole_lines(read(path))]


def compare_rounds(path: Path, reference: list[dict[str, Any]]) -> list[Judgement]:
    """rounds.jsonl against that of the uninterrupted session: one row per label count, the same figures."""
    try:
        rows = rounds(path)
    except ValueError as error:
        return [("lost", f"rounds.jsonl cannot be read any more: {error}")]
    counts = [row["labels"] for row in rows]
    if len(set(counts)) != len(counts):
        return [("duplicated", f"rounds.jsonl has rows for {counts} labels")]
    expected = [row["labels"] for row in reference]
    if counts != expected:
        return [("lost", f"rounds.jsonl has rows for {counts} labels, expected {expected}")]
    for row, other in zip(rows, reference, strict=True):
        for key in ROUND:
            if row.get(key) != other.get(key):
                return [("diverged", f"round of {row['labels']} labels: {key} {row.get(key)}, not {other.get(key)}")]
    return []


def checkpoint_labels(path: Path) -> int:
    """Labels of the newest checkpoint; 0 where there is none, or none that can be read."""
    from memristor_bdnn.state import load_npz, unpack_json

    if not path.exists():
        return 0
    mark = path.with_name(path.name + ".labels.json")
    if mark.exists():
        return int(json.loads(mark.read_text())["labels"])
    arrays = load_npz(path)
    if "session" not in arrays:
        return 0
    return int(unpack_json(arrays["session"]).get("labels", 0))
