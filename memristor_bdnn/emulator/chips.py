"""The devices behind an emulated board: cells of the simulated chips, seen through lines and converters.

Random numbers are drawn as the simulated accelerator draws them: the same preset and seed give the
same chips, and whole-chip reads, single pulses and deployments in the same order give the same
currents, rounded to the converter's codes. Everything the simulated accelerator has no counterpart for (a single-cell
read, cells beyond the network, conditional reads) draws from a second generator.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.wire import scaling
from memristor_bdnn.accelerator.escim.wire.adc import TIA_OF_BL, TIA_OF_SL
from memristor_bdnn.accelerator.escim.wire.registers import Lines, Switch
from memristor_bdnn.accelerator.escim.wire.scaling import ADC_MAX, CELLS, COLUMNS, ROWS
from memristor_bdnn.crossbar import programming
from memristor_bdnn.crossbar.cells import STUCK_HIGH, STUCK_LOW, CellArray
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError

IntArray = npt.NDArray[np.integer[Any]]
GATE_THRESHOLD_V = 0.7
"""Gate voltage above which the transistor conducts (assumption)."""
FULL_PULSE, WEAK_PULSE = 0.9, 0.4
"""Shares of the preset's pulse voltage from which a pulse acts fully, or as a small step (assumption)."""


class EmulatedChips:
    """All cells of the board; cell k of chip c has BL k // 32 and SL k % 32, numbered through all chips."""

    def __init__(
        self,
        preset: DevicePreset,
        seed: int = 0,
        network_cells: int = 9756,
        stuck: float = 0.0,
        free_reads: int = 3,
    ) -> None:
        """Fabricate the chips.

        Args:
            preset: a technology with chips of 128 x 32 cells.
            seed: same seed, same chips as the simulated accelerator's.
            network_cells: cells 0..n-1 draw read noise from the simulated accelerator's random stream.
            stuck: share of cells made stuck, half low and half high.
            free_reads: whole-chip reads after power-up that leave that stream alone (a driver's first look).

        Raises:
            ConfigError: the preset's chips are not the board's.
        """
        if (preset.rows, preset.columns) != (ROWS, COLUMNS) or not 1 <= preset.chips <= 8:
            raise ConfigError(
                f"preset {preset.name!r} has {preset.chips} chips of {preset.rows} x {preset.columns}; the board"
                f" has 1 to 8 of {ROWS} x {COLUMNS}"
            )
        self.preset = preset
        self.capacity = preset.chips * CELLS
        if not 0 <= network_cells <= self.capacity:
            raise ConfigError(f"network_cells {network_cells}: allowed 0 to {self.capacity}")
        fabrication, operation = np.random.SeedSequence(seed).spawn(2)
        self.cells = CellArray(preset, self.capacity, np.random.default_rng(fabrication))
        self._rng = np.random.Generator(np.random.PCG64(operation))
        self._spare = np.random.default_rng([seed, 0x5BA2E])
        self._network_cells = network_cells
        self._free_reads = free_reads
        self.pulses = np.zeros(self.capacity, dtype=np.int64)
        """Single pulses given to each cell; write-verify is counted in ``map_pulses``."""
        self.map_pulses = np.zeros(self.capacity, dtype=np.int64)
        self.reads = 0
        if stuck:
            self._break(stuck)

    def _break(self, share: float) -> None:
        chosen = np.flatnonzero(self._spare.random(self.capacity) < share)
        low = self._spare.random(chosen.size) < 0.5
        self.cells.break_cells(chosen[low], STUCK_LOW, self._spare)
        self.cells.break_cells(chosen[~low], STUCK_HIGH, self._spare)

    def cell(self, chip: int, bl: int, sl: int) -> int:
        """Number of a cell; ``chip`` counts from 1."""
        return (chip - 1) * CELLS + bl * COLUMNS + sl

    def read_chip(self, chip: int) -> npt.NDArray[np.uint16]:
        """ADC codes of a whole chip in READ_ALL order, shape (4096,)."""
        start, stop = (chip - 1) * CELLS, chip * CELLS
        if self._free_reads > 0:
            self._free_reads -= 1
            reads = self.cells.read(start, stop, 1, self._spare)[0]
        else:
            edge = min(max(self._network_cells, start), stop)
            parts = [
                self.cells.read(first, last, 1, rng)[0]
                for first, last, rng in ((start, edge, self._rng), (edge, stop, self._spare))
                if last > first
            ]
            reads = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self.reads += CELLS
        return scaling.from_matrix(self._codes(reads).reshape(ROWS, COLUMNS))

    def _codes(self, current_ua: npt.NDArray[Any], feedback: int = scaling.DEFAULT_FEEDBACK) -> npt.NDArray[np.uint16]:
        if feedback == scaling.DEFAULT_FEEDBACK:
            unit = self.preset.periphery.adc_full_scale_ua / ADC_MAX
        else:
            unit = scaling.code_current(1, feedback)
        return np.clip(np.rint(current_ua / unit), 0, ADC_MAX).astype(np.uint16)

    def read_cells_ua(self, cells: IntArray) -> npt.NDArray[np.float64]:
        """One noisy current of each cell in microampere at the read voltage."""
        self.reads += len(cells)
        return self.cells.read_cells(cells, 1, self._spare)[0].astype(np.float64)

    def read_code(self, cell: int, volts: float, feedback: int = scaling.DEFAULT_FEEDBACK) -> int:
        """ADC code of one cell at a read voltage (ohmic)."""
        current = self.read_cells_ua(np.array([cell])) * volts / self.preset.read_voltage_v
        return int(self._codes(current, feedback)[0])

    def read_lines(self, lines: Lines) -> npt.NDArray[np.uint16]:
        """The 64 ADC channels of a CFG_REG read: sums over the cells between driven and sensed lines."""
        columns = np.flatnonzero(self._conducting(lines))
        current = np.zeros(64)
        sensed_rows = np.flatnonzero(lines.bl_switch == Switch.TIA)
        driven = columns[lines.sl_switch[columns] == Switch.DAC]
        if sensed_rows.size and driven.size:
            volts = lines.sl_code[driven] * (scaling.SUPPLY_V / scaling.VOLT_CODE_MAX)
            np.add.at(current, TIA_OF_BL[sensed_rows], self._block(lines.chip, sensed_rows, driven) @ volts)
        sensed_columns = columns[lines.sl_switch[columns] == Switch.TIA]
        driven_rows = np.flatnonzero(lines.bl_switch == Switch.DAC)
        if sensed_columns.size and driven_rows.size:
            volts = lines.bl_code[driven_rows] * (scaling.SUPPLY_V / scaling.VOLT_CODE_MAX)
            block = self._block(lines.chip, driven_rows, sensed_columns)
            np.add.at(current, TIA_OF_SL[sensed_columns], volts @ block)
        codes = np.empty(64, dtype=np.uint16)
        for feedback in range(4):
            chosen = lines.feedback == feedback
            codes[chosen] = self._codes(current[chosen], feedback)
        return codes

    def _block(self, chip: int, rows: IntArray, columns: IntArray) -> npt.NDArray[np.float64]:
        """Noisy conductances in uA per volt of a block, shape (rows, columns)."""
        cells = (chip - 1) * CELLS + rows[:, None] * COLUMNS + columns[None, :]
        current = self.read_cells_ua(cells.reshape(-1)).reshape(cells.shape)
        return current / self.preset.read_voltage_v

    @staticmethod
    def _conducting(lines: Lines) -> npt.NDArray[np.bool_]:
        threshold = scaling.volt_code(GATE_THRESHOLD_V)
        on: npt.NDArray[np.bool_] = (lines.wl_switch == Switch.DAC) & (lines.wl_code > threshold)
        return on

    def exposed(self, lines: Lines) -> list[tuple[int, float]]:
        """Cells that see a voltage, with V_BL - V_SL in volt, in order of their numbers.

        A cell sees it only if both of its lines are on ground or a converter and its gate is open.
        """
        unit = scaling.SUPPLY_V / scaling.VOLT_CODE_MAX
        found = []
        rows = np.flatnonzero(lines.bl_switch <= Switch.DAC)
        columns = np.flatnonzero(self._conducting(lines) & (lines.sl_switch <= Switch.DAC))
        v_bl = np.where(lines.bl_switch == Switch.DAC, lines.bl_code, 0)[rows] * unit
        v_sl = np.where(lines.sl_switch == Switch.DAC, lines.sl_code, 0)[columns] * unit
        difference = v_bl[:, None] - v_sl[None, :]
        for i, j in zip(*np.nonzero(np.abs(difference) > 1e-3), strict=True):
            found.append((self.cell(lines.chip, int(rows[i]), int(columns[j])), float(difference[i, j])))
        return found

    def apply(self, cells: list[int], volts: float, count: int = 1) -> None:
        """``count`` pulses of V_BL - V_SL = ``volts`` on cells that see the same voltage."""
        up = volts > 0
        pulse = self.preset.set_pulse if up else self.preset.reset_pulse
        strength = abs(volts) / pulse.voltage_v
        if strength < WEAK_PULSE:
            return
        chosen = np.asarray(cells)
        for _ in range(count):
            if strength >= FULL_PULSE:
                self.cells.pulse(chosen, up, self._rng)
            else:
                self.cells.small_pulse(chosen, np.full(chosen.size, up), self._spare)
            self.pulses[chosen] += 1
        self._wear_out(chosen)

    def write_verify(
        self,
        cells: IntArray,
        targets: IntArray,
        tolerance: tuple[int, int],
        max_pulses: int,
        checks: int,
        check_threshold: int,
    ) -> npt.NDArray[np.float64]:
        """Program cells by the simulated board's write-verify; returns a last noisy reading of each in uA.

        Args:
            cells: cell numbers.
            targets: their targets as ADC codes.
            tolerance: allowed below and above the target, as ADC codes.
            max_pulses: pulses a cell at most.
            checks: reads after the rest.
            check_threshold: reads that must pass.
        """
        low, high = (self._tolerance_ua(code) for code in tolerance)
        settings = dataclasses.replace(
            self.preset.write_verify,
            tolerance_ua=max((low + high) / 2, 1e-6),
            max_pulses=max(1, max_pulses),
            checks=max(1, checks),
            check_threshold=min(check_threshold, max(1, checks)),
        )
        unit = self.preset.periphery.adc_full_scale_ua / ADC_MAX
        centre = np.maximum(targets * unit + (high - low) / 2, 0.0)
        self.cells.preset = dataclasses.replace(self.preset, write_verify=settings)
        try:
            costs = programming.write_verify(self.cells, cells, centre, self._rng)
        finally:
            self.cells.preset = self.preset
        self.map_pulses[cells] += costs.pulses
        self._wear_out(cells)
        return self.read_cells_ua(cells)

    def _tolerance_ua(self, code: int) -> float:
        """The preset's own tolerance where its code was sent (rounding lost it), otherwise the code's current."""
        nominal = self.preset.write_verify.tolerance_ua
        return nominal if code == scaling.current_code(nominal) else scaling.code_current(code)

    def disturb(self, lines: Lines, sd_ua: float) -> None:
        """Crosstalk of a table-driven RESET: cells of driven columns on floating BLs move a little."""
        columns = np.flatnonzero(self._conducting(lines) & (lines.sl_switch == Switch.DAC))
        rows = np.flatnonzero(lines.bl_switch == Switch.FLOAT)
        cells = ((lines.chip - 1) * CELLS + rows[:, None] * COLUMNS + columns[None, :]).reshape(-1)
        healthy = cells[self.cells.stuck[cells] == 0]
        moved = self.cells.state_ua[healthy] - np.abs(self._spare.normal(0.0, sd_ua, healthy.size))
        self.cells.move(healthy, np.clip(moved, self.cells.low_ua[healthy], self.cells.high_ua[healthy]))

    def _wear_out(self, cells: IntArray) -> None:
        wear = self.pulses[cells] + self.map_pulses[cells]
        if wear.size and int(wear.max()) > self.preset.wear.endurance:
            self.cells.wear_out(cells, wear, self._rng)
