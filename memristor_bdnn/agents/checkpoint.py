"""Of what a checkpoint of an agent is: read before anything is made, compared before anything is restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from memristor_bdnn import archives
from memristor_bdnn.config import shown
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import unpack_json

Array = npt.NDArray[Any]
FORMAT = "memristor_bdnn.agent/1"
SOFTWARE = "software"
"""In place of an accelerator's name: the software twin."""
_MAY_CHANGE = ("episodes", "checkpoint_every")
"""Options of a training that a run may go on with other values of."""


def read_what(path: Path) -> dict[str, Any]:
    """Of what a checkpoint is: environment, agent, accelerator and its options, preset, seed, options of both kinds.

    Raises:
        ConfigError: it is none, or damaged.
    """
    content = archives.unpack(path, archives.read_file(path), only=("format", "what"))
    if "format" not in content or unpack_json(content["format"], f"{path}: format") != FORMAT:
        raise ConfigError(f"{path} is not a checkpoint of an agent (format {FORMAT})")
    if "what" not in content:
        raise ConfigError(f"damaged checkpoint {path}: what is missing")
    try:
        return said_of(content["what"])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


_SAID = {
    "environment": str,
    "agent": str,
    "accelerator": str,
    "accelerator_options": dict,
    "preset": dict,
    "seed": int,
    "options": dict,
    "training": dict,
}


def said_of(packed: Array) -> dict[str, Any]:
    """What a checkpoint says of itself, every part of its type. Raises ConfigError."""
    said = unpack_json(packed, "what")
    if not isinstance(said, dict) or said.keys() != _SAID.keys():
        raise ConfigError("damaged checkpoint: it does not say of what it is")
    for key, kind in _SAID.items():
        if type(said[key]) is not kind:
            raise ConfigError(f"damaged checkpoint: {key} = {shown(said[key])}, expected {kind.__name__}")
    return said


def check_what(packed: Array, own: dict[str, Any]) -> None:
    """Refuse a checkpoint of something else than ``own``. Raises ConfigError naming both values."""
    saved = said_of(packed)
    for part in (saved, own):
        part["training"] = {k: v for k, v in part["training"].items() if k not in _MAY_CHANGE}
    for key in own:
        if saved[key] != own[key]:
            raise ConfigError(
                f"made with {key} = {_differing(saved[key], own[key])}, here it is "
                f"{_differing(own[key], saved[key])}; use the same, or another folder"
            )


def _differing(value: Any, other: Any) -> str:
    """A value for an error; of a mapping only what differs."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = {key: value[key] for key in value if value.get(key) != other.get(key)}
    text = str(value)
    return text if len(text) < 200 else text[:200] + "..."
