"""Checked lines on disk: numbered, chained, synced one by one; what is not ours is never removed.

A line is ``CHECKSUM {json}``. In version 2 the JSON holds the line's number and the checksum goes on from that of the
line before, so lines that were removed, repeated or reordered are found; in version 1 each line stands alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memristor_bdnn.errors import StoreError

VERSION, VERSIONS = 2, (1, 2)
_OWN_LINE = re.compile(rb'[0-9a-f]{8} \{"(acquisition|metadata)": ')
_OWN_START = b'00000000 {"metadata": '


class Journal:
    """An append-only file of JSON objects, the first of which is a header with ``version``.

    Args:
        path: the file; made at the first append.
        schema: what its header must name.
        readonly: read only, without the writer's lock.

    Attributes:
        values: the decoded objects, header first.
        checksums: the chain after every line; equal chains mean equal contents.

    Raises:
        StoreError: no such journal, another version, damage, lines out of order, or a second writer.
    """

    def __init__(self, path: Path, schema: str, readonly: bool = False) -> None:
        self.path, self.schema, self.readonly = path, schema, readonly
        self.values: list[dict[str, Any]] = []
        self.checksums: list[int] = []
        self._lines: list[bytes] = []
        self._tail = b""
        self._version = VERSION
        self._fd: int | None = None
        try:
            if not readonly:
                path.parent.mkdir(parents=True, exist_ok=True)
            elif not path.exists():
                return
            # Without O_NONBLOCK opening a FIFO would wait for ever.
            flags = os.O_RDONLY if readonly else os.O_RDWR | os.O_CREAT | os.O_APPEND
            self._fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
            self._open()
        except OSError as error:
            self.close()
            raise StoreError(f"{path}: {error.strerror}; choose a file that can be read and written") from error
        except BaseException:
            self.close()
            raise

    @property
    def writable(self) -> bool:
        """Whether lines can be appended."""
        return self._fd is not None and not self.readonly

    def append(self, value: Mapping[str, Any]) -> None:
        """Append one object and sync it; after a failure file and memory are as they were.

        Raises:
            StoreError: the disk refused, or the file was deleted or replaced in the meantime.
        """
        assert self._fd is not None
        self._check_place()
        line, checksum = self._encode(value)
        size = sum(map(len, self._lines))
        try:
            _write(self._fd, line)
            os.fsync(self._fd)
        except OSError as error:
            self._undo(size)
            raise StoreError(
                f"{self.path}: {error.strerror}; make room or choose another disk, then run again: what was committed "
                f"before is kept. Not recorded: {line.decode().strip()}"
            ) from error
        self._lines.append(line)
        self.checksums.append(checksum)
        self.values.append(json.loads(line[9:]))

    def close(self) -> None:
        """Release the file and its lock; safe to call twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    # -- writing ------------------------------------------------------------------------------

    def _encode(self, value: Mapping[str, Any]) -> tuple[bytes, int]:
        plain = dict(value)
        if not self._lines:
            self._version = VERSION
            plain |= {"schema": self.schema, "version": VERSION}
        elif self._version > 1:
            plain["number"] = len(self._lines)
        text = json.dumps(plain, sort_keys=True, allow_nan=False).encode()
        checksum = self._checksum(text)
        return b"%08x %s\n" % (checksum, text), checksum

    def _checksum(self, text: bytes) -> int:
        before = self.checksums[-1] if self.checksums and self._version > 1 else 0
        return zlib.crc32(text, before)

    def _undo(self, size: int) -> None:
        """Take back a line of which nobody knows how much is on disk."""
        assert self._fd is not None
        try:
            os.ftruncate(self._fd, size)
            os.fsync(self._fd)
        except OSError:
            self.close()  # nothing can be said of the file any more: the next reader finds a torn line at worst

    def _check_place(self) -> None:
        """Notice that the file was deleted or replaced; what was committed is written again where nothing is."""
        assert self._fd is not None
        mine = os.fstat(self._fd)
        try:
            there = os.stat(self.path)
        except OSError:
            self.close()
            if not self._lines:
                raise StoreError(f"{self.path} was deleted while in use; run again") from None
            self._rescue()
            raise StoreError(
                f"{self.path} was deleted while in use: its {len(self._lines) - 1} trials were written to it again; "
                "run again to go on"
            ) from None
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            self.close()
            kept = self._rescue(".rescued") if self._lines else None
            raise StoreError(
                f"{self.path} was replaced by another file while in use; "
                + (f"the {len(self._lines) - 1} trials of this run are in {kept}" if kept else "nothing was written")
            )

    def _rescue(self, suffix: str = "") -> Path:
        path = self.path.with_name(self.path.name + suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as handle:
                handle.write(b"".join(self._lines))
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            raise StoreError(
                f"{self.path} vanished while in use and {path} cannot be written ({error.strerror}); its trials were:\n"
                + b"".join(self._lines).decode()
            ) from error
        return path

    # -- reading ------------------------------------------------------------------------------

    def _open(self) -> None:
        assert self._fd is not None
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise StoreError(f"{self.path} is no regular file; choose another")
        if not self.readonly:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreError(f"{self.path} is in use by another process: stop it, or use another file") from error
        with open(self._fd, "rb", closefd=False) as handle:
            content = handle.read()
        complete, newline, tail = content.rpartition(b"\n")
        for line in (complete + newline).splitlines(keepends=True) if newline else []:
            self._take(line)
        if tail and not self._lines and not _begins(tail):
            raise StoreError(f"{self.path} is no trial store: its first line is no header; choose another file")
        self._tail = tail

    def settle(self) -> None:
        """Put away what follows the last newline; call it once the contents were found right."""
        tail, self._tail = self._tail, b""
        if not tail:
            return
        done = "left out"
        if not self.readonly:
            assert self._fd is not None
            # A line that lacks but its newline may hold a whole trial; other bytes may be anybody's.
            torn = _OWN_LINE.match(tail) and _json(tail[9:]) is None
            done = "dropped" if torn else f"moved to {self._set_aside(tail)}"
            os.ftruncate(self._fd, sum(map(len, self._lines)))
            os.fsync(self._fd)
        warnings.warn(
            f"{self.path}: an incomplete last line ({len(tail)} bytes), as after a crash, was {done}", stacklevel=4
        )

    def _take(self, line: bytes) -> None:
        """Take in one complete line."""
        number = len(self._lines) + 1
        value = _json(line[9:])
        if not self._lines:
            self._version = self._check_header(value)
        checksum = self._checksum(line[9:-1])
        if value is None or line[:9] != b"%08x " % checksum or not line.endswith(b"\n"):
            found = value.get("number") if value is not None else None
            if self._lines and self._version > 1 and isinstance(found, int) and found != len(self._lines):
                raise StoreError(
                    f"{self.path}: line {number} holds trial {found}, expected trial {len(self._lines)}: lines were "
                    "removed, repeated or reordered; repair it from a copy"
                )
            raise StoreError(f"{self.path}: line {number} is damaged (checksum); repair it from a copy")
        if self._lines and self._version > 1 and value.get("number") != len(self._lines):
            raise StoreError(f"{self.path}: line {number} is not numbered {len(self._lines)}; repair it from a copy")
        self._lines.append(line)
        self.checksums.append(checksum)
        self.values.append(value)

    def _check_header(self, header: dict[str, Any] | None) -> int:
        """The version of a header."""
        if header is None or not {"schema", "version"} <= set(header):
            raise StoreError(f"{self.path} is no trial store: its first line is no header; choose another file")
        schema, version = header["schema"], header["version"]
        if schema != self.schema or isinstance(version, bool) or version not in VERSIONS:
            raise StoreError(
                f"{self.path}: schema {schema!r} version {version!r}, this program reads {self.schema!r} versions "
                f"{', '.join(map(str, VERSIONS))}; use another file or the program that wrote it"
            )
        return int(version)

    def _set_aside(self, tail: bytes) -> Path:
        """Keep bytes that cannot be told to be ours."""
        path = self.path.with_name(self.path.name + ".damaged")
        with open(path, "ab") as handle:
            handle.write(tail + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
        return path


def _begins(tail: bytes) -> bool:
    """Whether a file without a newline can be the beginning of our header."""
    digits, rest = tail[:8], tail[8:]
    return re.fullmatch(rb"[0-9a-f]*", digits) is not None and (
        rest.startswith(_OWN_START[8:]) or _OWN_START[8:].startswith(rest)
    )


def _json(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _write(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]
