"""Single SET and RESET pulses: how one pulse moves the state of many cells at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.device.noise import Float32
from memristor_bdnn.device.parameters import Pulse
from memristor_bdnn.device.presets import DevicePreset


@dataclass(frozen=True)
class Windows:
    """The windows of n devices: edges, and what every pulse needs of them; float32 arrays (n,), microampere."""

    low_ua: Float32
    high_ua: Float32
    middle_ua: Float32
    half_ua: Float32

    @classmethod
    def of(cls, low_ua: Float32, high_ua: Float32) -> Windows:
        """Windows from their edges."""
        middle = (low_ua + high_ua) * np.float32(0.5)
        return cls(low_ua, high_ua, middle, high_ua - middle)

    def part(self, devices: slice) -> Windows:
        """Some neighbouring devices, as views."""
        return Windows(self.low_ua[devices], self.high_ua[devices], self.middle_ua[devices], self.half_ua[devices])


def single_pulses(
    preset: DevicePreset,
    state_ua: Float32,
    windows: Windows,
    direction: Float32,
    normals: Float32,
    everyone: bool = False,
) -> Float32:
    """States after one pulse on each cell: I -> Normal(mu(I), sigma(I)^2), clipped to the device's own window.

    A cell outside its window (write-verify reaches further) is neither pulled back by the clip nor moved by the
    mean against the direction of the pulse.

    Args:
        preset: gives mu and sigma of SET and RESET.
        state_ua: shape (n,), states before.
        windows: of the n devices.
        direction: shape (n,), +1 SET, -1 RESET, 0 no pulse, as float32.
        normals: shape (n,), standard normal deviates; overwritten.
        everyone: the caller knows that no direction is 0 (saves time).

    Returns:
        New states in microampere, shape (n,).
    """
    up, down = preset.set_pulse, preset.reset_pulse
    if up.table or down.table:
        steps = (_step(up, state_ua, windows.high_ua, 1), _step(down, state_ua, windows.low_ua, -1))
        step = np.where(direction > 0, *steps)
        step = (step * np.abs(direction)).astype(np.float32)
        sd = np.where(direction > 0, preset.set_sd_ua(state_ua), preset.reset_sd_ua(state_ua)).astype(np.float32)
    else:
        step = _edge_distance(state_ua, windows, direction)
        step *= _either(up.fraction, down.fraction, direction)
        step *= direction
        sd = state_ua * _either(up.sd_linear, down.sd_linear, direction)
        sd += _either(up.sd_constant_ua, down.sd_constant_ua, direction)
        if min(up.sd_linear, down.sd_linear) < 0:
            np.maximum(sd, 0, out=sd)
    if not everyone:
        sd *= np.abs(direction)
    moved = np.multiply(normals, sd, out=normals)
    moved += step
    moved += state_ua
    np.maximum(moved, np.minimum(windows.low_ua, state_ua), out=moved)
    np.minimum(moved, np.maximum(windows.high_ua, state_ua), out=moved)
    return moved


def _edge_distance(state: Float32, windows: Windows, direction: Float32) -> Float32:
    """Distance to the edge that the pulse drives to, not negative; half the window where there is no pulse."""
    distance = windows.middle_ua - state
    distance *= direction
    distance += windows.half_ua
    return np.maximum(distance, np.zeros_like(distance), out=distance)


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
