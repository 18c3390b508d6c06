"""What a fitted preset takes from its base: listed, and carried to the new window where it would not fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from memristor_bdnn.device.parameters import Pulse, ReadNoise
from memristor_bdnn.device.presets import DevicePreset

CLOSE = 1.5
"""Windows whose spans differ by less than this factor, and that lie nearly the same, keep what was not measured."""
_DIGITS = 6
_MEASURABLE = ("read_voltage_v", "set_pulse", "reset_pulse", "read_noise", "write_verify", "relaxation", "blind_write")
_LISTED = (*_MEASURABLE, "fresh_ua", "window_sd_ua", "faults", "retention", "wear", "periphery")


@dataclass(frozen=True)
class Inherited:
    """A topic that nobody measured: its dotted name, and whether it is as in the base or rescaled."""

    topic: str
    action: str


def carried(base: DevicePreset, window: tuple[float, float]) -> dict[str, Any]:
    """Changes that bring everything in microampere of ``base`` to a window; empty where it fits as it is.

    The straight line that carries the base's window to the new one carries states, and its slope spreads and steps; the
    read noise keeps its shape over the window.
    """
    (low, high), (old_low, old_high) = window, base.window_ua
    share = (high - low) / (old_high - old_low)
    near = 1 / CLOSE < share < CLOSE and abs(low - old_low) < 0.25 * (old_high - old_low)
    reach = base.write_verify.reach_ua
    if near and reach[0] <= low and high <= reach[1]:
        return {}

    def state(value: float) -> float:
        return round(max(low + (value - old_low) * share, 0.0), _DIGITS)

    def size(value: float) -> float:
        return round(value * share, _DIGITS + 3)

    verify, relax, blind, faults = base.write_verify, base.relaxation, base.blind_write, base.faults
    drift = base.retention
    moved: dict[str, Any] = {
        "window_sd_ua": [size(v) for v in base.window_sd_ua],
        "fresh_ua": [state(base.fresh_ua[0]), size(base.fresh_ua[1])],
        "read_noise": _noise(base.read_noise, share, low, old_low),
        "set_pulse": _pulse(base.set_pulse, share, state, size),
        "reset_pulse": _pulse(base.reset_pulse, share, state, size),
        "write_verify": {
            "tolerance_ua": max(size(verify.tolerance_ua), 1e-6),
            "step_ua": max(size(verify.step_ua), 1e-6),
            "reach_ua": [min(state(reach[0]), low), max(state(reach[1]), high)],
        },
        "relaxation": {
            "mean_constant_ua": size(relax.mean_constant_ua),
            "sd_constant_ua": size(relax.sd_constant_ua),
            "tail_linear_per_ua": float(np.clip(relax.tail_linear_per_ua / share, -1, 1)),
            "tail_quadratic_per_ua2": float(np.clip(relax.tail_quadratic_per_ua2 / share**2, -1, 1)),
            "tail_scale_ua": size(relax.tail_scale_ua),
        },
        "blind_write": {
            "sd_constant_ua": size(blind.sd_constant_ua),
            "target_ua": [state(edge) for edge in blind.target_ua],
        },
        "faults": {"low_ua": [state(v) for v in faults.low_ua], "high_ua": [state(v) for v in faults.high_ua]},
        "retention": {
            "rate_ua_per_decade": size(drift.rate_ua_per_decade),
            "rate_sd_ua_per_decade": size(drift.rate_sd_ua_per_decade),
            "disturb_ua_per_decade": size(drift.disturb_ua_per_decade),
            "disturb_sd_ua_per_decade": size(drift.disturb_sd_ua_per_decade),
        },
        "periphery": {"adc_full_scale_ua": size(base.periphery.adc_full_scale_ua)},
    }
    return _changed(moved, base.to_dict())


def _changed(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Of nested changes what differs from the old values."""
    found: dict[str, Any] = {}
    for key, value in new.items():
        if isinstance(value, dict):
            value = _changed(value, old[key])
        if value != old[key] and value != {}:
            found[key] = value
    return found


def listed(base: DevicePreset, measured: Iterable[str], changes: dict[str, Any]) -> tuple[Inherited, ...]:
    """Every topic that was not measured, and what became of it."""
    known, plain = set(measured), base.to_dict()
    found = []
    for topic in (topic for topic in _LISTED if topic not in known):
        value = changes.get(topic)
        moved = list(_changed({topic: value}, plain)) if topic in changes else []
        if moved and isinstance(value, dict):
            moved = list(_changed(value, plain[topic]))
        action = f"rescaled to the window: {', '.join(moved)}" if moved else "as in the base"
        found.append(Inherited(topic, f"{action} ({base.name})"))
    return tuple(found)


def _noise(noise: ReadNoise, share: float, low: float, old_low: float) -> dict[str, float]:
    """The polynomial that has at every state share times what the base has at the state it is carried from."""
    shift = old_low - low / share
    c0, c1, c2 = noise.constant_ua, noise.linear, noise.quadratic_per_ua
    constant = share * (c0 + c1 * shift + c2 * shift**2)
    return {
        "constant_ua": round(max(constant, 0.0), 9),
        "linear": float(np.clip(round(c1 + 2 * c2 * shift, 9), -1, 1)),
        "quadratic_per_ua": float(np.clip(round(c2 / share, 9), -1, 1)),
        "floor_ua": min(noise.floor_ua * share, noise.floor_ua),
    }


def _pulse(pulse: Pulse, share: float, state: Any, size: Any) -> dict[str, Any]:
    changes: dict[str, Any] = {"sd_constant_ua": size(pulse.sd_constant_ua)}
    if pulse.table:
        changes["table"] = [[state(s), state(m), size(sd)] for s, m, sd in pulse.table]
    return changes


def with_sources(base: DevicePreset, changes: dict[str, Any], fitted: dict[str, str], measured: str) -> list[list[str]]:
    """The base's sources, and beside them where every changed field comes from.

    Args:
        base: where the rest comes from.
        changes: of the new preset.
        fitted: topic or field -> how it was measured.
        measured: what to say of changes that were not, with the base's name.
    """
    own = dict(fitted)
    for topic, value in changes.items():
        if topic not in ("name", "source", "sources"):
            names = [f"{topic}.{name}" for name in value] if isinstance(value, dict) else [topic]
            own |= {name: measured for name in names if name not in fitted}
    return [[start, text] for start, text in base.sources if start not in own] + [list(pair) for pair in own.items()]
