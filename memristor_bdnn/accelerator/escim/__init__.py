"""The ESCIM board: packet codec, client, board, driver, and an emulator that speaks the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memristor_bdnn.accelerator.escim.driver import EscimAccelerator
    from memristor_bdnn.device.presets import DevicePreset


def create(preset: DevicePreset, seed: int, options: Mapping[str, Any]) -> EscimAccelerator:
    """Make a driver from option values; used by :func:`memristor_bdnn.accelerator.create`."""
    from memristor_bdnn.accelerator.escim.driver import EscimAccelerator, EscimConfig
    from memristor_bdnn.config import build

    return EscimAccelerator(preset, seed, build(EscimConfig, options))
