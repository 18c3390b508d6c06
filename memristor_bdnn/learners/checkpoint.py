"""Checkpoints of learners: one .npz with the learner's arrays, its options and its accelerator's state."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import load_npz, pack_json, save_npz, unpack_json

Array = npt.NDArray[Any]
_PREFIX = "accelerator."


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


def load(path: str | Path, kind: str, config: Any, accelerator: Accelerator) -> tuple[dict[str, Array], str]:
    """Restore the accelerator from a checkpoint and return the learner's arrays and the file's SHA-256.

    Raises:
        ConfigError: damaged, of another learner, made with other options, or of other hardware.
    """
    arrays = load_npz(path)
    if "format" not in arrays or unpack_json(arrays["format"]) != kind:
        raise ConfigError(f"{path} is not a checkpoint of this learner (expected {kind})")
    saved, own = unpack_json(arrays["config"]), _plain(config)
    if saved != own:
        differing = sorted(k for k in {*saved, *own} if saved.get(k) != own.get(k))
        raise ConfigError(f"{path} was made with other options: {', '.join(differing)} differ; use the same")
    accelerator.load_state_dict({k[len(_PREFIX) :]: v for k, v in arrays.items() if k.startswith(_PREFIX)})
    mine = {k: v for k, v in arrays.items() if not k.startswith(_PREFIX) and k not in ("format", "config")}
    return mine, hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON would give it back (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain
