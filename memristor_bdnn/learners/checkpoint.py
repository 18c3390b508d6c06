"""Checkpoints of learners: one .npz with the learner's arrays, its options and its accelerator's state."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.network.features import current_name
from memristor_bdnn.state import load_npz, pack_json, save_npz, unpack_json

Array = npt.NDArray[Any]
_PREFIX = "accelerator."
_ABSENT = object()


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A file that fits a learner by format and options.

    Attributes:
        arrays: the learner's own.
        accelerator: its accelerator's state.
        sha256: of the file, hexadecimal.
    """

    arrays: dict[str, Array]
    accelerator: dict[str, Array]
    sha256: str


def save(path: str | Path, kind: str, config: Any, accelerator: Accelerator, arrays: Mapping[str, Array]) -> str:
    """Write a checkpoint; returns its SHA-256.

    Args:
        path: file to write or replace.
        kind: name and version of the format, such as ``memristor_bdnn.eapu/1``.
        config: the learner's configuration dataclass; a checkpoint of other options is refused later.
        accelerator: its :meth:`state_dict` is stored too.
        arrays: the learner's own state, no objects.
    """
    content: dict[str, Array] = {"format": pack_json(kind), "config": pack_json(_plain(config)), **arrays}
    content.update({_PREFIX + key: np.asarray(value) for key, value in accelerator.state_dict().items()})
    return save_npz(path, content)


def read(path: str | Path, kind: str, config: Any) -> Checkpoint:
    """Read a checkpoint; nothing is restored yet.

    Raises:
        ConfigError: damaged, of another learner, or made with other options: each is named with both values.
    """
    content = load_npz(path)
    found = unpack_json(content.pop("format")) if "format" in content else "no learner at all"
    if found != kind:
        raise ConfigError(f"{path} is not a checkpoint of this learner: expected {kind}, found {found}")
    if "config" not in content:
        raise ConfigError(f"damaged checkpoint {path}: config is missing")
    saved, own = _current(unpack_json(content.pop("config"))), _current(_plain(config))
    differing = list(_differences(saved, own))
    if differing:
        raise ConfigError(f"{path} was made with other options: {'; '.join(differing)}. Use the same")
    chips = {key[len(_PREFIX) :]: value for key, value in content.items() if key.startswith(_PREFIX)}
    # ``session`` is the mark of the session that a checkpoint belongs to (active/checkpoints.py).
    mine = {key: value for key, value in content.items() if not key.startswith(_PREFIX) and key != "session"}
    return Checkpoint(mine, chips, hashlib.sha256(Path(path).read_bytes()).hexdigest())


def check_arrays(path: str | Path, arrays: Mapping[str, Array], expected: Mapping[str, tuple[int, ...] | None]) -> None:
    """Refuse a checkpoint whose arrays are not all there, finite, and of the expected shape (None: any).

    Raises:
        ConfigError: names the array.
    """
    missing = [key for key in expected if key not in arrays]
    if missing:
        raise ConfigError(f"damaged checkpoint {path}: {', '.join(missing)} missing")
    for key, value in arrays.items():
        if value.dtype.kind not in "biuf":
            raise ConfigError(f"damaged checkpoint {path}: {key} holds {value.dtype}, expected numbers")
        bad = np.argwhere(~np.isfinite(value))
        if len(bad):
            place = tuple(int(v) for v in bad[0])
            where = f"[{', '.join(map(str, place))}]" if place else ""
            raise ConfigError(f"damaged checkpoint {path}: {key}{where} = {value[place]}, expected a finite number")
        shape = expected.get(key)
        if shape is not None and value.shape != shape:
            raise ConfigError(f"damaged checkpoint {path}: {key} has shape {value.shape}, expected {shape}")


def _plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON would give it back (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _current(options: Any) -> dict[str, Any]:
    """Options with the feature map under its present name, so that a module that moved makes no difference."""
    if not isinstance(options, dict):
        raise ConfigError(f"damaged checkpoint: its options are {type(options).__name__}, expected a mapping")
    features = options.get("features")
    return {**options, "features": current_name(features)} if isinstance(features, str) else options


def _differences(saved: Mapping[str, Any], own: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every option that differs, with both values."""
    for key in sorted({*saved, *own}):
        was, now = saved.get(key, _ABSENT), own.get(key, _ABSENT)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _differences(was, now, f"{prefix}{key}.")
        elif was != now:
            texts = ("absent" if value is _ABSENT else repr(value) for value in (was, now))
            yield "{} = {} in the checkpoint, {} here".format(prefix + key, *texts)
