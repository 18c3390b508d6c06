"""The three measured device technologies, and how a lab describes its own in YAML."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import build, check, check_field, option, read_yaml
from memristor_bdnn.device.parameters import (
    BlindWrite,
    Faults,
    Periphery,
    Pulse,
    ReadNoise,
    Relaxation,
    Retention,
    Wear,
    WriteVerify,
)
from memristor_bdnn.device.tables import read_pulse_table
from memristor_bdnn.errors import ConfigError

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class DevicePreset:
    """Everything known about a kind of memristor chip.

    A state is the mean read current in microampere at ``read_voltage_v``; a conductance g in uS is I = g V.
    The methods are noise-free and take arrays of any shape, for training in software before deployment.
    """

    name: str = option("custom", "name of the preset")
    source: str = option("", "where the numbers come from")
    sources: tuple[tuple[str, str], ...] = option(
        (), "sources by the beginning of a field's dotted name, where they are not those of the default preset"
    )
    window_ua: tuple[float, float] = option(
        (0.4, 4.0), "lowest and highest state", low=0, high=1000, unit="uA", source="MSGLD code"
    )
    window_sd_ua: tuple[float, float] = option(
        (0.02, 0.2), "device-to-device SD of these edges", low=0, high=1000, unit="uA", source="MSGLD code"
    )
    fresh_ua: tuple[float, float] = option(
        (0.381, 0.159),
        "mean and SD of the states before the first programming",
        low=0,
        high=1000,
        unit="uA",
        source="fit to the MSGLD chips",
    )
    read_voltage_v: float = option(0.2, "read voltage", low=1e-6, high=20, unit="V", source="MSGLD")
    chips: int = option(3, "chips on the board", low=1, high=10000, source="MSGLD")
    rows: int = option(128, "bit lines of a chip", low=1, high=65536, source="MSGLD")
    columns: int = option(32, "source/word lines of a chip", low=1, high=65536, source="MSGLD")
    read_noise: ReadNoise = dataclasses.field(default_factory=ReadNoise)
    set_pulse: Pulse = dataclasses.field(default_factory=Pulse)
    reset_pulse: Pulse = dataclasses.field(default_factory=lambda: Pulse(voltage_v=1.95, gate_v=2.55, width_s=50e-9))
    write_verify: WriteVerify = dataclasses.field(default_factory=WriteVerify)
    relaxation: Relaxation = dataclasses.field(default_factory=Relaxation)
    blind_write: BlindWrite = dataclasses.field(default_factory=BlindWrite)
    faults: Faults = dataclasses.field(default_factory=Faults)
    retention: Retention = dataclasses.field(default_factory=Retention)
    wear: Wear = dataclasses.field(default_factory=Wear)
    periphery: Periphery = dataclasses.field(default_factory=Periphery)

    def __post_init__(self) -> None:
        check(self)
        if not re.fullmatch(r"[\w.+-]+", self.name):
            raise ConfigError(f"DevicePreset.name = {self.name!r}: letters, digits and _ . + - only (it names files)")
        if self.window_ua[0] >= self.window_ua[1]:
            raise ConfigError(f"DevicePreset.window_ua = {self.window_ua}: the lower edge must be below the upper")

    @property
    def cells(self) -> int:
        """Cells on all chips."""
        return self.chips * self.rows * self.columns

    @property
    def usable_ua(self) -> tuple[float, float]:
        """States that can be written: the window, as far as write-verify reaches. ConfigError where that is nothing."""
        (low, high), reach = self.window_ua, self.write_verify.reach_ua
        low, high = max(low, reach[0]), min(high, reach[1])
        if low >= high:
            raise ConfigError(
                f"preset {self.name}: write_verify.reach_ua = {list(reach)} uA has nothing in common with window_ua = "
                f"{list(self.window_ua)} uA: no cell could be written; give the reach of your own devices"
            )
        return low, high

    def read_noise_scale_ua(self, current_ua: Any) -> FloatArray:
        """Laplace scale b(I) of one read in uA; the SD of a read is sqrt(2) b. Same shape as the argument."""
        c = self.read_noise
        current = np.asarray(current_ua)
        return np.maximum(c.constant_ua + current * (c.linear + c.quadratic_per_ua * current), 0.0)

    def set_mean_ua(self, current_ua: Any, edge_ua: Any = None) -> FloatArray:
        """Mean state after one SET pulse, uA; ``edge_ua`` is the device's own upper edge (default: nominal)."""
        return _mean(self.set_pulse, current_ua, self.window_ua[1] if edge_ua is None else edge_ua, 1.0)

    def reset_mean_ua(self, current_ua: Any, edge_ua: Any = None) -> FloatArray:
        """Mean state after one RESET pulse, uA; ``edge_ua`` is the device's own lower edge (default: nominal)."""
        return _mean(self.reset_pulse, current_ua, self.window_ua[0] if edge_ua is None else edge_ua, -1.0)

    def set_sd_ua(self, current_ua: Any) -> FloatArray:
        """SD of the state after one SET pulse, uA, before clipping to the window."""
        return _sd(self.set_pulse, current_ua)

    def reset_sd_ua(self, current_ua: Any) -> FloatArray:
        """SD of the state after one RESET pulse, uA, before clipping to the window."""
        return _sd(self.reset_pulse, current_ua)

    def blind_target_ua(self, target_ua: Any) -> FloatArray:
        """The median that a blind write aims at: the target within the gate's reach and on its levels."""
        c = self.blind_write
        low, high = c.target_ua
        target = np.clip(np.asarray(target_ua), low, high)
        if c.gate_levels == 0:
            return target
        step = (high - low) / (c.gate_levels - 1)
        return low + np.round((target - low) / step) * step

    def blind_sd_ua(self, median_ua: Any) -> FloatArray:
        """SD (cycle to cycle) of a blind write whose median is ``median_ua``, uA; see :class:`BlindWrite`."""
        c = self.blind_write
        median = np.asarray(median_ua)
        if c.power_d == 0:
            return np.maximum(c.sd_constant_ua + c.sd_linear * median, 0.0)
        conductance_s = np.maximum(median, 1e-9) * 1e-6 / self.read_voltage_v
        set_current_a = (conductance_s / c.power_d) ** (1.0 / c.power_c)
        return median * (c.power_a / 100.0) * set_current_a**-c.power_b

    def source_of(self, name: str, default: str) -> str:
        """Where a field's value comes from; ``name`` is dotted, ``default`` what the field itself says."""
        for start, source in sorted(self.sources, key=lambda pair: -len(pair[0])):
            if name.startswith(start):
                return source
        return default

    def to_dict(self) -> dict[str, Any]:
        """Plain nested mapping with lists for tuples, as written to YAML."""
        return _plain(dataclasses.asdict(self))


def _mean(pulse: Pulse, current_ua: Any, edge_ua: Any, sign: float) -> FloatArray:
    """Mean next state; a cell already beyond the edge in the pulse's direction (``sign``) stays."""
    current = np.asarray(current_ua)
    if not pulse.table:
        return current + sign * pulse.fraction * np.maximum(sign * (edge_ua - current), 0)
    states, means, _ = np.asarray(pulse.table).T
    return current + np.interp(current, states, means - states)


def _sd(pulse: Pulse, current_ua: Any) -> FloatArray:
    current = np.asarray(current_ua)
    if not pulse.table:
        return np.maximum(pulse.sd_constant_ua + pulse.sd_linear * current, 0.0)
    states, _, sds = np.asarray(pulse.table).T
    return np.interp(current, states, sds)


def _tsinghua() -> DevicePreset:
    return DevicePreset(
        name="tsinghua_taox_hfox",
        source="TiN/TaOx/HfOx/TiN 1T1R, 4K chips; Deep Bayesian active learning using in-memory computing"
        " hardware, Nat. Comput. Sci. 2025, paper, code and chip measurements",
        faults=Faults(stuck_low=0.0011, stuck_high=0.001, low_ua=(0.04, 0.25), high_ua=(1.5, 4.6)),
    )


def _leti() -> DevicePreset:
    return DevicePreset(
        name="leti_hfo2_oxram",
        source="HfO2 1T1R arrays of 16,384; In situ learning using intrinsic memristor variability via Markov"
        " chain Monte Carlo sampling, Nat. Electron. 2021. Read voltage, read noise and pulses are assumptions",
        sources=(
            ("", "assumption"),
            ("window_ua", "MCMC: 40 to 200 uS"),
            ("rows", "MCMC: arrays of 16,384"),
            ("columns", "MCMC: arrays of 16,384"),
            ("blind_write.power_", "MCMC"),
            ("blind_write.target_ua", "MCMC: 40 to 80 uS in the hardware tasks"),
            ("blind_write.gate_", "MCMC: 1.4 to 1.8 V in steps of 20 mV"),
            ("blind_write.device_spread", "assumption (printed: 0.5; the scatter shown: about 0.15)"),
            ("wear.endurance", "MCMC: usable after 1e7 cycles"),
        ),
        window_ua=(8.0, 40.0),
        window_sd_ua=(0.0, 0.0),
        fresh_ua=(1.0, 0.3),
        chips=1,
        rows=256,
        columns=64,
        read_noise=ReadNoise(constant_ua=0.0, linear=0.005, quadratic_per_ua=0.0),
        set_pulse=Pulse(sd_constant_ua=1.0, voltage_v=2.0, gate_v=1.6, width_s=1e-6),
        reset_pulse=Pulse(sd_constant_ua=1.0, voltage_v=2.5, gate_v=3.0, width_s=1e-6),
        write_verify=WriteVerify(tolerance_ua=1.0, step_ua=1.0, step_linear=0.0, reach_ua=(0.1, 60.0)),
        relaxation=Relaxation(
            mean_constant_ua=0.0,
            mean_linear=0.0,
            sd_constant_ua=0.0,
            sd_linear=0.02,
            tail_constant=0.0,
            tail_linear_per_ua=0.0,
            tail_quadratic_per_ua2=0.0,
        ),
        blind_write=BlindWrite(
            power_d=0.19, device_spread=0.10, target_ua=(8.0, 16.0), gate_v=(1.4, 1.8), gate_levels=21
        ),
        faults=Faults(low_ua=(0.1, 1.0), high_ua=(38.0, 42.0)),
        wear=Wear(endurance=10_000_000),
        periphery=Periphery(adc_full_scale_ua=100.0),
    )


def _eapu() -> DevicePreset:
    return DevicePreset(
        name="eapu_180nm",
        source="180 nm 1T1R array, G_max 80 uS; error-aware probabilistic update. Writing error SD 2 uS = 0.4 uA"
        " at 0.2 V, tolerance 1 uS = 0.2 uA. Read voltage, read noise and pulses are assumptions",
        sources=(
            ("", "assumption"),
            ("window_ua", "EaPU: G_max 80 uS"),
            ("write_verify.method", "EaPU: memorial programming"),
            ("write_verify.tolerance_ua", "EaPU: 1 uS"),
            ("write_verify.step_ua", "chosen so that updates anywhere take 65 pulses (EaPU: 66)"),
            ("relaxation.sd_constant_ua", "EaPU: writing error, mostly relaxation, 2 uS"),
            ("blind_write.sd_constant_ua", "EaPU: writing error 2 uS"),
        ),
        window_ua=(0.0, 16.0),
        window_sd_ua=(0.0, 0.0),
        fresh_ua=(0.5, 0.2),
        chips=1,
        rows=128,
        columns=64,
        read_noise=ReadNoise(constant_ua=0.01, linear=0.005, quadratic_per_ua=0.0),
        set_pulse=Pulse(fraction=0.1, sd_constant_ua=0.4, sd_linear=0.0),
        reset_pulse=Pulse(fraction=0.1, sd_constant_ua=0.4, sd_linear=0.0, voltage_v=1.95, gate_v=2.55, width_s=50e-9),
        write_verify=WriteVerify(
            method="memorial", tolerance_ua=0.2, step_ua=0.08, step_linear=0.0, reach_ua=(0.0, 18.0)
        ),
        relaxation=Relaxation(
            mean_constant_ua=0.0,
            mean_linear=0.0,
            sd_constant_ua=0.4,
            sd_linear=0.0,
            tail_constant=0.0,
            tail_linear_per_ua=0.0,
            tail_quadratic_per_ua2=0.0,
        ),
        blind_write=BlindWrite(sd_constant_ua=0.4, target_ua=(0.0, 16.0)),
        faults=Faults(low_ua=(0.0, 0.2), high_ua=(15.8, 16.2)),
        periphery=Periphery(adc_full_scale_ua=20.08032),
    )


_BUILDERS = {"tsinghua_taox_hfox": _tsinghua, "leti_hfo2_oxram": _leti, "eapu_180nm": _eapu}

NAMES = tuple(_BUILDERS)
"""Names of the built-in presets."""


def load(name_or_path: str | Path | DevicePreset, _above: tuple[Path, ...] = ()) -> DevicePreset:
    """A built-in preset by name, or one from a YAML file.

    The file names the preset it starts from as ``base`` (default tsinghua_taox_hfox) and gives only what
    differs; ``table: pulses.csv`` in ``set_pulse`` or ``reset_pulse`` reads measured transitions from a file
    beside it.

    Raises:
        ConfigError: unknown name (the choices are listed), unreadable file, unknown field, value out of range.
    """
    if isinstance(name_or_path, DevicePreset):
        return name_or_path
    if str(name_or_path) in _BUILDERS:
        return _BUILDERS[str(name_or_path)]()
    path = Path(name_or_path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"unknown device preset {str(name_or_path)!r}; choose {', '.join(NAMES)}, or a .yaml file")
    content = read_yaml(path, "device preset")
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: expected a mapping of preset fields, got {type(content).__name__}")
    base = content.get("base", NAMES[0])
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base = {base!r}: expected the name of a preset or of a YAML file")
    if path.resolve() in _above:
        raise ConfigError(f"{path}: starts from itself through base")
    try:
        changes = {key: _with_table(value, path.parent) for key, value in content.items() if key != "base"}
        return override(load(_beside(base, path), (*_above, path.resolve())), changes)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def given_fields(name_or_path: str | Path | DevicePreset) -> dict[str, str]:
    """Dotted names of the fields that YAML files give themselves -> the file's name; empty for a built-in preset.

    Raises:
        ConfigError: see :func:`load`.
    """
    if isinstance(name_or_path, DevicePreset) or str(name_or_path) in _BUILDERS:
        return {}
    path = Path(name_or_path)
    content = read_yaml(path, "device preset")
    found = given_fields(_beside(str(content.get("base", NAMES[0])), path))
    for key, value in content.items():
        if key in ("base", "name", "source", "sources"):
            continue
        names = [f"{key}.{name}" for name in value] if isinstance(value, Mapping) else [key]
        found |= dict.fromkeys(map(str, names), path.name)
    return found


def _beside(base: str, path: Path) -> str | Path:
    """A base as it stands in a preset file: a file's name is looked for beside that file first."""
    beside = path.parent / base
    return beside if base not in _BUILDERS and beside.is_file() else base


def override(preset: DevicePreset, changes: Mapping[str, Any]) -> DevicePreset:
    """The preset with some fields changed, nested as in the YAML file; everything is validated again.

    Where ``window_ua`` moves beyond what the preset says of its programming (``write_verify.reach_ua``,
    ``blind_write.target_ua``) and the changes say nothing of that, it is carried along: a device reaches its window.
    """
    merged = _merge(preset.to_dict(), changes)
    if "window_ua" in changes:
        _carry_along(merged, changes, preset)
    return build(DevicePreset, merged)


_REACHING = ("write_verify", "blind_write")
"""Sections that say how far programming reaches."""


def _carry_along(merged: dict[str, Any], changes: Mapping[str, Any], before: DevicePreset) -> None:
    """Reach of write-verify and of blind writes for a new window, where nobody gave them; see :func:`override`."""
    check_field(DevicePreset, "window_ua", merged["window_ua"])
    (low, high), (old_low, old_high) = merged["window_ua"], before.window_ua
    if low >= high:
        return  # refused by the preset itself
    if not all(isinstance(merged[name], dict) or dataclasses.is_dataclass(merged[name]) for name in _REACHING):
        return  # so is what is no section
    if "reach_ua" not in _topic(changes, "write_verify"):
        reach = before.write_verify.reach_ua
        top = reach[1] if high <= reach[1] else round(high * max(reach[1] / old_high, 1.0), 6)
        merged["write_verify"]["reach_ua"] = [min(reach[0], low), top]
    if "target_ua" not in _topic(changes, "blind_write"):
        target = before.blind_write.target_ua
        if _covered(target, (low, high)) < _covered(target, before.window_ua) - 1e-9:
            share = (high - low) / (old_high - old_low)
            merged["blind_write"]["target_ua"] = [round(low + (edge - old_low) * share, 6) for edge in target]


def _topic(changes: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    topic: Any = changes.get(name, {})
    return topic if isinstance(topic, Mapping) else dataclasses.asdict(topic)


def _covered(span: tuple[float, float], window: tuple[float, float]) -> float:
    """Share of a window that a span covers."""
    return max(min(span[1], window[1]) - max(span[0], window[0]), 0.0) / (window[1] - window[0])


def _with_table(value: Any, folder: Path) -> Any:
    """A topic whose ``table`` names a CSV file, with the file's rows in its place."""
    if isinstance(value, Mapping) and isinstance(value.get("table"), str):
        return {**value, "table": [list(row) for row in read_pulse_table(folder / value["table"])]}
    return value


def _merge(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
