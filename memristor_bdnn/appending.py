"""A file that only grows: locked against a second writer, synced at every append, unchanged after a failed one."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

from memristor_bdnn.errors import StoreError


class AppendFile:
    """An open file to which whole records are appended.

    Args:
        path: the file; made, with its folder, when it does not exist and is opened for writing.
        readonly: read only, without the writer's lock.

    Attributes:
        made: whether it did not exist before.
        content: what the file held when it was opened.
        size: bytes that are known to be good; :meth:`append` writes there.

    Raises:
        StoreError: no regular file, not to be read or written, or in use by another writer.
    """

    def __init__(self, path: Path, readonly: bool = False) -> None:
        self.path, self.readonly = path, readonly
        self._fd: int | None = None
        try:
            if not readonly:
                path.parent.mkdir(parents=True, exist_ok=True)
            # Without O_NONBLOCK opening a FIFO would wait for ever.
            self.made = not path.exists()
            flags = os.O_RDONLY if readonly else os.O_RDWR | os.O_CREAT | os.O_APPEND
            self._fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise StoreError(f"{path} is no regular file; choose another")
            if not readonly:
                self._lock()
            with open(self._fd, "rb", closefd=False) as handle:
                self.content = handle.read()
        except OSError as error:
            self.close()
            raise StoreError(f"{path}: {error.strerror}; choose a file that can be read and written") from error
        except BaseException:
            self.close()
            raise
        self.size = len(self.content)

    @property
    def writable(self) -> bool:
        """Whether something can be appended."""
        return self._fd is not None and not self.readonly

    def append(self, record: bytes, kept: Callable[[], bytes], what: str) -> None:
        """Append a record and sync it; after a failure the file is as it was.

        Args:
            record: the bytes.
            kept: all bytes of the file so far, asked for when somebody deleted or replaced it.
            what: names them, such as ``12 trials``.

        Raises:
            StoreError: the disk refused, or the file is not where it was.
        """
        if self._fd is None or self.readonly:
            raise StoreError(f"{self.path} is open read-only or closed: nothing can be appended")
        self._check_place(kept, what)
        try:
            rest = record
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            os.fsync(self._fd)
        except OSError as error:
            self._undo()
            raise StoreError(
                f"{self.path}: {error.strerror}; make room or choose another disk, then run again: what was "
                "committed before is kept"
            ) from error
        self.size += len(record)

    def cut(self, size: int) -> None:
        """Give up what follows the first ``size`` bytes."""
        assert self._fd is not None
        if size < self.size:
            os.ftruncate(self._fd, size)
            os.fsync(self._fd)
        self.size = size

    def set_aside(self, tail: bytes) -> Path:
        """Keep bytes that cannot be used but may be somebody's, in FILE.damaged."""
        path = self.path.with_name(self.path.name + ".damaged")
        with open(path, "ab") as handle:
            handle.write(tail)
            handle.flush()
            os.fsync(handle.fileno())
        return path

    def discard(self) -> None:
        """Close, and take an empty file away again that this object made."""
        if self._fd is not None and self.made and not self.readonly and self.size == 0:
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Release the file and its lock; safe to call twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _lock(self) -> None:
        assert self._fd is not None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"{self.path} is in use by another process: stop it, or use another file") from error

    def _undo(self) -> None:
        """Take back a record of which nobody knows how much is on disk."""
        assert self._fd is not None
        try:
            os.ftruncate(self._fd, self.size)
            os.fsync(self._fd)
        except OSError:
            self.close()  # nothing can be said of the file any more: the next reader finds a torn record at worst

    def _check_place(self, kept: Callable[[], bytes], what: str) -> None:
        """Notice that the file was deleted or replaced; what was committed is written where nothing is."""
        assert self._fd is not None
        mine = os.fstat(self._fd)
        try:
            there = os.stat(self.path)
        except OSError:
            self.close()
            self._rescue(self.path, kept())
            raise StoreError(
                f"{self.path} was deleted while in use: its {what} were written to it again; run again to go on"
            ) from None
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            self.close()
            other = self.path.with_name(self.path.name + ".rescued")
            self._rescue(other, kept())
            raise StoreError(
                f"{self.path} was replaced by another file while in use; the {what} of this run are in {other}"
            )

    def _rescue(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            raise StoreError(
                f"{self.path} vanished while in use and {path} cannot be written ({error.strerror}): {content!r}"
            ) from error
