"""Accelerators by name, chips and boards: built in, or from the entry-point group ``memristor_bdnn.accelerators``.

An accelerator plugin is a class with ``config_type`` (a frozen dataclass, see :mod:`memristor_bdnn.config`), called as
``cls(preset, seed, config)``; :class:`memristor_bdnn.accelerator.base.BaseAccelerator` has what all of them share.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.config import build
from memristor_bdnn.device import presets
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.registry import Registry

BUILT_IN = {
    "simulated": "memristor_bdnn.accelerator.simulated:SimulatedAccelerator",
    "escim": "memristor_bdnn.accelerator.escim.driver:EscimAccelerator",
}


def _check(name: str, cls: Any) -> None:
    """Refuse what cannot be made from options, or answers to another name."""
    options = getattr(cls, "config_type", None)
    if not isinstance(cls, type) or not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        raise ConfigError(f"accelerator {name!r}: {cls!r} is no class with a dataclass config_type")
    if getattr(cls, "name", None) != name:
        raise ConfigError(
            f"accelerator {name!r}: its class is named {getattr(cls, 'name', None)!r}; both must be the same"
        )


REGISTRY = Registry("accelerator", BUILT_IN, _check)
names, load, available = REGISTRY.names, REGISTRY.load, REGISTRY.available


def create(
    name: str, *, preset: str | Path | presets.DevicePreset = "tsinghua_taox_hfox", seed: int = 0, **options: Any
) -> Accelerator:
    """Make an accelerator by name.

    Args:
        name: one of :func:`names`.
        preset: a device preset, its name, or the path of a YAML file.
        seed: seed of everything random in a simulated accelerator.
        options: fields of that accelerator's configuration (``host=``, ``port=`` for the board).

    Raises:
        ConfigError: unknown name, preset or option; the choices are listed.
        AcceleratorError: the board cannot be reached.
    """
    cls = REGISTRY.load(name)
    made: Accelerator = cls(presets.load(preset), seed, build(cls.config_type, options))
    return made


__all__ = ["REGISTRY", "Accelerator", "available", "create", "load", "names"]
