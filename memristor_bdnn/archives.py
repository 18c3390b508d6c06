"""Reading files that may be anything: regular, of bounded size, .npz archives judged before they are unpacked.

Nothing of a file is believed: its kind is looked at before it is opened, and the sizes of its members before anything
is unpacked, so that neither a pipe that nobody writes to nor an archive that unpacks to gigabytes can stop a node.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError

Array = npt.NDArray[Any]
Judge = Callable[[str, tuple[int, ...], np.dtype[Any]], None]
"""(array's name, shape, dtype) before the array is unpacked; raises ConfigError to refuse it."""

MAX_FILE = 2**31
"""Largest file that is read, bytes."""
_FREE, _RATIO = 2**26, 20
"""An archive may unpack to 64 MiB, and beyond that to 20 times its own size; measured data packs 1.1 to 4 times."""
_MEMBERS, _LONGEST_NAME, _DIMENSIONS = 10_000, 200, 16
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_END = b"PK\x05\x06"
# What numpy writes for arrays of numbers, truth values and text; no records, no objects, nothing to be evaluated.
_HEADER = re.compile(
    rb"\{\s*'descr':\s*'([<>|=]?[biufcSU]\d{1,6})',\s*'fortran_order':\s*(True|False),"
    rb"\s*'shape':\s*\(([\d,\s]{0,400})\),?\s*\}\s*"
)


def kind_of(mode: int) -> str:
    """What a file is, from its ``st_mode``; empty for a regular file."""
    if stat.S_ISREG(mode):
        return ""
    return next((name for matches, name in _KINDS if matches(mode)), "no regular file")


def read_file(path: str | Path, limit: int = MAX_FILE) -> bytes:
    """The content of a regular file; never waits for a pipe or a device.

    Args:
        path: the file; a link to one is followed.
        limit: largest size, bytes.

    Raises:
        ConfigError: missing, unreadable, no regular file, or larger than ``limit``.
    """
    try:
        kind = kind_of(os.stat(path).st_mode)  # before it is opened: opening alone can do something to a device
        if kind:
            raise ConfigError(f"{path} is {kind}: expected a regular file")
        # Not blocking, in case that it has become a pipe since.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(handle, "rb") as stream:
            status = os.fstat(handle)
            if kind_of(status.st_mode):
                raise ConfigError(f"{path} is {kind_of(status.st_mode)}: expected a regular file")
            if status.st_size > limit:
                raise ConfigError(f"{path} has {status.st_size} bytes: at most {limit} are read")
            content = stream.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # a name with a NUL, or one that cannot be encoded
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{str(path)!r} is no name of a file: {error}") from error
    if len(content) > limit:
        raise ConfigError(f"{path} grows while it is read: at most {limit} bytes are read")
    return content


def unpack(
    path: str | Path, content: bytes, judge: Judge | None = None, only: Collection[str] | None = None
) -> dict[str, Array]:
    """The arrays of an .npz archive, each judged before it is unpacked; never unpickles.

    Args:
        path: what errors call the file.
        content: of the file.
        judge: called with name, shape and dtype of every array; refuses one by raising ConfigError.
        only: names of the arrays to judge and unpack; default all.

    Raises:
        ConfigError: no such archive, damaged, with members that are no plain arrays, or that would unpack to too much.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            _check_directory(path, content, archive, members)
            members = [member for member in members if only is None or _array_name(member) in only]
            headers = [_header(path, archive, member) for member in members]
            for member, (shape, dtype, _, _) in zip(members, headers, strict=True):
                if judge is not None:
                    judge(_array_name(member), shape, dtype)
            found = zip(members, headers, strict=True)
            return {_array_name(member): _array(path, archive, member, *header) for member, header in found}
    # Python's zip reader raises whatever a damaged field leads it to.
    except (OSError, EOFError, KeyError, IndexError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not a readable .npz file: {error}") from error


def _array_name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _check_directory(
    path: str | Path, content: bytes, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]
) -> None:
    """Refuse an archive by what its directory says: nothing is unpacked yet."""
    if content[-22:-18] != _END:
        raise ConfigError(f"{path} is not a readable .npz file: something follows the end of the archive")
    if len(members) > _MEMBERS:
        raise ConfigError(f"{path} has {len(members)} members: at most {_MEMBERS} arrays are read")
    end, seen = 0, set()
    for member in sorted(members, key=lambda m: m.header_offset):
        name = member.filename
        what = f"{path}: member {name[:_LONGEST_NAME]!r}"
        if name in seen:
            raise ConfigError(f"{what} is there twice")
        seen.add(name)
        if not name.endswith(".npy") or len(name) > _LONGEST_NAME or not is_plain(_array_name(member)):
            raise ConfigError(f"{what} is no array: expected names such as 'x.npy', without folders")
        if member.flag_bits & 0x41:
            raise ConfigError(f"{what} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ConfigError(f"{what} is packed by method {member.compress_type}: expected stored or deflated")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise ConfigError(f"{what} is damaged: its two sizes differ")
        if member.header_offset < end:
            raise ConfigError(f"{what} overlaps another one")
        if member.header_offset > end + 2**16 or (end == 0 and member.header_offset):
            raise ConfigError(f"{what}: something stands before it that is no array")
        end = member.header_offset + 30 + len(name) + member.compress_size
        if end > archive.start_dir:
            raise ConfigError(f"{what} is cut off")
    total, allowed = sum(m.file_size for m in members), max(_FREE, _RATIO * len(content))
    if total > allowed:
        raise ConfigError(f"{path} would unpack from {len(content)} to {total} bytes: at most {allowed} are read")


def is_plain(name: str) -> bool:
    """Whether a name is fit for an array: one that leads out of no folder."""
    return bool(name) and name.isprintable() and not set(name) & set("/\\:") and name.strip(".") == name


def _header(
    path: str | Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """Shape, dtype, whether columns vary first, and where the values begin, of a member that fits its size."""
    what = f"{path}: {_array_name(member)}"
    with archive.open(member) as stream:
        start = stream.read(12)
        if start[:6] != b"\x93NUMPY" or start[6:8] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
            raise ConfigError(f"{what} is no .npy array")
        short = start[6] == 1
        length = int.from_bytes(start[8:10] if short else start[8:12], "little")
        begin = (10 if short else 12) + length
        if not 2 <= length <= 4096 or begin > member.file_size:
            raise ConfigError(f"{what} has a header of {length} bytes: expected 2 to 4096")
        text = (start[10:] if short else b"") + stream.read(length - (2 if short else 0))
    found = _HEADER.fullmatch(text)
    if found is None:
        raise ConfigError(f"{what} is no plain array of numbers or text: its header is {text[:200].strip()!r}")
    try:
        dtype = np.dtype(found[1].decode())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} has an unknown type {found[1].decode()!r}") from error
    shape = tuple(int(n) for n in found[3].decode().replace(",", " ").split())
    # numpy counts elements in 63 bits, also where a 0 among the sizes leaves nothing to count
    extent = math.prod(max(n, 1) for n in shape) * max(dtype.itemsize, 1)
    if len(shape) > _DIMENSIONS or extent >= 2**62 or dtype.itemsize == 0:
        raise ConfigError(f"{what} has an impossible shape {_short(shape)} of {dtype}")
    size = begin + math.prod(shape) * dtype.itemsize
    if size != member.file_size:
        raise ConfigError(f"{what} has {member.file_size} bytes, its shape {_short(shape)} of {dtype} needs {size}")
    return shape, dtype, found[2] == b"True", begin


def _array(
    path: str | Path,
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    by_columns: bool,
    begin: int,
) -> Array:
    """The values of a member, in this machine's byte order; zipfile compares the checksum."""
    content = archive.read(member)
    if len(content) != member.file_size:
        raise ConfigError(f"{path}: {_array_name(member)} is cut off")
    value = np.frombuffer(content, dtype, offset=begin)
    if dtype.kind == "b" and value.size and value.view(np.uint8).max() > 1:
        raise ConfigError(f"{path}: {_array_name(member)} holds truth values that are neither 0 nor 1")
    if dtype.kind == "U" and value.size and dtype.itemsize:
        points = np.frombuffer(content, dtype.byteorder.replace("|", "=") + "u4", offset=begin)
        if points.max() > 0x10FFFF:
            raise ConfigError(f"{path}: {_array_name(member)} holds what is no text")
    value = value.reshape(shape, order="F" if by_columns else "C")
    return value.astype(dtype.newbyteorder("="), copy=True)


def _short(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) <= 60 else f"{text[:60]}..."
