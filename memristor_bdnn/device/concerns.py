"""What of a preset does not go with its window: said by field, with figures, before anybody wonders at the results."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from memristor_bdnn.device.presets import DevicePreset

COARSE = 0.2
"""Share of the window's span above which a tolerance, a step or a spread leaves hardly any states to tell apart."""


def concerns(preset: DevicePreset) -> list[str]:
    """Fields that do not fit the preset's window, each with its value and what that means; empty for a sound preset.

    Raises:
        ConfigError: the window cannot be written at all.
    """
    return [*_writing(preset), *_noise(preset), *_pulses(preset)]


def blind_concerns(preset: DevicePreset) -> list[str]:
    """The same of blind writes (:meth:`~memristor_bdnn.accelerator.protocol.Accelerator.program`)."""
    (low, high), write = preset.usable_ua, preset.blind_write
    reached = min(high, write.target_ua[1]) - max(low, write.target_ua[0])
    sd = float(preset.blind_sd_ua((low + high) / 2))
    found = []
    if reached < 0.2 * (high - low):
        found.append(
            f"blind_write.target_ua = {_span(write.target_ua)} uA covers {max(reached, 0) / (high - low):.0%} of the "
            f"window {_span((low, high))} uA: blind writes reach no other states"
        )
    if sd > COARSE * (high - low):
        field = "blind_write.sd_constant_ua" if write.power_d == 0 else "blind_write.power_a"
        found.append(f"{field}: blind writes scatter by {sd:.3g} uA, {sd / (high - low):.0%} of the window")
    return found


def _writing(preset: DevicePreset) -> Iterator[str]:
    window, verify, (low, high) = preset.window_ua, preset.write_verify, preset.usable_ua
    span = high - low
    if span < 0.9 * (window[1] - window[0]):
        yield (
            f"write_verify.reach_ua = {_span(verify.reach_ua)} uA ends inside window_ua = {_span(window)} uA: only "
            f"{_span((low, high))} uA can be written and is used"
        )
    if verify.tolerance_ua > COARSE * span:
        yield (
            f"write_verify.tolerance_ua = {verify.tolerance_ua:g} uA is {verify.tolerance_ua / span:.0%} of the window "
            f"{_span((low, high))} uA: write-verify accepts nearly any state"
        )
    if verify.method == "incremental":
        step = verify.step_ua + verify.step_linear * (low + high) / 2
        if step * verify.max_pulses < 1.3 * (high - min(low, preset.fresh_ua[0])):
            yield (
                f"write_verify.step_ua = {verify.step_ua:g} uA: max_pulses = {verify.max_pulses} such steps hardly "
                f"take a cell from {preset.fresh_ua[0]:g} uA (fresh_ua) to the upper edge of {_span((low, high))} uA"
            )
        if step > 8 * verify.tolerance_ua:
            yield (
                f"write_verify.tolerance_ua = {verify.tolerance_ua:g} uA is far below a step of {step:.3g} uA "
                "(write_verify.step_ua): most cells are hit by luck"
            )
    elif min(high, preset.blind_write.target_ua[1]) - max(low, preset.blind_write.target_ua[0]) < 0.9 * span:
        yield (
            f"blind_write.target_ua = {_span(preset.blind_write.target_ua)} uA ends inside the window "
            f"{_span((low, high))} uA, and write_verify.method = memorial writes by it: the rest cannot be written"
        )
    relaxed = preset.relaxation.sd_constant_ua + preset.relaxation.sd_linear * (low + high) / 2
    if relaxed > COARSE * span:
        share = f"{relaxed / span:.0%} of the window"
        yield f"relaxation.sd_constant_ua: cells move by {relaxed:.3g} uA after a write, {share}"


def _noise(preset: DevicePreset) -> Iterator[str]:
    low, high = preset.usable_ua
    states = np.linspace(low, high, 101)
    noise = preset.read_noise
    scale = noise.constant_ua + states * (noise.linear + noise.quadratic_per_ua * states)
    if noise.floor_ua > low + COARSE * (high - low):
        yield f"read_noise.floor_ua = {noise.floor_ua:g} uA: no read is below it, the window begins at {low:g} uA"
    negative = states[scale < 0]
    if negative.size:
        yield (
            f"read_noise.quadratic_per_ua = {noise.quadratic_per_ua:g}: the polynomial is negative from "
            f"{negative[0]:.3g} to {negative[-1]:.3g} uA and taken as 0: such cells read without noise, which says "
            "nothing about the posterior"
        )
    largest = float(scale.max())
    if largest > COARSE * (high - low):
        yield f"read_noise: one read scatters by {largest:.3g} uA, {largest / (high - low):.0%} of the window"


def _pulses(preset: DevicePreset) -> Iterator[str]:
    low, high = preset.usable_ua
    middle = (low + high) / 2
    for name, mean, sd in (
        ("set_pulse", preset.set_mean_ua(middle) - middle, preset.set_sd_ua(middle)),
        ("reset_pulse", middle - preset.reset_mean_ua(middle), preset.reset_sd_ua(middle)),
    ):
        size, spread = float(mean), float(sd)
        if size <= 0:
            way = "down" if name == "set_pulse" else "up"
            moved = f"{name}: moves the middle state {middle:.3g} uA {way} by {-size:.3g} uA on average"
            yield f"{moved}: SET and RESET swapped?"
        elif size + spread < 1e-3 * (high - low):
            share = f"{size / (high - low):.2%} of the window"
            yield f"{name}: moves the middle state by {size:.3g} uA, {share}: hardly at all"
        if spread > COARSE * (high - low):
            field = f"{name}.table" if getattr(preset, name).table else f"{name}.sd_constant_ua"
            yield f"{field}: one pulse scatters by {spread:.3g} uA, {spread / (high - low):.0%} of the window"


def _span(edges: tuple[float, float]) -> str:
    return f"{edges[0]:g} to {edges[1]:g}"
