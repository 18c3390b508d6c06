"""Saved state without pickle: plain arrays in .npz files that replace the old file in one step."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import archives
from memristor_bdnn.errors import ConfigError, StoreError

Array = npt.NDArray[Any]


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write a file so that a reader (or a crash) sees the old content or the new, never a mixture.

    Raises:
        ConfigError: the name is none of a file.
        StoreError: it cannot be written (disk full, read-only, no such folder, a directory of that name); the old
            content is as it was.
    """
    path = Path(path)
    if not path.name or "\0" in str(path):
        raise ConfigError(f"{str(path)!r} is no name of a file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        kind = archives.kind_of(os.lstat(path).st_mode) if path.exists() and not path.is_symlink() else ""
        if kind:
            raise StoreError(f"cannot write {path}: it is {kind}; choose another name")
        remove_abandoned(path)
        try:
            with open(temporary, "wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; {_REMEDIES.get(error.errno or 0, _REMEDY)}"
        ) from error
    except UnicodeEncodeError as error:
        raise ConfigError(f"{str(path)!r} is no name of a file: {error.reason}") from error


_REMEDY = "what was there before is unchanged"
_REMEDIES = {
    errno.ENOSPC: f"free some space and repeat; {_REMEDY}",
    errno.EDQUOT: f"free some space and repeat; {_REMEDY}",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that can be written",
    errno.EPERM: "choose a folder that can be written",
    errno.ENOENT: "make its folder first, or choose another",
    errno.ENOTDIR: "what stands in its way is no folder; choose another",
    errno.EISDIR: "choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def remove_abandoned(path: Path) -> None:
    """Remove what a process that died while it wrote this file has left beside it."""
    form = re.compile(rf"\.+{re.escape(path.stem)}(?:\..*)?\.(\d+)(?:-\d+)?\.tmp(?:\.npz)?")
    with contextlib.suppress(OSError):
        for entry in os.scandir(path.parent):
            found = form.fullmatch(entry.name)
            # A process of another machine may be writing here too: only what has lain for a minute is removed.
            if found and not _alive(int(found[1])) and time.time() - entry.stat().st_mtime > 60.0:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Make a renaming last through a loss of power; not every file system offers it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def save_npz(path: str | Path, arrays: Mapping[str, Array]) -> str:
    """Save named arrays (no objects) atomically; returns the file's SHA-256 as hexadecimal digits."""
    for name, value in arrays.items():
        if not archives.is_plain(name):
            raise ConfigError(f"cannot save {name!r}: the name of an array has no '/', '\\\\' or ':'")
        if np.asarray(value).dtype.hasobject:
            raise ConfigError(f"cannot save {name!r}: object arrays are not allowed in a checkpoint")
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def load_npz(path: str | Path, judge: archives.Judge | None = None) -> dict[str, Array]:
    """Load every array of an .npz file; never unpickles, never waits, and unpacks nothing before its size is known.

    Args:
        path: a regular file.
        judge: called with name, shape and dtype of every array before it is unpacked; raises ConfigError to refuse.

    Raises:
        ConfigError: the file is missing, damaged, no regular file, or holds objects, or would unpack to too much.
    """
    return archives.unpack(path, archives.read_file(path), judge)


def check_array(
    name: str,
    value: Any,
    *,
    kinds: str = "f",
    shape: tuple[int, ...] | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    nan: bool = False,
    unit: str = "",
) -> None:
    """Refuse an array of a file unless it is what it should be.

    Args:
        name: what the error calls it.
        value: the array.
        kinds: allowed ``dtype.kind``: f numbers (single or double), i or u whole numbers, b truth values.
        shape: that it must have; None: any.
        low: smallest allowed value.
        high: largest allowed value.
        nan: whether NaN is allowed (never infinity).
        unit: of the values, for the error.

    Raises:
        ConfigError: names the array, the value and its place.
    """
    value = np.asarray(value)
    if value.dtype.kind not in kinds or value.dtype.itemsize > 8:
        words = " or ".join(_KINDS[kind] for kind in kinds)
        raise ConfigError(f"{name} holds {value.dtype}, expected {words}")
    if shape is not None and value.shape != shape:
        raise ConfigError(f"{name} has shape {value.shape}, expected {shape}")
    with np.errstate(invalid="ignore"):
        good = (value >= low) & (value <= high) & np.isfinite(value)
    bad = np.argwhere(~(good | np.isnan(value))) if nan else np.argwhere(~good)
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        where = f"[{', '.join(map(str, place))}]" if place else ""
        span = "" if low == -math.inf and high == math.inf else f" in [{low:g}, {high:g}] {unit}".rstrip()
        raise ConfigError(f"{name}{where} = {value[place]}, expected a finite number{span}")


_KINDS = {"f": "numbers", "i": "whole numbers", "u": "whole numbers of no sign", "b": "truth values"}


def pack_json(value: Any) -> Array:
    """Encode a JSON-able value (generator states, configurations) as a uint8 array."""
    return np.frombuffer(json.dumps(value, sort_keys=True).encode(), dtype=np.uint8).copy()


def unpack_json(array: Array, name: str = "an embedded record") -> Any:
    """Decode what :func:`pack_json` made.

    Args:
        array: bytes, uint8 of shape (n,).
        name: what an error calls it.

    Raises:
        ConfigError: the array does not hold JSON text.
    """
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim != 1:
        raise ConfigError(f"damaged checkpoint: {name} holds {array.dtype} {array.shape}, expected JSON as uint8 (n,)")
    try:
        return json.loads(array.tobytes().decode())
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or lists in lists without end
        raise ConfigError(f"damaged checkpoint: {name} is not JSON ({error})") from error


def pack_rng(rng: np.random.Generator) -> Array:
    """The exact state of a random generator as a uint8 array."""
    return pack_json(rng.bit_generator.state)


def restore_rng(rng: np.random.Generator, array: Array, name: str = "the state of a random generator") -> None:
    """Put a generator back into a state saved by :func:`pack_rng`, in place.

    Raises:
        ConfigError: no state of this kind of generator; it is left as it was.
    """
    kind = type(rng.bit_generator)
    state = unpack_json(array, name)
    probe = kind(0)  # type: ignore[call-arg]
    try:
        probe.state = state
        taken = probe.state == state and _possible(state)
    except Exception as error:  # numpy looks at the parts one by one and raises whatever they lead it to
        raise ConfigError(f"damaged checkpoint: {name} is no state of {kind.__name__}: {error}") from error
    if not taken:
        raise ConfigError(f"damaged checkpoint: {name} is no state of {kind.__name__}")
    rng.bit_generator.state = state


def _possible(state: Mapping[str, Any]) -> bool:
    """Whether numpy, which takes over any numbers, could have been in this state; JSON's true and 1.0 are no 1."""
    inner = state["state"]
    numbers = [state["has_uint32"], state["uinteger"], *inner.values()] if "has_uint32" in state else []
    odd = inner["inc"] % 2 == 1 if "inc" in inner else True
    return odd and all(type(n) is int for n in numbers) and state.get("has_uint32", 0) in (0, 1)
