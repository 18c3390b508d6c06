"""How a network follows the device: whatever is in microampere is derived from the preset's window.

The published numbers belong to chips of 0.4 to 4.0 uA. Every other window gets their images under the straight line
that carries that window into its own; on the published window the numbers come out unchanged, to the last bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memristor_bdnn.device.presets import DevicePreset

PUBLISHED_UA = (0.4, 4.0)
_OFFSET_UA, _SCALE_UA, _DEVICES = 6.66, 1.1, 3
"""Of the published chips: sum of a weight's currents that means 0, current per unit of weight, devices per weight."""
_WRITE_SD_UA, _TOLERANCE_UA = 0.2, 0.3
_PROPOSAL_SD_UA = 0.2


def window_share(preset: DevicePreset) -> float:
    """Span of the preset's usable window over that of the published one."""
    low, high = preset.usable_ua
    return (high - low) / (PUBLISHED_UA[1] - PUBLISHED_UA[0])


def weight_offset_ua(preset: DevicePreset, devices: int) -> float:
    """Sum of ``devices`` currents that means weight 0, near the middle of the window."""
    share, low = window_share(preset), preset.usable_ua[0]
    return (devices / _DEVICES) * (_OFFSET_UA * share + _DEVICES * (low - PUBLISHED_UA[0] * share))


def weight_scale_ua(preset: DevicePreset, devices: int, largest: float | None = None) -> float:
    """Current per unit of weight.

    Args:
        preset: gives the window.
        devices: currents that add up to one weight.
        largest: weight between the middle and an edge of the window; None takes the published ratio (4.9).
    """
    if largest is None:
        return _SCALE_UA * window_share(preset) * (devices / _DEVICES)
    low, high = preset.usable_ua
    return devices * (high - low) / (2 * largest)


def write_sd_ua(preset: DevicePreset) -> float:
    """SD of the write error that training should expect: of the verification, or of the relaxation if that is more."""
    tolerance, relaxation = preset.write_verify.tolerance_ua, preset.relaxation
    middle = sum(preset.usable_ua) / 2
    return max(_WRITE_SD_UA * (tolerance / _TOLERANCE_UA), relaxation.sd_constant_ua + relaxation.sd_linear * middle)


def proposal_sd_ua(preset: DevicePreset) -> float:
    """SD of one device in a proposal that the host draws."""
    return _PROPOSAL_SD_UA * window_share(preset)
