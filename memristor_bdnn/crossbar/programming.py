"""Programming of cells: write-verify by small pulses, memorial programming by gate voltage, and blind writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.crossbar.cells import HEALTHY, CellArray

IntArray = npt.NDArray[np.integer[Any]]


@dataclass
class ProgrammingCosts:
    """What a closed-loop programming run did; sums over cells unless an array.

    Attributes:
        set_pulses: shape (cells,), SET pulses of each cell.
        reset_pulses: shape (cells,), RESET pulses of each cell.
        set_current_ua: sum of read currents at which SET pulses were given.
        reset_current_ua: the same for RESET pulses.
        verify_reads: reads given.
        verify_current_ua: sum of the read currents.
        rests: rests taken, summed over cells.
        failed: shape (cells,), True where the pulses ran out.
    """

    set_pulses: npt.NDArray[np.int64]
    reset_pulses: npt.NDArray[np.int64]
    failed: npt.NDArray[np.bool_]
    set_current_ua: float = 0.0
    reset_current_ua: float = 0.0
    verify_reads: int = 0
    verify_current_ua: float = 0.0
    rests: int = 0

    @property
    def pulses(self) -> npt.NDArray[np.int64]:
        """Pulses of each cell, shape (cells,)."""
        return self.set_pulses + self.reset_pulses


def write_verify(
    array: CellArray, cells: IntArray, target_ua: npt.NDArray[Any], rng: np.random.Generator
) -> ProgrammingCosts:
    """Program cells to targets and verify, by the preset's method; relaxation follows for all.

    Args:
        array: the cells.
        cells: numbers of the cells, shape (n,), no repetitions.
        target_ua: wanted currents, shape (n,).
        rng: all randomness.

    Returns:
        What was done. A cell that fails keeps the last state it was pulsed to.
    """
    run = _Run(array, cells, np.asarray(target_ua, dtype=np.float32), rng)
    approach = _approach_small_pulses if array.preset.write_verify.method == "incremental" else _approach_gate
    waiting = run.without_hopeless(np.arange(cells.size))
    while waiting.size:
        approach(run, waiting)
        waiting = waiting[~run.costs.failed[waiting]]
        waiting = waiting[~run.check(waiting)]
    array.relax(cells, rng)
    return run.costs


def blind_write(
    array: CellArray, cells: IntArray, gate_ua: npt.NDArray[Any], rng: np.random.Generator
) -> ProgrammingCosts:
    """One unverified write of each cell through its gate voltage: SET alone where the state rises, else RESET first.

    A SET at a higher gate voltage than the last one lifts the cell without a RESET; only the way down needs it
    (the rule of the gate-voltage updates of Nat. Electron. 2, 115 (2019)). Where no write by gate is remembered, the
    present state tells which way it goes; a cell that single pulses have put far above its target is RESET as well.

    Args:
        array: the cells.
        cells: their numbers, shape (n,), no repetitions.
        gate_ua: gate voltages as the median currents that they aim at on a nominal device, shape (n,).
        rng: one normal deviate a cell.

    Returns:
        Pulses and the currents at which they were given; nothing is read and nothing fails.
    """
    gate, before = np.asarray(gate_ua), array.state_ua[cells].astype(np.float64)
    remembered, median = array.gate_ua[cells], gate * array.factor[cells]
    # compared as it is remembered: the same gate voltage again does not rise
    rises = gate.astype(np.float32) > np.where(np.isfinite(remembered), remembered, before)
    rises &= before <= median + _SCATTER * array.preset.blind_sd_ua(median)
    array.blind_write(cells, gate, rng)
    array.gate_ua[cells] = gate
    after = array.state_ua[cells].sum(dtype=np.float64)
    return ProgrammingCosts(
        set_pulses=np.ones(cells.size, np.int64),
        reset_pulses=(~rises).astype(np.int64),
        failed=np.zeros(cells.size, np.bool_),
        set_current_ua=float(after),
        reset_current_ua=float(before[~rises].sum()),
    )


_SCATTER = 6.0
"""SDs of a blind write above its median within which a cell may stand by chance."""


class _Run:
    """The state of one programming run; ``index`` arguments number the cells of the run from 0."""

    def __init__(self, array: CellArray, cells: IntArray, target: npt.NDArray[Any], rng: np.random.Generator) -> None:
        self.array, self.cells, self.target, self.rng = array, cells, target, rng
        self.config = array.preset.write_verify
        n = cells.size
        self.costs = ProgrammingCosts(np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.bool_))

    def read(self, index: IntArray, samples: int = 1) -> npt.NDArray[Any]:
        """Verify reads of some cells, shape (samples, len(index))."""
        reads = self.array.read_cells(self.cells[index], samples, self.rng)
        self.costs.verify_reads += reads.size
        self.costs.verify_current_ua += float(reads.sum(dtype=np.float64))
        return reads

    def check(self, index: IntArray) -> npt.NDArray[np.bool_]:
        """Rest, read repeatedly, and say for each cell whether enough of its reads pass."""
        if index.size == 0:
            return np.zeros(0, np.bool_)
        self.costs.rests += index.size
        error = np.abs(self.read(index, self.config.checks) - self.target[index])
        passed: npt.NDArray[np.bool_] = (error <= self.config.tolerance_ua).sum(axis=0) >= self.config.check_threshold
        return passed

    def count(self, index: IntArray, up: npt.NDArray[np.bool_]) -> None:
        """Count one pulse on each cell, before it is given."""
        state, down = self.array.state_ua[self.cells[index]], ~up
        self.costs.set_pulses[index] += up
        self.costs.reset_pulses[index] += down
        self.costs.set_current_ua += float(state[up].sum(dtype=np.float64))
        self.costs.reset_current_ua += float(state[down].sum(dtype=np.float64))

    def without_hopeless(self, index: IntArray) -> IntArray:
        """Book the whole allowance of pulses on stuck cells that no read could pass; return the others.

        The loop below would do just that, one pulse at a time.
        """
        array, cells = self.array, self.cells[index]
        state, target = array.state_ua[cells], self.target[index]
        distance = np.abs(state - target) - 16 * array.noise_ua(cells)
        hopeless = (array.stuck[cells] != HEALTHY) & (distance > self.config.tolerance_ua)
        lost, budget = index[hopeless], self.config.max_pulses
        if lost.size == 0:
            return index
        current, low = state[hopeless].astype(np.float64), state[hopeless] < target[hopeless]
        costs = self.costs
        if self.config.method == "memorial":
            sets = resets = np.full(lost.size, budget // 2)
        else:
            sets, resets = np.where(low, budget, 0), np.where(low, 0, budget)
        costs.set_pulses[lost], costs.reset_pulses[lost] = sets, resets
        costs.set_current_ua += float((sets * current).sum())
        costs.reset_current_ua += float((resets * current).sum())
        reads = budget // 2 if self.config.method == "memorial" else budget + 1
        costs.verify_reads += reads * lost.size
        costs.verify_current_ua += float(reads * current.sum())
        costs.failed[lost] = True
        return index[~hopeless]

    def drop_exhausted(self, index: IntArray, cost: int) -> IntArray:
        """Mark cells that cannot pay for ``cost`` more pulses as failed; return the others."""
        broke = self.costs.set_pulses[index] + self.costs.reset_pulses[index] + cost > self.config.max_pulses
        if not broke.any():
            return index
        self.costs.failed[index[broke]] = True
        return index[~broke]


def _approach_small_pulses(run: _Run, index: IntArray) -> None:
    """Small pulses towards the target until one read is within the tolerance."""
    tolerance = run.config.tolerance_ua
    while index.size:
        error = run.read(index)[0] - run.target[index]
        far = np.abs(error) > tolerance
        index, error = index[far], error[far]
        kept = run.drop_exhausted(index, 1)
        if kept is not index:
            error = error[~run.costs.failed[index]]
        index, up = kept, error < 0
        if index.size:
            run.count(index, up)
            run.array.small_pulse(run.cells[index], up, run.rng)


def _approach_gate(run: _Run, index: IntArray) -> None:
    """RESET and SET at a gate voltage; the first time by bisection, later from the cell's remembered voltage.

    Gate voltages are expressed as the median current they aim at on a nominal device. A remembered cell starts
    at (target x remembered median / its former target), which is its own device's factor undone.
    """
    array, tolerance = run.array, run.config.tolerance_ua
    reach = array.preset.blind_write.target_ua
    low = np.full(index.size, reach[0], np.float32)
    high = np.full(index.size, reach[1], np.float32)
    remembered = array.gate_ua[run.cells[index]]
    known = np.isfinite(remembered)
    gate = np.where(known, np.clip(remembered, *reach), 0.5 * (low + high)).astype(np.float32)
    # A remembered gate belongs to the state the cell has now: move it by what the target has moved.
    if known.any():
        present = run.read(index[known])[0]
        gate[known] = np.clip(gate[known] + run.target[index[known]] - present, *reach)
    while index.size:
        kept = run.drop_exhausted(index, 2)
        alive = ~run.costs.failed[index]
        index, gate, low, high, known = kept, gate[alive], low[alive], high[alive], known[alive]
        if index.size == 0:
            return
        cells = run.cells[index]
        run.count(index, np.zeros(index.size, np.bool_))
        run.count(index, np.ones(index.size, np.bool_))
        array.blind_write(cells, gate, run.rng)
        array.gate_ua[cells] = gate
        error = run.read(index)[0] - run.target[index]
        far = np.abs(error) > tolerance
        index, gate, low, high, known, error = (a[far] for a in (index, gate, low, high, known, error))
        low, high = np.where(error < 0, gate, low), np.where(error < 0, high, gate)
        searching = ~known & (high - low > 4 * tolerance)
        corrected = np.clip(gate - 0.5 * error, *reach)
        gate = np.where(searching, 0.5 * (low + high), corrected).astype(np.float32)
