"""Files of checked rows: a header, then rows of one type, each with the checksum of its fields in ``crc``."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.appending import AppendFile
from memristor_bdnn.errors import ConfigError, StoreError
from memristor_bdnn.state import pack_json, unpack_json

RowArray = npt.NDArray[np.void]
_HEADER = struct.Struct("<6sHI")  # magic, schema, length of the JSON that follows


class RowFile:
    """An append-only file of rows.

    A torn last row, as a kill leaves it, is cut off when the file is opened for writing; a last row that is whole but
    damaged is moved to FILE.damaged.

    Args:
        path: the file; made when it does not exist.
        magic: its first six bytes.
        schema: version of the format.
        kind: type of a row; its last field is ``crc``.
        header: what a new file says of itself.
        check: refuses the header of an existing file.
        readonly: only look; the file must exist.

    Attributes:
        header: of the file.
        rows: all good rows, (n,).

    Raises:
        StoreError: no such file of rows, of another schema, a damaged row, a seed twice, or a second writer. The file
            is left as it is then.
    """

    def __init__(
        self,
        path: Path,
        magic: bytes,
        schema: int,
        kind: np.dtype[np.void],
        header: dict[str, Any],
        check: Callable[[dict[str, Any]], None],
        readonly: bool = False,
    ) -> None:
        self.path, self._kind = path, kind
        if readonly and not path.exists():
            raise StoreError(f"{path}: no such pool file")
        self._file = AppendFile(path, readonly)
        try:
            content, fresh = self._file.content, _pack(magic, schema, header)
            if not readonly and fresh.startswith(content):  # new, or a header that was never finished
                self._file.cut(0)
                self._file.append(fresh, lambda: b"", "0 rows")
                content = fresh
            self.header, self.rows, end = read(path, content, magic, schema, kind)
            check(self.header)
            self._start = content[: end - self.rows.nbytes]
            if not readonly:
                self._settle(content, end)
        except BaseException:
            self._file.discard()
            raise

    def append(self, rows: Iterable[RowArray]) -> None:
        """Add rows; they are on the disk when this returns. Raises StoreError and changes nothing when they are not."""
        if not self._file.writable:
            raise StoreError(f"{self.path} is open read-only or closed: no row can be added")
        new = np.array([tuple(row.item()) for row in rows], dtype=self._kind)
        self._file.append(new.tobytes(), lambda: self._start + self.rows.tobytes(), f"{len(self.rows)} rows")
        self.rows = np.concatenate([self.rows, new])

    def close(self) -> None:
        """Release the file and its lock; safe to call twice."""
        self._file.close()

    def _settle(self, content: bytes, end: int) -> None:
        """Cut off what follows the last good row; a whole row is kept beside the file."""
        tail = content[end:]
        if len(tail) >= self._kind.itemsize:
            try:
                kept = self._file.set_aside(tail)
            except OSError as error:
                raise StoreError(f"{self.path}: {error.strerror}; make room or choose another disk") from error
            warnings.warn(f"{self.path}: its last row is damaged (checksum) and was moved to {kept}", stacklevel=4)
        self._file.cut(end)


def checksum(row: RowArray) -> int:
    """CRC-32 of a row's fields before the last."""
    return zlib.crc32(row.tobytes()[:-4])


def read(
    path: Path, content: bytes, magic: bytes, schema: int, kind: np.dtype[np.void]
) -> tuple[dict[str, Any], RowArray, int]:
    """Header, rows (n,) and the offset after the last good row of a file's content.

    Raises:
        StoreError: see :class:`RowFile`.
    """
    if len(content) < _HEADER.size or content[: len(magic)] != magic:
        raise StoreError(f"{path} is not a pool file; nothing was changed")
    _, found, length = _HEADER.unpack_from(content)
    if found != schema:
        raise StoreError(
            f"{path} has pool schema {found}, this version reads {schema}; nothing was changed. Use the version that "
            "made it, or another file"
        )
    offset = _HEADER.size + length
    try:
        header = unpack_json(np.frombuffer(content[_HEADER.size : offset], np.uint8))
    except ConfigError as error:
        raise StoreError(f"{path}: its header is damaged; nothing was changed") from error
    if not isinstance(header, dict):
        raise StoreError(f"{path}: its header is damaged; nothing was changed")
    whole = (len(content) - offset) // kind.itemsize
    rows = np.frombuffer(content, kind, whole, offset).copy()
    good = np.array([checksum(row) == int(row["crc"]) for row in rows], bool)
    bad = np.flatnonzero(~good)
    if len(bad) and bad[0] < whole - 1:
        raise StoreError(f"{path}: row {bad[0]} is damaged (checksum); nothing was changed")
    rows = rows[: whole - len(bad)]  # the last row: written, but not wholly on the disk when the power went
    seeds, times = np.unique(rows["seed"], return_counts=True)
    if (times > 1).any():
        raise StoreError(f"{path}: seed {int(seeds[times > 1][0])} is there more than once; nothing was changed")
    return header, rows, offset + len(rows) * kind.itemsize


def _pack(magic: bytes, schema: int, header: dict[str, Any]) -> bytes:
    content = pack_json(header).tobytes()
    return _HEADER.pack(magic, schema, len(content)) + content
