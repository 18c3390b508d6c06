"""Single SET and RESET pulses: how one pulse moves the state of many cells at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.device.noise import Float32
from memristor_bdnn.device.parameters import Pulse
from memristor_bdnn.device.presets import DevicePreset


def single_pulses(
    preset: DevicePreset,
    state_ua: Float32,
    low_ua: Float32,
    high_ua: Float32,
    direction: Float32,
    normals: Float32,
) -> Float32:
    """States after one pulse on each cell: I -> Normal(mu(I), sigma(I)^2), clipped to the device's own window.

    A cell outside its window (write-verify reaches further) is neither pulled back by the clip nor moved by the
    mean against the direction of the pulse.

    Args:
        preset: gives mu and sigma of SET and RESET.
        state_ua: shape (n,), states before.
        low_ua: shape (n,), lower edge of each device's window.
        high_ua: shape (n,), upper edge.
        direction: shape (n,), +1 SET, -1 RESET, 0 no pulse, as float32.
        normals: shape (n,), standard normal deviates; overwritten.

    Returns:
        New states in microampere, shape (n,).
    """
    up, down = preset.set_pulse, preset.reset_pulse
    if up.table or down.table:
        step = np.where(direction > 0, _step(up, state_ua, high_ua, 1), _step(down, state_ua, low_ua, -1))
        step = (step * np.abs(direction)).astype(np.float32)
        sd = np.where(direction > 0, preset.set_sd_ua(state_ua), preset.reset_sd_ua(state_ua)).astype(np.float32)
    else:
        step = _edge_distance(state_ua, low_ua, high_ua, direction)
        step *= _either(up.fraction, down.fraction, direction)
        step *= direction
        sd = state_ua * _either(up.sd_linear, down.sd_linear, direction)
        sd += _either(up.sd_constant_ua, down.sd_constant_ua, direction)
        if min(up.sd_linear, down.sd_linear) < 0:
            np.maximum(sd, 0, out=sd)
    sd *= np.abs(direction)
    moved = np.multiply(normals, sd, out=normals)
    moved += step
    moved += state_ua
    np.maximum(moved, np.minimum(low_ua, state_ua), out=moved)
    np.minimum(moved, np.maximum(high_ua, state_ua), out=moved)
    return moved


def _edge_distance(state: Float32, low: Float32, high: Float32, direction: Float32) -> Float32:
    """Distance to the edge that the pulse drives to, not negative; (high - low) / 2 where there is no pulse."""
    middle = low + high
    middle *= np.float32(0.5)
    half = high - middle
    middle -= state
    middle *= direction
    middle += half
    return np.maximum(middle, 0, out=middle)


def _either(up: float, down: float, direction: Float32) -> Any:
    """``up`` where the direction is +1, ``down`` where it is -1; a plain number if they are the same."""
    if up == down:
        return np.float32(up)
    return direction * np.float32((up - down) / 2) + np.float32((up + down) / 2)


def _step(pulse: Pulse, state: Float32, edge: Float32, sign: int) -> npt.NDArray[Any]:
    """Mean step mu(I) - I of a pulse, by its table or towards the edge."""
    if not pulse.table:
        moved: npt.NDArray[Any] = sign * pulse.fraction * np.maximum(sign * (edge - state), 0)
        return moved
    states, means, _ = np.asarray(pulse.table).T
    return np.interp(state, states, means - states)
