"""Which checkpoint a session goes on from: the last one that belongs to the trials in its store."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from memristor_bdnn.active import checkpoints
from memristor_bdnn.active.checkpoints import Mark
from memristor_bdnn.active.store import LABEL_PHASES, TrialStore
from memristor_bdnn.errors import ConfigError, StoreError


@dataclass
class Found:
    """The checkpoint to go on from (None: none), its mark, and what the user should be told."""

    path: Path | None = None
    mark: Mark | None = None
    notes: list[str] = field(default_factory=list)


def find(checkpoint: Path, store: TrialStore) -> Found:
    """The checkpoint of a session, or the one before it where the last one is damaged.

    A checkpoint of another session is moved out of the way, so that none is lost.

    Raises:
        StoreError: the checkpoint knows trials that the store lacks, or all checkpoints are damaged.
    """
    found, damaged = Found(), []
    for path in (checkpoint, checkpoints.previous(checkpoint)):
        if not path.exists():
            continue
        try:
            mark = checkpoints.mark_of(path) or _mark_of_version_0_1(path, store)
        except ConfigError as error:
            damaged.append(path)
            found.notes.append(f"{error}; it is left as it is")
            continue
        if mark is not None and belongs(path, mark, store):
            found.path, found.mark = path, mark
            break
        if path == checkpoint:
            found.notes.append(f"{path} is of another session: moved to {checkpoints.set_aside(path)}")
    if damaged and found.path is None:
        raise StoreError(
            f"{found.notes[0]}, and no checkpoint before it can be used: restore it from a copy, or move it away to "
            "train anew on the trials in the store"
        )
    for path in damaged:  # makes room for the next checkpoint
        found.notes.append(f"moved to {checkpoints.set_aside(path)}; going on from {found.path}")
    return found


def belongs(path: Path, mark: Mark, store: TrialStore) -> bool:
    """Whether a checkpoint was made from the trials that the store begins with.

    Raises:
        StoreError: of its session, but it knows trials that the store lacks.
    """
    held = len(store.trials)
    if mark.trials <= held:
        known = sum(t.feasible and t.phase in LABEL_PHASES for t in store.trials[: mark.trials])
        return mark.history in ("", store.history(mark.trials)) and mark.labels <= known
    if held == 0 or not store.same_session(mark.history):
        return False
    raise StoreError(
        f"{path} knows {mark.trials} trials of its session, {store.path} holds {held}: lines are missing at its end; "
        "restore the store from a copy, or move the checkpoint away to go on from what is there"
    )


def _mark_of_version_0_1(path: Path, store: TrialStore) -> Mark | None:
    """The mark that version 0.1 kept in a file beside the checkpoint."""
    beside = path.with_name(path.name + ".labels.json")
    if not beside.is_file():
        return None
    try:
        content = json.loads(beside.read_text())
        labels, seed = int(content["labels"]), content["seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{beside} is no mark of a checkpoint: {error}") from error
    if seed != store.metadata.get("seed"):
        return None
    seen = 0
    for number, trial in enumerate(store.trials, start=1):
        seen += trial.feasible and trial.phase in LABEL_PHASES
        if seen == labels:
            return Mark(labels, number)
    return None
