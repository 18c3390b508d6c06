"""Paths that messages name: checkpoints inside the node's own results folder, and nothing else."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memristor_bdnn import archives
from memristor_bdnn.errors import ConfigError, MemristorError

SUFFIX = ".npz"
"""Only checkpoints are written and read; a trial store or a log has another suffix."""
NAME_BYTES, PATH_BYTES = 255, 1024
"""Longest name of a file and longest path, in bytes of UTF-8 (what file systems take)."""
CHECKPOINT_BYTES = 256 << 20
"""Checkpoints of the built-in learners have less than 50 MB; a file is judged by its size before it is read."""


def checkpoint_path(results: str | Path, text: str, allow_outside: bool = False) -> Path:
    """Where a checkpoint named in a message is or will be; nothing is made or opened.

    Args:
        results: the node's results folder; it need not exist yet.
        text: a name in it, a path in one of its folders, or an absolute path that leads into it.
        allow_outside: whether it may lead anywhere.

    Raises:
        ConfigError: no usable name of a checkpoint, or it leads out of the folder.
    """
    shown = repr(text[:200])
    _check_text(text, shown)
    folder = Path(results).resolve()
    if not allow_outside and ".." in Path(text).parts:
        raise ConfigError(f"path {shown}: '..' is not allowed, give the name of a file in {folder}")
    target = folder / text
    if target.name.startswith("."):
        raise ConfigError(f"path {shown}: a hidden name is not allowed")
    if target.suffix != SUFFIX:
        raise ConfigError(f"path {shown}: a checkpoint's name ends in {SUFFIX}, other files are not touched")
    try:
        place = target.parent.resolve()
        real = target.resolve() if target.is_symlink() else place / target.name
    except (OSError, RuntimeError) as error:  # links in a circle
        raise ConfigError(f"path {shown}: {error}") from error
    if not allow_outside and not (place.is_relative_to(folder) and real.is_relative_to(folder)):
        raise ConfigError(
            f"path {shown} leads out of the results folder {folder}: give the name of a file in it, or start the node "
            "with allow_outside_results:=true"
        )
    if real.suffix != SUFFIX or real.name.startswith("."):
        raise ConfigError(f"path {shown} is a link to {real.name}: no checkpoint")
    kind = _kind(real)
    if kind not in ("missing", "file"):
        raise ConfigError(f"path {shown} is a {kind}, expected a file")
    return real


def place_to_save(path: Path, results: str | Path) -> Path:
    """A path from :func:`checkpoint_path` that can be written; makes the results folder, but no other.

    Raises:
        ConfigError: the folder is missing or cannot be made, or is not writable.
    """
    folder = Path(results).resolve()
    if path.parent == folder:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"results folder {folder}: {error.strerror or error}") from error
    if not path.parent.is_dir():
        raise ConfigError(f"folder {path.parent} does not exist, and only the results folder is made")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"folder {path.parent} cannot be written")
    return path


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """A private copy of a checkpoint under the same name; errors of the block name the original instead.

    Reading the copy cannot hang, wherever the original lies.

    Raises:
        ConfigError: the file is no ordinary file, too large, or cannot be read or copied.
    """
    content = archives.read_file(path, CHECKPOINT_BYTES)
    try:
        with tempfile.TemporaryDirectory(prefix="memristor-bdnn-") as folder:
            copy = Path(folder) / path.name
            copy.write_bytes(content)
            try:
                yield copy
            except MemristorError as error:
                raise ConfigError(str(error).replace(str(copy), str(path))) from error
    except OSError as error:
        raise ConfigError(f"cannot copy {path} to {tempfile.gettempdir()}: {error.strerror or error}") from error


def _check_text(text: str, shown: str) -> None:
    """Refuse what no file can be called, and what a person would not see."""
    if text in ("", ".", "/") or text.endswith("/"):
        raise ConfigError(f"path {shown}: expected the name of a file, such as 'learner.npz'")
    if any(not c.isprintable() or c == "\N{REPLACEMENT CHARACTER}" for c in text):
        raise ConfigError(f"path {shown}: control characters and what is no UTF-8 are not allowed in a name")
    try:
        names = [part.encode() for part in text.split("/")]
    except UnicodeEncodeError as error:
        raise ConfigError(f"path {shown}: no UTF-8 ({error.reason})") from error
    if max(map(len, names)) > NAME_BYTES or sum(map(len, names)) > PATH_BYTES:
        raise ConfigError(
            f"path of {len(text)} characters, {shown} ...: a name has at most {NAME_BYTES} bytes, a path {PATH_BYTES}"
        )


def _kind(path: Path) -> str:
    """What lies at a path, in a word; a link is followed."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return "link to nothing" if path.is_symlink() else "missing"
    for test, word in (
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "folder"),
        (stat.S_ISFIFO, "FIFO"),
        (stat.S_ISSOCK, "socket"),
    ):
        if test(mode):
            return word
    return "device"
