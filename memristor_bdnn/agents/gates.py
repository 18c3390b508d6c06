"""The devices of the reinforcement-learning study: one SET through a gate voltage decides the conductance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.device import presets
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError

Array = npt.NDArray[Any]

PRESET = "rl_gate_400"
"""Name of :func:`gate_preset` with its defaults, wherever a preset is asked for by name."""
ROWS_PRESET = "rl_rows"
"""Name of :func:`rows_preset`."""
GATE_V = (0.6, 1.5)
"""Gate voltages of a SET, volts [authors' code]."""


def gate_preset(slope_us_per_v: float = 400.0, write_sd_us: float = 2.0, device_spread: float = 0.05) -> DevicePreset:
    """A chip whose conductance follows the gate voltage of its last SET along a line.

    RESET 1.7 V at gate 5 V, SET 2.5 V at gate 0.6 to 1.5 V (the published code); pulse widths, the lowest
    conductance of 5 uS, the spread between devices and the read noise of 1 uS SD are assumptions, and so is the slope:
    the code says 125 uS/V, with which a weight reaches +-0.45 and cart-pole is not learned.

    Args:
        slope_us_per_v: conductance per volt at the gate.
        write_sd_us: SD of where a write lands (cycle to cycle).
        device_spread: relative SD between devices.

    Raises:
        ConfigError: a value out of range.
    """
    base = presets.load("eapu_180nm")
    volt = base.read_voltage_v
    low = 5.0 * volt
    high = low + slope_us_per_v * (GATE_V[1] - GATE_V[0]) * volt
    noise_b = volt / np.sqrt(2.0)  # 1 uS SD
    changes = {
        "name": f"rl_gate_{slope_us_per_v:g}" + ("" if write_sd_us == 2.0 else f"_sd_{write_sd_us:g}"),
        "source": "1T1R chip of the reinforcement-learning study (Nat. Electron. 2, 115 (2019)): voltages from the "
        "published code; slope, noise and spread are assumptions",
        "sources": [["", "assumption"], ["blind_write.gate_v", "RL code"], ["set_pulse.voltage_v", "RL code"]],
        "window_ua": [low, high],
        "fresh_ua": [low, 0.2],
        "chips": 1,
        "rows": 128,
        "columns": 64,
        "read_noise": {"constant_ua": float(noise_b), "linear": 0.0, "quadratic_per_ua": 0.0},
        "set_pulse": {"voltage_v": 2.5, "gate_v": GATE_V[0]},
        "reset_pulse": {"voltage_v": 1.7, "gate_v": 5.0},
        "blind_write": {
            "sd_constant_ua": write_sd_us * volt,
            "sd_linear": 0.0,
            "device_spread": device_spread,
            "target_ua": [low, high],
            "gate_v": list(GATE_V),
            "gate_levels": 0,
        },
        "faults": {"low_ua": [0.0, 0.2], "high_ua": [0.98 * high, 1.02 * high]},
        "periphery": {"adc_full_scale_ua": 1.25 * high},
    }
    return presets.override(base, changes)


def rows_preset() -> DevicePreset:
    """The chip of the Metropolis-Hastings study with the conductances of its cart-pole, 50 to 200 uS."""
    base = presets.load("leti_hfo2_oxram")
    reach = [50.0 * base.read_voltage_v, 200.0 * base.read_voltage_v]
    return presets.override(base, {"name": ROWS_PRESET, "blind_write": {"target_ua": reach, "gate_levels": 0}})


def load(name: str | DevicePreset) -> DevicePreset:
    """A preset of the agents by its name, or any other as :func:`memristor_bdnn.device.presets.load` finds it."""
    own = {PRESET: gate_preset, ROWS_PRESET: rows_preset}
    if not isinstance(name, str):
        return name
    if name not in (*own, *presets.NAMES) and not name.lower().endswith((".yaml", ".yml")):
        raise ConfigError(
            f"unknown device preset {name!r}; choose {', '.join((*own, *presets.NAMES))}, or a .yaml file"
        )
    return own[name]() if name in own else presets.load(name)


class GateLine:
    """The straight line between gate voltages and the currents that blind writes aim at, from a preset.

    Attributes:
        low_v, high_v: lowest and highest gate voltage.
        slope_us_per_v: conductance per volt of a nominal device.
    """

    def __init__(self, preset: DevicePreset) -> None:
        """Take the ends from ``preset.blind_write``."""
        write = preset.blind_write
        (self.low_v, self.high_v), (self._low_ua, high_ua) = write.gate_v, write.target_ua
        self._ua_per_v = (high_ua - self._low_ua) / (self.high_v - self.low_v)
        self.slope_us_per_v = self._ua_per_v / preset.read_voltage_v

    def target_ua(self, gate_v: Array) -> Array:
        """Currents that gate voltages aim at, same shape."""
        target: Array = self._low_ua + (gate_v - self.low_v) * self._ua_per_v
        return target
