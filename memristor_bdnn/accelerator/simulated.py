"""Simulated chips behind the accelerator protocol: the only place where the physics meets the learners."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.base import Arrays, BaseAccelerator, IntArray, Work
from memristor_bdnn.accelerator.protocol import FloatArray
from memristor_bdnn.config import check, option
from memristor_bdnn.crossbar import programming
from memristor_bdnn.crossbar.adc import quantise
from memristor_bdnn.crossbar.cells import CellArray
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError

_CACHED_RANGES = 4096
"""Ranges of cells whose sums of currents are remembered."""


@dataclass(frozen=True)
class SimulatedConfig:
    """What of the physics is switched on."""

    adc: bool = option(False, "quantise reads as the board's converter does")
    read_noise_factor: float = option(
        1.0, "multiplies the read noise (studies; 1 is the measured noise)", low=0, high=100
    )

    def __post_init__(self) -> None:
        check(self)


class SimulatedAccelerator(BaseAccelerator):
    """Chips of simulated cells: noise, stochastic pulses, write-verify, faults, drift and wear of a device preset.

    The same preset, seed and sequence of operations give the same results bit for bit.
    """

    config_type = SimulatedConfig
    name = "simulated"
    judged = tuple(f"cells.{name}" for name in (*CellArray.SAVED, *CellArray.SAVED_IF_DISTURBED))
    _rng: np.random.Generator

    def __init__(self, preset: DevicePreset, seed: int = 0, config: SimulatedConfig | None = None) -> None:
        """Fabricate all chips of the preset from ``seed``; nothing is allocated yet."""
        super().__init__(preset, seed, config)
        fabrication, operation = np.random.SeedSequence(self.seed).spawn(2)
        self._rng = np.random.Generator(np.random.PCG64(operation))
        self.cells = CellArray(preset, self.capacity, np.random.default_rng(fabrication), self.config.read_noise_factor)
        self._sums_ua: dict[tuple[int, int], float] = {}

    def wait(self, seconds: float, reads: int = 0) -> None:
        """Let time pass: the allocated cells drift, and are disturbed by reads, as the preset's retention says.

        Args:
            seconds: how long.
            reads: of every allocated cell meanwhile; they are counted, and nobody looks at them.

        Raises:
            ConfigError: negative or non-finite time, or reads that are no whole number or negative.
        """
        if not isinstance(reads, int | np.integer) or reads < 0:
            raise ConfigError(f"wait(reads={reads!r}): expected a whole number, not negative")
        self.cells.wait(slice(0, self.n_cells), seconds)
        self._sums_ua.clear()
        if reads:
            start, stop = self._range(None)
            current = float(self.cells.state_ua[start:stop].sum(dtype=np.float64))
            self.ledger.count_reads(stop - start, current, self._accesses(start, stop), int(reads))
            self.cells.disturb(slice(start, stop), int(reads))

    def known_currents_ua(self) -> FloatArray:
        """What reads of the allocated cells scatter about, (n_cells,) microampere; nothing is read for it."""
        return np.array(self.cells.state_ua[: self.n_cells])

    def _read(self, start: int, stop: int, samples: int) -> FloatArray:
        if self.cells.disturbed:
            self._sums_ua.clear()
        return self._converted(self.cells.read(start, stop, samples, self._rng))

    def _current_sum_ua(self, start: int, stop: int, reads: FloatArray) -> float:
        """Sum of the states: what the reads scatter about."""
        key = (start, stop)
        if key not in self._sums_ua:
            if len(self._sums_ua) >= _CACHED_RANGES:
                self._sums_ua.clear()
            self._sums_ua[key] = float(self.cells.state_ua[start:stop].sum(dtype=np.float64))
        return self._sums_ua[key]

    def _pulse(self, direction: npt.NDArray[np.int8]) -> None:
        given = direction != 0
        self._sums_ua.clear()
        if 4 * int(np.count_nonzero(given)) < direction.size:
            cells = np.flatnonzero(given)
            work = Work(*self.cells.pulse_few(cells, direction[cells], self._rng))
            worn = self._book(work, cells, 1)
        else:
            work = Work(*self.cells.pulse_masked(direction, self._rng))
            every = work.set_pulses + work.reset_pulses == direction.size
            worn = self._book(work, pulses=1 if every else given)
        if worn:
            self._wear_out(np.flatnonzero(given))

    def _write_verify(self, cells: IntArray, target_ua: FloatArray) -> FloatArray:
        """By the preset's method, job by job; cells that are worn out fail before the next job begins."""
        for job in self._jobs(cells.size, whole=cells.size == self.n_cells):
            costs = programming.write_verify(self.cells, cells[job], self._written(target_ua[job]), self._rng)
            work = Work(
                set_pulses=int(costs.set_pulses.sum()),
                set_current_ua=costs.set_current_ua,
                reset_pulses=int(costs.reset_pulses.sum()),
                reset_current_ua=costs.reset_current_ua,
                verify_reads=costs.verify_reads,
                verify_current_ua=costs.verify_current_ua,
                rest_s=costs.rests * self.preset.write_verify.rest_s,
            )
            if self._book(work, cells[job], costs.pulses):
                self._wear_out(cells[job])
        self._sums_ua.clear()
        read = self._converted(self.cells.read_cells(cells, 1, self._rng))[0]
        current = float(self.cells.state_ua[cells].sum(dtype=np.float64))
        self._book(Work(verify_reads=cells.size, verify_current_ua=current), cells)
        return read

    def _program(self, cells: IntArray, target_ua: FloatArray) -> None:
        """SET aimed at the target by its gate voltage, unverified; a RESET before it where the cell does not rise."""
        costs = programming.blind_write(self.cells, cells, self.preset.blind_target_ua(target_ua), self._rng)
        self._sums_ua.clear()
        resets = int(costs.reset_pulses.sum())
        work = Work(cells.size, costs.set_current_ua, resets, costs.reset_current_ua)
        if self._book(work, cells, costs.pulses):
            self._wear_out(cells)

    def _state(self) -> Arrays:
        return {f"cells.{key}": value for key, value in self.cells.state_dict().items()}

    def _restore(self, arrays: Arrays, n_cells: int) -> None:
        prefix = "cells."
        self.cells.load_state_dict({k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)})
        self._sums_ua.clear()

    def _wear_out(self, cells: IntArray) -> None:
        """Let some of these cells fail, by how many pulses they have had."""
        self.cells.wear_out(cells, self.ledger.wear[cells], self._rng)

    def _jobs(self, n: int, whole: bool) -> list[slice]:
        """Cells programmed together: all; with the converter on a whole deployment goes by 32 rows, as on the board."""
        if not (self.config.adc and whole):
            return [slice(0, n)]
        columns = self.placement.columns
        edges = sorted({*range(0, n, 32 * columns), n - n % columns, n})
        return [slice(start, stop) for start, stop in pairwise(edges)]

    def _written(self, target: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Targets as the board gets them: in its converter's codes when that is on."""
        return self._converted(target.astype(np.float64)) if self.config.adc else target

    def _converted(self, currents_ua: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Currents through the converter when that is on, in place."""
        if self.config.adc:
            quantise(currents_ua, self.preset.periphery.adc_bits, self.preset.periphery.adc_full_scale_ua)
        return currents_ua
