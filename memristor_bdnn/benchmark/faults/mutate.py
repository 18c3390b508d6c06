"""Damage to bytes: what disks, kills and people do to files."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
import zlib
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def raw(rng: np.random.Generator, content: bytes) -> tuple[bytes, str]:
    """A file that was cut, flipped, overwritten, doubled or emptied; and what was done."""
    data = bytearray(content)
    kind = int(rng.integers(8))
    at = int(rng.integers(max(len(data), 1)))
    if kind == 0:
        return bytes(data[:at]), f"cut at byte {at}"
    if kind == 1:
        bits = int(rng.integers(1, 9))
        for _ in range(bits):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        return bytes(data), f"{bits} bits flipped"
    if kind == 2:
        length = int(rng.integers(1, 600))
        data[at : at + length] = bytes(len(data[at : at + length]))
        return bytes(data), f"zeros from byte {at}, {length} long"
    if kind == 3:
        return b"", "empty"
    if kind == 4:
        return rng.bytes(int(rng.integers(1, 5000))), "random bytes"
    if kind == 5:
        return bytes(data) + rng.bytes(int(rng.integers(1, 200))), "bytes appended"
    if kind == 6:
        return bytes(data) * 2, "twice"
    del data[at : at + int(rng.integers(1, 100))]
    return bytes(data), f"bytes removed at {at}"


# -- archives of arrays ----------------------------------------------------------------------------


def checkpoint(rng: np.random.Generator, content: bytes) -> tuple[bytes, str]:
    """A checkpoint (.npz) with damaged bytes, arrays or members; and what was done."""
    if rng.random() < 0.35:
        return raw(rng, content)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if rng.random() < 0.2:
        return _members(rng, arrays)
    texts = []
    for _ in range(int(rng.choice([1, 1, 1, 3]))):
        texts.append(_array(rng, arrays))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue(), ", ".join(texts)


def _array(rng: np.random.Generator, arrays: dict[str, Array]) -> str:
    """Spoil one array in place; says which and how."""
    name = str(rng.choice(sorted(arrays)))
    value = arrays[name]
    kind = str(
        rng.choice(
            (
                "gone",
                "nan",
                "shape",
                "text",
                "huge",
                "scalar",
                "empty",
                "complex",
                "json",
                "bool",
                "negative",
                "more",
                "axis",
            )
        )
    )
    if kind == "gone":
        del arrays[name]
    elif kind == "nan":
        spoilt = value.astype(np.float64 if value.dtype.kind in "biu" else value.dtype)
        if spoilt.size and spoilt.dtype.kind == "f":
            spoilt.ravel()[int(rng.integers(spoilt.size))] = float(rng.choice([np.nan, np.inf, -np.inf]))
            arrays[name] = spoilt.reshape(value.shape)
            if value.ndim == 0:
                arrays[name] = np.array(np.nan)
    elif kind == "shape":
        arrays[name] = value.ravel()[: max(value.size - 1, 0)]
    elif kind == "text":
        arrays[name] = np.full(value.shape, "x")
    elif kind == "huge":
        arrays[name] = np.full(value.shape, 1e300 if value.dtype.kind == "f" else 2**62)
    elif kind == "scalar":
        arrays[name] = np.array(0)
    elif kind == "empty":
        arrays[name] = value.ravel()[:0]
    elif kind == "complex":
        arrays[name] = value.astype(complex) if value.dtype.kind in "biuf" else value
    elif kind == "json":
        wrong: tuple[Any, ...] = ({}, [], None, 0, "x", {"state": {}}, {"bit_generator": "MT19937"})
        text = json.dumps(wrong[int(rng.integers(len(wrong)))])
        arrays[name] = np.frombuffer(text.encode(), np.uint8).copy()
    elif kind == "bool":
        arrays[name] = np.zeros(value.shape, bool)
    elif kind == "negative":
        arrays[name] = np.full(value.shape, -1.0)
    elif kind == "more":
        arrays[str(rng.choice(("extra", "accelerator.extra", "format.", "")))] = np.zeros(3)
    else:
        arrays[name] = value[None]
    return f"{name}: {kind}"


def _members(rng: np.random.Generator, arrays: dict[str, Array]) -> tuple[bytes, str]:
    """An archive that unzips to what it should not."""
    kind = str(
        rng.choice(
            ("bomb", "long header", "objects", "twice", "no array", "large array", "path", "encrypted", "version")
        )
    )
    name = str(rng.choice(sorted(arrays)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in arrays.items():
            inner = io.BytesIO()
            np.save(inner, value)
            data = inner.getvalue()
            if key == name:
                data = _member(kind, data, value)
            archive.writestr(f"{key}.npy", data)
            if kind == "twice" and key == name:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # zipfile, of just that
                    archive.writestr(f"{key}.npy", data)
        if kind == "path":
            archive.writestr("../../outside.npy", b"x")
        if kind == "no array":
            archive.writestr("notes.txt", b"x")
    content = bytearray(buffer.getvalue())
    if kind == "encrypted":
        content[6] |= 1
        at = content.find(b"PK\x01\x02")
        content[at + 8] |= 1
    return bytes(content), f"{name}: {kind}"


def _member(kind: str, data: bytes, value: Array) -> bytes:
    if kind == "bomb":  # 400 MB of zeros in 400 kB
        return _header((50_000_000,), "<f8") + bytes(400_000_000)
    if kind == "large array":
        return _header((2**40,), "<f8") + b"\0" * 64
    if kind == "long header":
        return b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{" * 64
    if kind == "objects":
        return _header((1,), "|O") + b"cos\nsystem\n(S'true'\ntR."
    if kind == "version":
        return data[:6] + b"\x09\x00" + data[8:]
    return data


def _header(shape: tuple[int, ...], kind: str) -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


# -- files of lines --------------------------------------------------------------------------------


def lines(rng: np.random.Generator, content: bytes) -> tuple[bytes, str]:
    """A file of checked lines: torn, with lines gone, doubled, moved, foreign or changed; and what was done."""
    kind = str(
        rng.choice(
            (
                "torn",
                "torn",
                "raw",
                "raw",
                "gone",
                "twice",
                "moved",
                "foreign",
                "changed",
                "no newline",
                "blank",
                "crlf",
                "tail",
                "zeros",
            )
        )
    )
    if kind == "raw":
        return raw(rng, content)
    rows = content.splitlines(keepends=True)
    at = int(rng.integers(len(rows)))
    if kind == "torn":
        cut = (
            len(content) - int(rng.integers(1, len(rows[-1]) + 1))
            if rng.random() < 0.6
            else int(rng.integers(len(content)))
        )
        return content[:cut], f"cut at byte {cut} of {len(content)}"
    if kind == "gone":
        del rows[at]
    elif kind == "twice":
        rows.insert(int(rng.integers(len(rows) + 1)), rows[at])
    elif kind == "moved":
        rows.insert(int(rng.integers(len(rows))), rows.pop(at))
    elif kind == "foreign":
        rows.insert(int(rng.integers(len(rows) + 1)), FOREIGN[int(rng.integers(len(FOREIGN)))])
    elif kind == "changed":  # by someone who knows the checksum of old files
        value = rows[at][9:-1].replace(b"0.", b"1.", 1)
        rows[at] = b"%08x %s\n" % (zlib.crc32(value), value)
    elif kind == "no newline":
        rows[-1] = rows[-1][:-1]
    elif kind == "blank":
        rows.insert(int(rng.integers(len(rows) + 1)), b"\n")
    elif kind == "crlf":
        rows = [row[:-1] + b"\r\n" for row in rows]
    elif kind == "tail":
        rows.append(FOREIGN[int(rng.integers(len(FOREIGN)))].rstrip(b"\n"))
    else:
        rows.append(bytes(int(rng.integers(1, 5000))))
    return b"".join(rows), f"line {at + 1} of {len(rows)}: {kind}"


FOREIGN = (
    b"a letter to my mother\n",
    b"{}\n",
    b'{"schema": "other"}\n',
    b"00000000 {}\n",
    b"# notes: do not delete\n",
    b"\xff\xfe\x00\x01\n",
    b'deadbeef {"phase": "initial"}\n',
    b"x" * 100_000 + b"\n",
)
