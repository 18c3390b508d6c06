"""Memristor accelerators: simulated chips and boards behind one protocol; made by name."""

from __future__ import annotations

import importlib
from typing import Any

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.device import presets
from memristor_bdnn.errors import ConfigError

# name -> (module, function or class called as f(preset, seed, options))
_MAKERS = {
    "simulated": ("memristor_bdnn.accelerator.simulated", "create"),
    "escim": ("memristor_bdnn.accelerator.escim", "create"),
}

NAMES = tuple(_MAKERS)
"""Names that :func:`create` knows."""


def create(
    name: str, *, preset: str | presets.DevicePreset = "tsinghua_taox_hfox", seed: int = 0, **options: Any
) -> Accelerator:
    """Make an accelerator by name.

    Args:
        name: one of :data:`NAMES`.
        preset: a device preset, its name, or the path of a YAML file.
        seed: seed of everything random in a simulated accelerator.
        options: fields of that accelerator's configuration (``host=``, ``port=`` for the board).

    Raises:
        ConfigError: unknown name, preset or option; the choices are listed.
        AcceleratorError: the board cannot be reached.
    """
    if name not in _MAKERS:
        raise ConfigError(f"unknown accelerator {name!r}; choose {', '.join(NAMES)}")
    module, maker = _MAKERS[name]
    made: Accelerator = getattr(importlib.import_module(module), maker)(presets.load(preset), seed, options)
    return made
