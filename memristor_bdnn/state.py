"""Saved state without pickle: plain arrays in .npz files that replace the old file in one step."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError

Array = npt.NDArray[Any]


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write a file so that a reader (or a crash) sees the old content or the new, never a mixture."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def save_npz(path: str | Path, arrays: Mapping[str, Array]) -> str:
    """Save named arrays (no objects) atomically; returns the file's SHA-256 as hexadecimal digits."""
    for name, value in arrays.items():
        if np.asarray(value).dtype.hasobject:
            raise ConfigError(f"cannot save {name!r}: object arrays are not allowed in a checkpoint")
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def load_npz(path: str | Path) -> dict[str, Array]:
    """Load every array of an .npz file; never unpickles.

    Raises:
        ConfigError: the file is missing, damaged or holds objects.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ConfigError(f"{path} is not a readable .npz checkpoint: {error}") from error


def pack_json(value: Any) -> Array:
    """Encode a JSON-able value (generator states, configurations) as a uint8 array."""
    return np.frombuffer(json.dumps(value, sort_keys=True).encode(), dtype=np.uint8).copy()


def unpack_json(array: Array) -> Any:
    """Decode what :func:`pack_json` made.

    Raises:
        ConfigError: the array does not hold JSON text.
    """
    try:
        return json.loads(np.asarray(array, dtype=np.uint8).tobytes().decode())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"damaged checkpoint: an embedded record is not JSON ({error})") from error


def pack_rng(rng: np.random.Generator) -> Array:
    """The exact state of a random generator as a uint8 array."""
    return pack_json(rng.bit_generator.state)


def restore_rng(rng: np.random.Generator, array: Array) -> None:
    """Put a generator back into a state saved by :func:`pack_rng`, in place."""
    try:
        rng.bit_generator.state = unpack_json(array)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"damaged checkpoint: not a state of {type(rng.bit_generator).__name__}") from error
