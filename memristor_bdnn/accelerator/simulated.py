"""Simulated chips behind the accelerator protocol: the only place where the physics meets the learners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import FloatArray, WriteVerifyReport
from memristor_bdnn.config import build, check, option
from memristor_bdnn.crossbar import programming
from memristor_bdnn.crossbar.adc import quantise
from memristor_bdnn.crossbar.cells import CellArray
from memristor_bdnn.crossbar.ledger import Ledger
from memristor_bdnn.crossbar.placement import Placement
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import pack_json, pack_rng, restore_rng, unpack_json

_CACHED_RANGES = 4096
"""Ranges of cells whose access counts are remembered."""


@dataclass(frozen=True)
class SimulatedConfig:
    """What of the physics is switched on."""

    adc: bool = option(False, "quantise reads as the board's converter does")
    read_noise_factor: float = option(
        1.0, "multiplies the read noise (studies; 1 is the measured noise)", low=0, high=100
    )

    def __post_init__(self) -> None:
        check(self)


class SimulatedAccelerator:
    """Chips of simulated cells; implements :class:`memristor_bdnn.accelerator.protocol.Accelerator`.

    The same preset, seed and sequence of operations give the same results bit for bit.
    """

    name = "simulated"

    def __init__(self, preset: DevicePreset, seed: int = 0, config: SimulatedConfig | None = None) -> None:
        """Fabricate all chips of the preset from ``seed``; nothing is allocated yet."""
        self.preset = preset
        self.config = SimulatedConfig() if config is None else config
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise ConfigError(f"seed {seed!r}: expected a whole number, not negative")
        self.seed = int(seed)
        self.placement = Placement.of(preset)
        self.capacity = self.placement.capacity
        self.n_cells = 0
        self.ledger = Ledger(preset)
        fabrication, operation = np.random.SeedSequence(self.seed).spawn(2)
        self._rng = np.random.Generator(np.random.PCG64(operation))
        self.cells = CellArray(preset, self.capacity, np.random.default_rng(fabrication), self.config.read_noise_factor)
        self._current_sum_ua: dict[tuple[int, int], float] = {}
        self._accesses: dict[tuple[int, int], int] = {}

    def allocate(self, n_cells: int) -> None:
        """Reserve cells 0..n_cells-1; see the protocol. Raises CapacityError naming the cells missing."""
        if n_cells < 1:
            raise ConfigError(f"allocate({n_cells}): at least one cell")
        self.placement.require(n_cells)
        self.n_cells = int(n_cells)
        self.ledger.allocate(self.n_cells)

    def read(self, samples: int = 1, cells: slice | None = None) -> FloatArray:
        """Noisy currents in microampere, shape (samples, cells), float32; see the protocol."""
        start, stop = self._range(cells)
        if samples < 1:
            raise ConfigError(f"read(samples={samples}): at least one")
        reads = self._converted(self.cells.read(start, stop, samples, self._rng))
        key = (start, stop)
        if key not in self._accesses:
            if len(self._accesses) >= _CACHED_RANGES:
                self._accesses.clear()
                self._current_sum_ua.clear()
            self._accesses[key] = self.placement.accesses(start, stop)
        if key not in self._current_sum_ua:
            self._current_sum_ua[key] = float(self.cells.state_ua[start:stop].sum(dtype=np.float64))
        self.ledger.count_reads(stop - start, self._current_sum_ua[key], self._accesses[key], samples)
        return reads

    def pulse(self, direction: npt.NDArray[np.int8]) -> None:
        """Single pulses, +1 SET, -1 RESET, 0 none, shape (n_cells,); see the protocol."""
        self._range(None)
        direction = np.asarray(direction)
        if direction.shape != (self.n_cells,):
            raise ConfigError(f"pulse: expected shape ({self.n_cells},), got {direction.shape}")
        if direction.dtype.kind not in "iu" or direction.min() < -1 or direction.max() > 1:
            bad = np.setdiff1d(direction, [-1, 0, 1]) if direction.dtype.kind in "iu" else [direction.dtype.name]
            raise ConfigError(f"pulse: direction {bad[0]!r} is not one of +1 (SET), -1 (RESET), 0 (none)")
        self.ledger.count_pulses(*self.cells.pulse_masked(direction, self._rng))
        self._current_sum_ua.clear()
        given = direction != 0
        pulses = 1 if given.all() else given
        if self.ledger.add_wear(slice(0, self.n_cells), pulses) > self.preset.wear.endurance:
            cells = np.flatnonzero(direction)
            self.cells.wear_out(cells, self.ledger.wear[cells], self._rng)

    def write_verify(self, target_ua: FloatArray, mask: npt.NDArray[np.bool_] | None = None) -> WriteVerifyReport:
        """Closed-loop programming by the preset's method; see the protocol."""
        cells, target = self._targets(target_ua, mask)
        pulses = 0
        for job in self._jobs(cells.size, whole=mask is None):
            costs = programming.write_verify(self.cells, cells[job], self._written(target[job]), self._rng)
            self.ledger.count_pulses(
                int(costs.set_pulses.sum()),
                costs.set_current_ua,
                int(costs.reset_pulses.sum()),
                costs.reset_current_ua,
            )
            self.ledger.count_verify_reads(costs.verify_reads, costs.verify_current_ua)
            self.ledger.add_latency(costs.rests * self.preset.write_verify.rest_s)
            self._wear(cells[job], costs.pulses)
            pulses += int(costs.pulses.sum())
        error = self._converted(self.cells.read_cells(cells, 1, self._rng))[0] - target
        self.ledger.count_verify_reads(cells.size, float(self.cells.state_ua[cells].sum(dtype=np.float64)))
        within = np.abs(error) <= self.preset.write_verify.tolerance_ua
        return WriteVerifyReport(
            cells=cells.size,
            within_tolerance=int(within.sum()),
            pulses=pulses,
            mean_error_ua=float(error.mean()) if cells.size else 0.0,
            sd_error_ua=float(error.std()) if cells.size else 0.0,
        )

    def program(self, target_ua: FloatArray, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """One RESET and one SET aimed at the target by its gate voltage, unverified; see the protocol."""
        cells, target = self._targets(target_ua, mask)
        gate = self.preset.blind_target_ua(target)
        before = float(self.cells.state_ua[cells].sum(dtype=np.float64))
        self.cells.blind_write(cells, gate, self._rng)
        after = float(self.cells.state_ua[cells].sum(dtype=np.float64))
        self.ledger.count_pulses(cells.size, after, cells.size, before)
        self._wear(cells, 2)

    def wait(self, seconds: float) -> None:
        """Let time pass on the shelf: the allocated cells drift as the preset's retention says."""
        self.cells.wait(slice(0, self.n_cells), seconds)
        self._current_sum_ua.clear()

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Cells, generator and ledger: all that is needed to go on bit-identically."""
        state = {f"cells.{key}": value for key, value in self.cells.state_dict().items()}
        state.update({f"ledger.{key}": value for key, value in self.ledger.state_dict().items()})
        state["rng"] = pack_rng(self._rng)
        state["identity"] = pack_json(
            {"accelerator": self.name, "preset": self.preset.to_dict(), "n_cells": self.n_cells}
        )
        return state

    def load_state_dict(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Restore :meth:`state_dict`; all or nothing. Raises ConfigError when it is of another preset or damaged."""
        missing = [key for key in ("identity", "rng") if key not in state]
        if missing:
            raise ConfigError(f"no state of a simulated accelerator: {', '.join(missing)} missing")
        n_cells = self._recognise(unpack_json(state["identity"]))
        ledger, rng = Ledger(self.preset), np.random.Generator(np.random.PCG64(0))
        ledger.load_state_dict(_section(state, "ledger."))
        restore_rng(rng, state["rng"])
        if ledger.wear.size != n_cells:
            raise ConfigError(f"damaged ledger state: wear of {ledger.wear.size} cells, {n_cells} are allocated")
        self.cells.load_state_dict(_section(state, "cells."))
        self.ledger.load_state_dict(_section(state, "ledger."))
        self._rng, self.n_cells = rng, n_cells
        self._current_sum_ua.clear()

    def _recognise(self, identity: Any) -> int:
        """Number of allocated cells in a saved state of these chips; raises ConfigError for others."""
        if not isinstance(identity, dict) or not {"preset", "n_cells"} <= identity.keys():
            raise ConfigError("damaged state of a simulated accelerator: its identity has no preset or n_cells")
        preset, n_cells = identity["preset"], identity["n_cells"]
        if preset != self.preset.to_dict():
            name = preset.get("name") if isinstance(preset, dict) else preset
            raise ConfigError(
                f"the state was saved with preset {name!r} and does not fit this accelerator's {self.preset.name!r};"
                " load it with the same preset"
            )
        if not isinstance(n_cells, int) or not 0 <= n_cells <= self.capacity:
            raise ConfigError(f"damaged state: n_cells = {n_cells!r}, allowed 0..{self.capacity}")
        return n_cells

    def close(self) -> None:
        """Nothing to release."""

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

    def _range(self, cells: slice | None) -> tuple[int, int]:
        if self.n_cells == 0:
            raise ConfigError("no cells allocated: call allocate(n_cells) first")
        if cells is None:
            return 0, self.n_cells
        start, stop, step = cells.indices(self.n_cells)
        if step != 1:
            raise ConfigError(f"read(cells={cells}): only contiguous ranges (step 1)")
        return start, max(start, stop)

    def _targets(
        self, target_ua: FloatArray, mask: npt.NDArray[np.bool_] | None
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[Any]]:
        """Numbers of the selected cells and their targets, checked."""
        self._range(None)
        target = np.asarray(target_ua)
        if target.shape != (self.n_cells,):
            raise ConfigError(f"target_ua: expected shape ({self.n_cells},), got {target.shape}")
        if mask is not None and np.asarray(mask).shape != (self.n_cells,):
            raise ConfigError(f"mask: expected shape ({self.n_cells},), got {np.asarray(mask).shape}")
        cells = np.arange(self.n_cells) if mask is None else np.flatnonzero(mask)
        bad = np.flatnonzero(~(np.isfinite(target[cells]) & (target[cells] >= 0)))
        if bad.size:
            first = cells[bad[0]]
            raise ConfigError(f"target_ua[{first}] = {target[first]!r}: expected a finite current in uA, not negative")
        return cells, target[cells]

    def _wear(self, cells: npt.NDArray[np.intp], pulses: int | npt.NDArray[np.int64]) -> None:
        self._current_sum_ua.clear()
        if cells.size == 0:
            return
        if self.ledger.add_wear(cells, pulses) > self.preset.wear.endurance:
            self.cells.wear_out(cells, self.ledger.wear[cells], self._rng)


def create(preset: DevicePreset, seed: int, options: Mapping[str, Any]) -> SimulatedAccelerator:
    """Make one from option values; used by :func:`memristor_bdnn.accelerator.create`."""
    return SimulatedAccelerator(preset, seed, build(SimulatedConfig, options))


def _section(state: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
