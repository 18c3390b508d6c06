"""Checkpoints of a session: the learner's file with a mark that says which trials it has learned.

The mark is a member of the learner's own .npz, so both appear on disk in one step. The last two files are kept, and a
file that knows more labels than its successor is never overwritten.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from memristor_bdnn import archives
from memristor_bdnn.errors import ConfigError, MemristorError, StoreError
from memristor_bdnn.state import pack_json, remove_abandoned, sync_folder, unpack_json

MEMBER = "session"
_MARK_BYTES = 4096


@dataclasses.dataclass(frozen=True)
class Mark:
    """What the learner of a checkpoint knew.

    Attributes:
        labels: it had learned; 0 before the first training.
        trials: of the session at that time; 0 before the first training.
        history: checksum of those trials (of the store's header for none); empty where no session is behind it.
        accuracy: on its labels; None before the first training.
    """

    labels: int
    trials: int = 0
    history: str = ""
    accuracy: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no session wrote."""
        counts = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in (self.labels, self.trials))
        share = self.accuracy is None or (isinstance(self.accuracy, float | int) and 0 <= self.accuracy <= 1)
        if not counts or not share or not isinstance(self.history, str) or len(self.history) > 64:
            raise ConfigError(f"no mark of a checkpoint: {str(self)[:200]} (history: up to 64 characters)")


def previous(path: Path) -> Path:
    """Where the checkpoint before the last one is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def first(path: Path) -> Path:
    """Where the checkpoint before anything was learned is kept, by who asks for it with :func:`keep_first`."""
    return path.with_name(f"{path.stem}.first{path.suffix}")


def keep_first(path: str | Path) -> Path:
    """Keep the present checkpoint, which knows no label, for pictures of what learning has changed.

    It costs no time, being a second name of the same file. Nothing goes on from it.
    """
    path = Path(path)
    try:
        _second_name(path, first(path))
    except OSError as error:
        raise StoreError(f"checkpoint {first(path)}: {error.strerror or error}; make room, then run again") from error
    return first(path)


def mark_of(path: Path) -> Mark | None:
    """The mark of a checkpoint; None for one that was saved by hand or by version 0.1.

    Raises:
        ConfigError: no readable .npz file, or a damaged mark.
    """
    content = archives.unpack(path, archives.read_file(path), only=(MEMBER,))
    if MEMBER not in content:
        return None
    if content[MEMBER].nbytes > _MARK_BYTES:
        raise ConfigError(f"damaged checkpoint {path}: {MEMBER} is longer than {_MARK_BYTES} bytes")
    try:
        return Mark(**unpack_json(content[MEMBER], f"{path}: {MEMBER}"))
    except TypeError as error:
        raise ConfigError(f"{path}: {MEMBER} is no mark of a checkpoint ({error})") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def keep(path: str | Path, save: Callable[[Path], str], mark: Mark) -> str:
    """Save a learner with its mark in one step, and keep the file before; returns the SHA-256.

    Args:
        path: of the checkpoint; the one before goes to :func:`previous`.
        save: writes the learner to the path it is given.
        mark: see :class:`Mark`.

    Raises:
        StoreError: the file there knows more labels, or the disk refused; the files are as they were.
    """
    path = Path(path)
    check_free(path, mark.labels)
    remove_abandoned(path)
    fresh = path.with_name(f".{path.stem}.{os.getpid()}.tmp.npz")
    try:
        save(fresh)
        _add(fresh, mark)
        digest = hashlib.sha256(fresh.read_bytes()).hexdigest()
        if path.exists():
            _second_name(path, previous(path))
        os.replace(fresh, path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"checkpoint {path}: {error.strerror or error}; make room or choose another folder, then run again: "
            "trials and the checkpoint before are kept"
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
    return digest


def check_place(path: Path) -> None:
    """Refuse a place where no checkpoint can be kept.

    Raises:
        StoreError: its folder does not exist or cannot be written, or what is there is no file.
    """
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise StoreError(f"checkpoint {path}: folder {path.parent} does not exist or cannot be written; choose another")
    if path.exists() and not path.is_file():
        raise StoreError(f"checkpoint {path} is no regular file; choose another")


def check_free(path: Path, labels: int) -> None:
    """Refuse to overwrite a checkpoint that knows more labels.

    Raises:
        StoreError: it does, or what is there is no checkpoint.
    """
    if not path.exists():
        return
    try:
        there = mark_of(path)
    except ConfigError as error:
        raise StoreError(f"{error}; it is not overwritten: move it away, or choose another name") from error
    if there is not None and there.labels > labels:
        raise StoreError(
            f"{path} knows {there.labels} labels, this learner {labels}: it is not overwritten; load it, move it "
            "away, or choose another name"
        )


def set_aside(path: Path) -> Path:
    """Move a checkpoint of another session out of the way; returns its new name."""
    number = 1
    while (other := path.with_name(f"{path.stem}.other{number}{path.suffix}")).exists():
        number += 1
    try:
        path.rename(other)
    except OSError as error:
        raise StoreError(f"{path} is of another session and cannot be moved to {other}: {error.strerror}") from error
    return other


def _add(path: Path, mark: Mark) -> None:
    """Put the mark into a learner's file."""
    value = dataclasses.asdict(mark)
    if mark.accuracy is not None and not math.isfinite(mark.accuracy):
        value["accuracy"] = None
    buffer = io.BytesIO()
    np.save(buffer, pack_json(value))
    try:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(zipfile.ZipInfo(f"{MEMBER}.npy"), buffer.getvalue())
    except zipfile.BadZipFile as error:
        raise MemristorError(f"the learner saved no .npz file: {error}") from error
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())


def _second_name(path: Path, other: Path) -> None:
    """Let the present file be found under another name too, without a moment in which it has none."""
    temporary = other.with_name(f".{other.stem}.{os.getpid()}.tmp.npz")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, temporary)
    os.replace(temporary, other)
