"""Checked lines on disk: numbered, chained, synced one by one; what is not ours is never removed.

A line is ``CHECKSUM {json}``. In version 2 the JSON holds the line's number and the checksum goes on from that of the
line before, so lines that were removed, repeated or reordered are found; in version 1 each line stands alone.
"""

from __future__ import annotations

import json
import re
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memristor_bdnn.appending import AppendFile
from memristor_bdnn.errors import StoreError

NEWLINE = b"\n"
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
        self._file: AppendFile | None = None
        if readonly and not path.exists():
            return
        self._file = AppendFile(path, readonly)
        try:
            self._parse(self._file.content)
        except BaseException:
            self.close()
            raise

    @property
    def writable(self) -> bool:
        """Whether lines can be appended."""
        return self._file is not None and self._file.writable

    def append(self, value: Mapping[str, Any]) -> None:
        """Append one object and sync it; after a failure file and memory are as they were.

        Raises:
            StoreError: the disk refused, or the file was deleted or replaced in the meantime.
        """
        assert self._file is not None
        line, checksum = self._encode(value)
        try:
            self._file.append(line, lambda: b"".join(self._lines), f"{max(len(self._lines) - 1, 0)} trials")
        except StoreError as error:
            raise StoreError(f"{error}. Not recorded: {line.decode().strip()}") from error
        self._lines.append(line)
        self.checksums.append(checksum)
        self.values.append(json.loads(line[9:]))

    def close(self) -> None:
        """Release the file and its lock; safe to call twice."""
        if self._file is not None:
            self._file.close()

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

    # -- reading ------------------------------------------------------------------------------

    def _parse(self, content: bytes) -> None:
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
            assert self._file is not None
            # A line that lacks but its newline may hold a whole trial; other bytes may be anybody's.
            torn = _OWN_LINE.match(tail) and _json(tail[9:]) is None
            try:
                done = "dropped" if torn else f"moved to {self._file.set_aside(tail + NEWLINE)}"
                self._file.cut(sum(map(len, self._lines)))
            except OSError as error:
                raise StoreError(f"{self.path}: {error.strerror}; make room or choose another disk") from error
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
