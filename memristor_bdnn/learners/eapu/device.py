"""What EaPU has to know of a cell: its window, its errors and its faults, alone or out of a device preset."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memristor_bdnn.config import build, check, option
from memristor_bdnn.device import presets
from memristor_bdnn.errors import ConfigError


@dataclass(frozen=True)
class EapuDevice:
    """A trainable cell with writing error, beside a shared reference column.

    Defaults: the 180 nm chip of the EaPU paper where it states a number; the rest are assumptions.
    """

    writing_sd_us: float = option(
        2.0, "Total standard deviation of one write", low=0.0, high=100.0, unit="uS", source="EaPU paper: 2 to 3"
    )
    r_wg: float = option(
        1 / 80, "Weight per conductance, R_wg", low=1e-6, high=1e3, unit="1/uS", source="EaPU paper: 1/80"
    )
    g_zero_us: float = option(40.0, "Conductance of the reference column", low=0.0, unit="uS", source="assumption")
    g_min_us: float = option(0.0, "Lowest conductance of a cell", low=0.0, unit="uS", source="assumption")
    g_max_us: float = option(80.0, "Highest conductance of a cell", low=1e-3, unit="uS", source="EaPU paper: 80")
    loss_us: float = option(0.0, "Mean conductance lost after a write", low=-1e4, high=1e4, unit="uS")
    tolerance_us: float = option(
        1.0, "Window in which verification accepts a write", low=1e-3, unit="uS", source="EaPU paper: 1"
    )
    cycle_sd_us: float = option(
        1.0, "Spread of one SET at the same gate voltage, same cell", low=0.0, unit="uS", source="assumption"
    )
    slope_us_per_v: float = option(
        160.0, "Conductance per volt of gate voltage above threshold", low=1e-6, unit="uS/V", source="assumption"
    )
    slope_spread: float = option(0.05, "Relative spread of the slope between cells", low=0.0, high=0.3)
    threshold_v: float = option(0.6, "Gate voltage at which a SET begins to conduct", low=0.0, unit="V")
    threshold_sd_v: float = option(0.03, "Spread of that threshold between cells", low=0.0, unit="V")
    max_pulses: int = option(400, "Pulses of one verified write at most", low=1, high=100_000, source="assumption")
    window: bool = option(
        False,
        "Clip the bare error model at g_min and g_max too (the programming methods always do)",
        source="assumption",
    )
    stuck_off: float = option(0.0, "Share of cells stuck at low conductance", low=0.0, high=1.0)
    stuck_on: float = option(0.0, "Share of cells stuck at high conductance", low=0.0, high=1.0)
    stuck_off_us: tuple[float, float] = option((0.0, 0.0), "Range of conductances stuck low", low=0.0, unit="uS")
    stuck_on_us: tuple[float, float] | None = option(
        None, "Range of conductances stuck high; empty: g_max_us", low=0.0, unit="uS"
    )

    def __post_init__(self) -> None:
        """Validate ranges and their combinations."""
        check(self)
        if self.g_min_us >= self.g_max_us:
            raise ConfigError(f"EapuDevice.g_min_us = {self.g_min_us}: must lie below g_max_us = {self.g_max_us}")
        if self.g_zero_us >= self.g_max_us:
            raise ConfigError(
                f"EapuDevice.g_zero_us = {self.g_zero_us}: must lie below g_max_us = {self.g_max_us}, "
                "or no positive weight can be stored"
            )
        if self.stuck_off + self.stuck_on > 1:
            raise ConfigError(f"stuck_off + stuck_on = {self.stuck_off + self.stuck_on}: at most 1")

    @property
    def threshold(self) -> float:
        """The update threshold T = SD_eps R_wg, in units of weight (paper: 2 uS / 80 uS = 0.025)."""
        return self.writing_sd_us * self.r_wg

    @property
    def relaxation_sd_us(self) -> float:
        """What is left of the writing error once verification has accepted: relaxation afterwards."""
        return math.sqrt(max(self.writing_sd_us**2 - self.tolerance_us**2 / 3, 0.0))


def as_device(device: EapuDevice | Mapping[str, Any] | str | Path | presets.DevicePreset) -> EapuDevice:
    """An :class:`EapuDevice` from itself, a mapping of options, a device preset, its name or its YAML file.

    Raises:
        ConfigError: unknown name or option, or something else altogether.
    """
    if isinstance(device, EapuDevice):
        return device
    if isinstance(device, Mapping):
        return build(EapuDevice, device)
    if isinstance(device, str | Path):
        device = presets.load(device)
    if not isinstance(device, presets.DevicePreset):
        raise ConfigError(f"device = {device!r}: expected an EapuDevice, its options or a device preset")
    return _from_preset(device)


def _from_preset(preset: presets.DevicePreset) -> EapuDevice:
    """The cells of a preset in uS; the reference column takes the middle of the window, errors are those there."""
    volt, (low, high) = preset.read_voltage_v, preset.window_ua
    middle = (low + high) / 2
    writing, tolerance = writing_sd_ua(preset), preset.write_verify.tolerance_ua
    left = math.sqrt(max(writing**2 - tolerance**2 / 3, 0.0))
    blind = preset.blind_write
    blind_sd = float(preset.blind_sd_ua(min(max(middle, blind.target_ua[0]), blind.target_ua[1])))
    slope, threshold = _gate_curve(blind.target_ua, blind.gate_v)
    if preset.retention.drifts or preset.retention.disturbs:
        warnings.warn(f"device preset {preset.name}: retention is not simulated under a torch optimiser", stacklevel=4)
    return EapuDevice(
        writing_sd_us=writing / volt,
        r_wg=volt / high,
        g_zero_us=middle / volt,
        g_min_us=low / volt,
        g_max_us=high / volt,
        loss_us=(preset.relaxation.mean_constant_ua + preset.relaxation.mean_linear * middle) / volt,
        tolerance_us=tolerance / volt,
        cycle_sd_us=math.sqrt(max(blind_sd**2 - left**2, 0.0)) / volt,
        slope_us_per_v=slope / volt,
        slope_spread=blind.device_spread,
        threshold_v=threshold,
        threshold_sd_v=0.0,
        max_pulses=preset.write_verify.max_pulses,
        stuck_off=preset.faults.stuck_low,
        stuck_on=preset.faults.stuck_high,
        stuck_off_us=(preset.faults.low_ua[0] / volt, preset.faults.low_ua[1] / volt),
        stuck_on_us=(preset.faults.high_ua[0] / volt, preset.faults.high_ua[1] / volt),
    )


def writing_sd_ua(preset: presets.DevicePreset) -> float:
    """SD of a verified write in the middle of a preset's window, uA."""
    relaxed = _relaxation_sd_ua(preset, sum(preset.window_ua) / 2)
    # A verified read lies anywhere within the tolerance.
    return max(relaxed, preset.write_verify.tolerance_ua / math.sqrt(3))


def _relaxation_sd_ua(preset: presets.DevicePreset, state_ua: float) -> float:
    """SD of what a verified cell moves by afterwards, uA: the core and the exponential jumps of the tail cells."""
    r = preset.relaxation
    core = max(r.sd_constant_ua + r.sd_linear * state_ua, 0.0)
    tail = r.tail_constant + state_ua * (r.tail_linear_per_ua + r.tail_quadratic_per_ua2 * state_ua)
    return math.sqrt(core**2 + min(max(tail, 0.0), 1.0) * 2 * r.tail_scale_ua**2)


def _gate_curve(target_ua: tuple[float, float], gate_v: tuple[float, float]) -> tuple[float, float]:
    """Slope (uA/V) and threshold (V) of the line through the two ends of a blind write's reach."""
    slope = (target_ua[1] - target_ua[0]) / (gate_v[1] - gate_v[0])
    threshold = gate_v[0] - target_ua[0] / slope
    return (slope, threshold) if threshold >= 0 else (target_ua[1] / gate_v[1], 0.0)
