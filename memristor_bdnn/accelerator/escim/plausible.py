"""Whether what the board says can be true: codes of a chip, what a deployment did, what pulses do; with figures.

A board whose chips are not seated, not powered or not formed, or whose converters are stuck, answers like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.wire.scaling import ADC_MAX, code_current
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import AcceleratorError

FloatArray = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.uint16]
HOPELESS = 0.5
"""Share of the cells at full scale, at zero or beyond the converter from which a chip cannot work."""
SAID = {"at full scale": 0.01, "at zero": 0.05, "beyond 12 bits": 0.0}
"""Share of the cells above which it is said."""
FROZEN = 0.9
"""Share of the cells that give the same code twice from which there is no read noise; a chip's noise leaves a tenth."""
FAR, MANY_FAR = 1.5, 0.25
"""Multiple of the window's upper edge that cells do not reach, and share of the cells from which that is said."""
FEWEST_CELLS, FEWEST_READS = 20, 8
FEWEST_PULSES = 200
SILENT, ALL_SILENT = 0.05, 0.9
"""Share of the cells that did not move in a deployment from which that is said, and from which it did nothing."""
SPARE_CELLS = 2
"""Cells forgiven besides, so that a few cells are not judged by one of them."""
WEAK = 0.1
"""Share of the change that the preset expects below which pulses do nothing."""


class Implausible(AcceleratorError):
    """What the board answered cannot be currents of cells, or a deployment changed nothing."""


@dataclass(frozen=True)
class Finding:
    """Something about a chip.

    Attributes:
        kind: the same for the same thing, whatever its figures.
        text: with figures.
        fatal: nothing can work.
    """

    kind: str
    text: str
    fatal: bool = False


def chip(codes: Codes, before: Codes | None = None, preset: DevicePreset | None = None) -> list[Finding]:
    """What is wrong with a reading of a chip; empty where nothing is.

    Args:
        codes: shape (128, 32) as [BL][SL].
        before: an earlier reading; None where there was none, or where the devices have no noise.
        preset: whose window the currents should lie in.
    """
    cells, found = codes.size, []
    if np.ptp(codes) == 0:
        return [
            Finding("all equal", f"all {cells} cells read code {codes.flat[0]}{_meaning(int(codes.flat[0]))}", True)
        ]
    for what, where in (
        ("beyond 12 bits", codes > ADC_MAX),
        ("at full scale", codes == ADC_MAX),
        ("at zero", codes == 0),
    ):
        share = int(np.count_nonzero(where)) / cells
        if share > SAID[what]:
            text = f"{np.count_nonzero(where)} of {cells} cells read {what} (codes {codes.min()} to {codes.max()})"
            found.append(Finding(what, text, share >= HOPELESS))
    if before is not None:
        same = int(np.count_nonzero(codes == before))
        if same >= FROZEN * cells:
            text = f"{same} of {cells} cells gave the same code in two reads: no read noise"
            found.append(Finding("no noise", text, True))
    found += _dead_lines(codes)
    if preset is not None:
        found += _far(codes, preset)
    return found


def cell(reads_ua: FloatArray) -> list[Finding]:
    """What is wrong with repeated reads of one cell, shape (n,), uA."""
    low, high = float(reads_ua.min()), float(reads_ua.max())
    text = f"{reads_ua.size} reads of the cell from {low:.4g} to {high:.4g} uA"
    if low >= code_current(ADC_MAX):
        return [Finding("at full scale", f"{text}: at or beyond the converter's full scale", True)]
    if high == 0:
        return [Finding("at zero", f"{text}: no current at all", True)]
    if reads_ua.size >= FEWEST_READS and low == high:
        return [Finding("no noise", f"{text}: no read noise", True)]
    return []


def _meaning(code: int) -> str:
    if code > ADC_MAX:
        return f": beyond the converter's 12 bits (0 to {ADC_MAX})"
    if code == ADC_MAX:
        return f": the converter's full scale, {code_current(ADC_MAX):.3g} uA or more"
    return ": no current at all" if code == 0 else f" ({code_current(code):.3g} uA)"


def _dead_lines(codes: Codes) -> list[Finding]:
    found = []
    for name, matrix in (("BL", codes), ("SL", codes.T)):
        dead = np.flatnonzero((matrix == matrix[:, :1]).all(axis=1))
        if dead.size:
            shown = ", ".join(map(str, dead[:8])) + (", ..." if dead.size > 8 else "")
            text = f"{dead.size} of {len(matrix)} {name}s read one code on all their cells: {name} {shown}"
            found.append(Finding(f"dead {name}", text))
    return found


def _far(codes: Codes, preset: DevicePreset) -> list[Finding]:
    limit = FAR * max(preset.window_ua[1], preset.write_verify.reach_ua[1])
    count = np.count_nonzero(codes > limit / code_current(1))
    if count <= MANY_FAR * codes.size:
        return []
    return [
        Finding(
            "out of range",
            f"{count} of {codes.size} cells read above {limit:.3g} uA, median"
            f" {code_current(int(np.median(codes))):.3g} uA; the window of preset {preset.name} ends at"
            f" {preset.window_ua[1]:g} uA",
        )
    ]


def deployment(
    before_ua: FloatArray, after_ua: FloatArray, target_ua: FloatArray, tolerance_ua: float
) -> Finding | None:
    """What a write-verify of cells, all of shape (n,), did not do; None where it did, or for few cells."""
    asked = np.abs(target_ua - before_ua) > 3 * tolerance_ua
    if asked.sum() < FEWEST_CELLS:
        return None
    silent = int((np.abs(after_ua - before_ua)[asked] <= tolerance_ua).sum())
    share = silent / int(asked.sum())
    if silent <= SILENT * asked.sum() + SPARE_CELLS:
        return None
    text = (
        f"write-verify left {silent} of {int(asked.sum())} cells where they were ({share:.0%}), though their targets"
        f" were {3 * tolerance_ua:g} uA away or more: stuck, not formed, or voltages that do not reach them"
    )
    return Finding("deployment", text, share >= ALL_SILENT)


class Responses:
    """What single pulses do on average, beside what the preset expects of them.

    Args:
        preset: expects something of SETs in the lower and of RESETs in the upper half of its window.
    """

    def __init__(self, preset: DevicePreset) -> None:
        self._preset = preset
        self._sums = {False: np.zeros(3), True: np.zeros(3)}

    def add(self, before_ua: FloatArray, after_ua: FloatArray, reset: bool) -> None:
        """Cells, shape (n,), that were pulsed once between two reads."""
        low, high = self._preset.window_ua
        middle = 0.5 * (low + high)
        room = before_ua > middle if reset else before_ua < middle
        before, after = before_ua[room], after_ua[room]
        mean = self._preset.reset_mean_ua if reset else self._preset.set_mean_ua
        self._sums[reset] += (before.size, (after - before).sum(), (mean(before) - before).sum())

    def findings(self) -> list[Finding]:
        """SETs or RESETs that do nothing, once enough of them were seen."""
        found = []
        for reset, (count, change, expected) in self._sums.items():
            if count >= FEWEST_PULSES and change / expected < WEAK:
                name = "RESET" if reset else "SET"
                found.append(
                    Finding(
                        f"{name} pulses",
                        f"{int(count)} {name} pulses changed the current by {change / count:+.3f} uA on average, where"
                        f" preset {self._preset.name} expects {expected / count:+.3f} uA: stuck cells, or a voltage or"
                        " width that does not reach them",
                    )
                )
        return found
