"""Write-verify on the emulated board: map jobs with progress and abort, target pulses, APPLY_OP, their logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.wire.commands import PROGRESS_DONE, Dialect, ErrorCode, word_values
from memristor_bdnn.accelerator.escim.wire.layouts import (
    Block,
    Ladder,
    LayoutError,
    MapArray,
    MapFlow,
    Operation,
    TargetPulses,
)
from memristor_bdnn.accelerator.escim.wire.scaling import (
    CELLS,
    COLUMNS,
    ROWS,
    code_current,
    code_volt,
    current_codes,
)
from memristor_bdnn.emulator.chips import EmulatedChips
from memristor_bdnn.errors import ConfigError

_ROWS_AT_A_TIME = 32
_LOG_WORDS = 1_000_000
_MAX_WORD = 10_000


class Refusal(Exception):
    """A request is answered with an error code."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


class PowerCut(Exception):
    """The board lost its power in the middle of a request: there is no answer."""


class LadderState:
    """A pair of voltage ladders as the firmware steps them: gate, and line (BL or SL)."""

    def __init__(self, wl: Ladder, line: Ladder, wl_first: bool) -> None:
        """Both start at their start voltages; ``wl_first`` steps the gate in the inner loop."""
        self.wl, self.line = wl.start, line.start
        self._wl, self._line, self._wl_first = wl, line, wl_first

    def step(self) -> None:
        """After a pulse: inner ladder up; at its end back to its start and the outer one up."""
        if self._wl_first:
            self.wl, self.line = self._advance(self.wl, self._wl, self.line, self._line)
        else:
            self.line, self.wl = self._advance(self.line, self._line, self.wl, self._wl)

    @staticmethod
    def _advance(inner: int, inner_ladder: Ladder, outer: int, outer_ladder: Ladder) -> tuple[int, int]:
        inner += inner_ladder.step
        if inner >= inner_ladder.end:
            outer += outer_ladder.step
            inner = inner_ladder.start
            if outer > outer_ladder.end:
                return inner_ladder.end, outer_ladder.end
        return inner, outer


class MapJobs:
    """One job at a time; progress in cells, 0xFFFF when finished, as the firmware reports it."""

    def __init__(
        self,
        chips: EmulatedChips,
        lock: threading.RLock,  # type: ignore[valid-type]
        dialect: Dialect,
        blocking: bool,
        spend: Callable[[float], None],
    ) -> None:
        """Jobs on these chips; ``lock`` guards the cells, ``spend`` waits where timing is emulated."""
        self.chips, self.lock, self.dialect, self.blocking, self._spend = chips, lock, dialect, blocking, spend
        self._busy = threading.Lock()
        self._abort = threading.Event()
        self._thread: threading.Thread | None = None
        self.power_cycles = 0
        self.power_up()

    def power_up(self) -> None:
        """End a job that runs, forget logs and results."""
        self.power_cycles += 1
        self.overruns = 0
        """Results that the published firmware would have written outside of its array (SET_TARGET, RESET_TARGET)."""
        self.progress = 0
        self.result: npt.NDArray[np.uint32] = np.zeros(CELLS, dtype="<u4")
        self.log: list[int] = []
        self.records: list[list[int]] = []

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self._busy.locked()

    def map_array(self, payload: bytes) -> bytes:
        """MAP_ARRAY; blocks until done if so configured."""
        job = MapArray.parse(payload)
        self._check_chip(job.block.chip)
        tolerance = (job.tolerance_low, job.tolerance_high)
        self._start(
            job.block,
            job.targets,
            tolerance,
            job.max_pulses,
            (job.max_checks, job.check_threshold),
            1e-6 * job.relax_us,
            self.blocking,
        )
        return b""

    def map_flow(self, payload: bytes, selected_chip: int) -> bytes:
        """MAP_FLOW; always in the background."""
        job = MapFlow.parse(payload, self.dialect)
        block = self._on_chip(job.block, selected_chip)
        if job.negative > 1:
            raise ConfigError(f"direction {job.negative}: 0 or 1")
        self._start(block, job.targets, (job.tolerance, job.tolerance), job.max_pulses, (1, 1), 0.0, False)
        return b""

    def abort(self) -> bool:
        """Ask the job to stop and wait as the board does; False if it still runs after 2 s."""
        self._abort.set()
        for _ in range(10):
            time.sleep(0.2)
            if not self.running:
                self._abort.clear()
                return True
        return False

    def wait(self) -> None:
        """Wait for a background job."""
        if self._thread is not None:
            self._thread.join()

    def _start(
        self,
        block: Block,
        targets: tuple[int, ...],
        tolerance: tuple[int, int],
        max_pulses: int,
        checks: tuple[int, int],
        relax_s: float,
        blocking: bool,
    ) -> None:
        if max(max_pulses, *checks) > _MAX_WORD or max(*targets[: block.cells], *tolerance) > 0xFFFF:
            raise ConfigError("more than 10000 pulses or checks, or a target beyond 16 bits")
        if not self._busy.acquire(blocking=False):
            raise Refusal(ErrorCode.MAP_BUSY)
        self._abort.clear()
        cycle = self.power_cycles
        if blocking:
            self._run(block, targets, tolerance, max_pulses, checks, relax_s)
            if cycle != self.power_cycles:
                raise PowerCut
            return
        arguments = (block, targets, tolerance, max_pulses, checks, relax_s)
        self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
        self._thread.start()

    def _run(
        self,
        block: Block,
        targets: tuple[int, ...],
        tolerance: tuple[int, int],
        max_pulses: int,
        checks: tuple[int, int],
        relax_s: float,
    ) -> None:
        cycle = self.power_cycles
        try:
            self.progress, self.records = 0, []
            cells = self._cells(block)
            wanted = np.array(targets[: block.cells])
            step = _ROWS_AT_A_TIME * block.n_sl
            for start in range(0, block.cells, step):
                if self._abort.is_set() or cycle != self.power_cycles:
                    return
                part = slice(start, min(start + step, block.cells))
                with self.lock:
                    before = self.chips.map_pulses[cells[part]].copy()
                    last = self.chips.write_verify(cells[part], wanted[part], tolerance, max_pulses, *checks)
                    self._keep(cells[part], targets[part], last, self.chips.map_pulses[cells[part]] - before)
                self._tell(part.stop, cycle)
                self._spend(relax_s * (part.stop - part.start))
            self._tell(PROGRESS_DONE, cycle)
        finally:
            self._busy.release()

    def _tell(self, progress: int, cycle: int) -> None:
        """Keep the progress, unless the power was off since the job began."""
        if cycle == self.power_cycles:
            self.progress = progress

    def _keep(
        self,
        cells: npt.NDArray[np.int64],
        targets: tuple[int, ...],
        last: npt.NDArray[np.float64],
        pulses: npt.NDArray[np.int64],
    ) -> None:
        codes = np.clip(current_codes(np.clip(last, 0, 20)), 0, None)
        within = cells % CELLS
        self.result[within % COLUMNS * ROWS + within // COLUMNS] = codes
        for cell, target, code, count in zip(within.tolist(), targets, codes.tolist(), pulses.tolist(), strict=True):
            self.records.append([cell // COLUMNS, cell % COLUMNS, target, code, count])

    def target_pulses(self, reset: bool, payload: bytes, selected_chip: int) -> bytes:
        """SET_TARGET / RESET_TARGET: conditional pulses, cell by cell.

        As in the published firmware a block is compared with its first target; the result buffer comes back.
        """
        job = TargetPulses.parse(reset, payload, self.dialect)
        block = self._on_chip(job.block, selected_chip)
        if job.max_pulses > _MAX_WORD or job.negative > 1 or job.wl_first > 1:
            raise ConfigError("number of pulses, direction or increment order out of range")
        self._check_ladders(job.wl, job.line)
        target = code_current(job.targets[0])
        with self.lock:
            for cell in self._cells(block).tolist():
                ladder = LadderState(job.wl, job.line, bool(job.wl_first))
                self._pulse_to(cell, reset, target, job.max_pulses, ladder)
        return self.result.tobytes()

    def _pulse_to(self, cell: int, reset: bool, target_ua: float, max_pulses: int, ladder: LadderState) -> None:
        self.log = [0]
        for number in range(max_pulses):
            reading = self.chips.read_code(cell, self.chips.preset.read_voltage_v)
            current = code_current(reading)
            self.log.append(reading)
            self._spend(200e-6)
            if current <= target_ua if reset else current >= target_ua:
                within = cell % CELLS
                self.result[within % COLUMNS * ROWS + within // COLUMNS] = reading
                self.overruns += self.dialect is Dialect.P and within // COLUMNS * ROWS + within % COLUMNS >= CELLS
                return
            self._one_pulse(cell, reset, ladder)
            self.log[0] = number + 1

    def _one_pulse(self, cell: int, reset: bool, ladder: LadderState) -> None:
        volts = code_volt(ladder.line)
        if code_volt(ladder.wl) > 0.7:
            self.chips.apply([cell], -volts if reset else volts)
        ladder.step()

    def apply_op(self, payload: bytes, selected_chip: int) -> bytes:
        """APPLY_OP: reads, pulses towards a target, or write-verify, with a log for OP_RESULT."""
        if len(payload) % 4 or len(payload) < 24:
            raise LayoutError(f"APPLY_OP payload of {len(payload)} bytes: at least 6 words")
        values = word_values(payload).tolist()
        operation = values[0]
        if operation not in tuple(Operation):
            raise ConfigError(f"APPLY_OP operation {operation}: 0 to 4")
        block = Block(selected_chip, *values[1:5])
        c = self.dialect is Dialect.C
        if operation == Operation.READ:
            self._log_reads(block, values[5])
        elif operation == Operation.MAP:
            self._apply_map(block, values, 34 if c else 27)
        elif c or operation == Operation.FORM:
            self._need(values, 20 if c else 15)
            self._apply_pulses(block, operation, values)
        return b""

    @staticmethod
    def _need(values: list[int], words: int) -> None:
        if len(values) < words:
            raise LayoutError(f"APPLY_OP with {len(values)} words: expected {words}")

    def _log_reads(self, block: Block, reads: int) -> None:
        if reads * block.cells > _LOG_WORDS:
            raise ConfigError(f"{reads} reads of {block.cells} cells do not fit the log")
        with self.lock:
            repeated = np.repeat(self._cells(block), reads)
            self.log = current_codes(np.clip(self.chips.read_cells_ua(repeated), 0, 20)).tolist()

    def _apply_pulses(self, block: Block, operation: int, values: list[int]) -> None:
        first = 9 if self.dialect is Dialect.C else 8
        wl, line = Ladder(*values[first : first + 3]), Ladder(*values[first + 3 : first + 6])
        self._check_ladders(wl, line)
        target, max_pulses = values[first + 6], values[6]
        if max_pulses > _MAX_WORD or target > 0xFFFF:
            raise ConfigError("number of pulses or target out of range")
        wl_first = bool(values[19]) if self.dialect is Dialect.C else False
        reset = operation == Operation.RESET
        records: list[list[int]] = []
        with self.lock:
            for cell in self._cells(block).tolist():
                ladder = LadderState(wl, line, wl_first)
                for number in range(max_pulses):
                    bl, sl = (0, ladder.line) if reset else (ladder.line, 0)
                    voltages = [bl, sl, ladder.wl]
                    self._one_pulse(cell, reset, ladder)
                    reading = self.chips.read_code(cell, self.chips.preset.read_voltage_v)
                    done = reading <= target if reset else reading >= target
                    within = cell % CELLS
                    records.append(
                        [operation, number, within // COLUMNS, within % COLUMNS, *voltages, reading, int(done)]
                    )
                    if done:
                        break
        self.log = [len(records), *(word for record in records for word in record)][:_LOG_WORDS]

    def _apply_map(self, block: Block, values: list[int], head: int) -> None:
        self._need(values, head + block.cells)
        high, low = (values[27], values[28]) if head == 34 else (values[26], values[26])
        targets = tuple(values[head : head + block.cells])
        self._start(block, targets, (low, high), values[6], (1, 1), 0.0, True)
        extra, level = (values[33], values[29]) if head == 34 else (9, 0)
        self._log_reads(block, min(extra, 100) + 1)
        if level == 2:
            # Single pulses of a map job are not followed here: one record for each cell's end.
            ends = [[Operation.MAP, 0, bl, sl, 0, 0, 0, code, 1] for bl, sl, _, code, _ in self.records]
            self.log = [len(ends), *(word for record in ends for word in record)][:_LOG_WORDS]

    @staticmethod
    def _check_ladders(*ladders: Ladder) -> None:
        for ladder in ladders:
            if max(ladder.start, ladder.step, ladder.end) > 0xFFFF:
                raise ConfigError(f"voltage codes {ladder.words()}: 16 bits")

    def _check_chip(self, chip: int | None) -> None:
        if chip is None or not 1 <= chip <= self.chips.preset.chips:
            raise ConfigError(f"chip {chip}: the board has {self.chips.preset.chips}")

    def _on_chip(self, block: Block, selected_chip: int) -> Block:
        chip = selected_chip if block.chip is None else block.chip
        self._check_chip(chip)
        return Block(chip, block.bl, block.n_bl, block.sl, block.n_sl)

    def _cells(self, block: Block) -> npt.NDArray[np.int64]:
        """Cell numbers of a block, BL-major."""
        assert block.chip is not None
        rows = np.arange(block.bl, block.bl + block.n_bl)
        columns = np.arange(block.sl, block.sl + block.n_sl)
        return ((block.chip - 1) * CELLS + rows[:, None] * COLUMNS + columns).reshape(-1)
