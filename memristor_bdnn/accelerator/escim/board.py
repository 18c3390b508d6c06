"""A board in physical units: detection, reads, single pulses, write-verify with progress and abort.

Nothing here repeats a pulse: a failed one is reported with what is known about it, and every chip
must be read again after an interruption before it can be pulsed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim import plausible
from memristor_bdnn.accelerator.escim.attempts import AnswerLost, BoardError, certainly_not_given
from memristor_bdnn.accelerator.escim.client import Client, ClientConfig
from memristor_bdnn.accelerator.escim.contact import NotEscim, first_contact
from memristor_bdnn.accelerator.escim.jobs import JobControl
from memristor_bdnn.accelerator.escim.safety import Guard, SafetyError, SafetyLimits
from memristor_bdnn.accelerator.escim.watch import POLL_S
from memristor_bdnn.accelerator.escim.watch import progress as progress_of
from memristor_bdnn.accelerator.escim.wire import adc, commands, packet, registers, scaling
from memristor_bdnn.accelerator.escim.wire.commands import Command, Dialect, ErrorCode, Request
from memristor_bdnn.accelerator.escim.wire.layouts import Block, MapArray, MapFlow, MapParameters, TargetPulses, Volts
from memristor_bdnn.accelerator.escim.wire.recording import Recorder
from memristor_bdnn.accelerator.escim.wire.registers import Mode
from memristor_bdnn.accelerator.escim.wire.scaling import ADC_MAX, CELLS, CHIPS, COLUMNS, ROWS
from memristor_bdnn.accelerator.watching import JobWatch
from memristor_bdnn.errors import AcceleratorError, ConfigError, MemristorError, StoreError

Codes = npt.NDArray[np.uint16]
Sleep = Callable[[float], None]
MAP_TIMEOUT_S, MAP_TIMEOUT_PER_CELL_S = 30.0, 1800.0 / CELLS


@dataclass(frozen=True)
class Pulse:
    """One SET or RESET pulse on cells of one chip, in volt and nanoseconds.

    Attributes:
        chip: from 1.
        rows: BL indices; more than one only with a single column.
        columns: SL/WL indices; more than one only with a single row.
        reset: RESET when True.
        line_v: V_BL of a SET, V_SL of a RESET.
        gate_v: V_WL.
        width_ns: rounded down to 20 ns by the board.
        target_ua: given by RESET_TARGET, only if the cell reads above it; None: by CFG_REG, unconditionally.
    """

    chip: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    reset: bool
    line_v: float
    gate_v: float
    width_ns: float
    target_ua: float | None = None

    @property
    def cells(self) -> list[int]:
        """BL * 32 + SL of the cells."""
        return [row * COLUMNS + column for row in self.rows for column in self.columns]


@dataclass(frozen=True)
class BoardInfo:
    """What a board says of itself.

    Attributes:
        address: host and port.
        dialect: C or P.
        checks: whether its packets carry checks.
        chips: chips that answered with currents that can be true, and the mean current of each in uA.
        findings: what is wrong with a chip's answers, by its number.
        progress: cells finished by the last map job (0xFFFF: a job finished).
        answer_ms: median time of a MAP_PROGRESS exchange, and of a whole-chip read.
    """

    address: str
    dialect: Dialect
    checks: bool
    chips: dict[int, float]
    findings: dict[int, list[plausible.Finding]]
    progress: int
    answer_ms: tuple[float, float]

    @property
    def sound(self) -> bool:
        """Whether every chip answers, with currents that can be true."""
        return not any(found.fatal for findings in self.findings.values() for found in findings)


class Board:
    """An ESCIM board; not for use from several threads at once."""

    def __init__(
        self,
        config: ClientConfig,
        limits: SafetyLimits | None = None,
        *,
        recorder: Recorder | None = None,
        dry_run: bool = False,
        endurance_file: str | None = None,
        map_stall_s: float = 60.0,
        sleep: Sleep = time.sleep,
    ) -> None:
        """Prepare a board; nothing is sent before :meth:`detect`.

        Args:
            config: address, timeouts, tolerance for old firmware.
            limits: protection of the devices.
            recorder: gets every packet.
            dry_run: nothing that changes a device is sent; it is recorded instead.
            endurance_file: keeps the pulse counts of the cells between sessions.
            map_stall_s: a write-verify job without progress for so long has ended.
            sleep: replaced in tests.
        """
        self.config = config
        self.recorder = Recorder() if recorder is None else recorder
        self.client = Client(config, self.recorder, sleep=sleep)
        self.guard = Guard(SafetyLimits() if limits is None else limits, endurance_file)
        self.dry_run = dry_run
        if not dry_run:
            self.guard.save()  # a file that cannot be written is told before the first pulse
        self.dialect: Dialect | None = None
        self.out_of_range_codes = 0
        self._read_at: dict[int, int] = {}
        self._sleep = sleep
        self.job = JobControl(self.client, self.recorder, map_stall_s, sleep)

    def detect(self) -> tuple[Dialect, Codes | None]:
        """Find out which dialect the board speaks, by a whole-chip read; required before any pulse.

        Returns:
            The dialect, and the codes of chip 1, shape (128, 32), which that read gave (None in dialect P).

        Raises:
            AcceleratorError: unreachable, neither dialect, or firmware without checks where not allowed.
        """
        frame = first_contact(self.client, commands.read_all(1), self.recorder)
        first: Codes | None = None
        if frame.command == Command.READ_ALL and not frame.error_code:
            self.dialect = Dialect.C
            first = scaling.to_matrix(commands.half_values(frame.payload))
        elif frame.command == packet.UNKNOWN_COMMAND and frame.error_code == ErrorCode.UNKNOWN_COMMAND:
            self.dialect = Dialect.P
        else:
            raise NotEscim(
                f"the answer of {self.client.where} to a read of chip 1 (command 0x{frame.command:02X}, error"
                f" 0x{frame.error_code:02X}) fits neither dialect of the board; nothing will be pulsed"
            )
        if frame.zero_head_check:
            if not self.config.allow_unchecked:
                self.client.close()
                raise AcceleratorError(
                    f"the board answers without packet checks (dialect {self.dialect.value}, old firmware): a damaged"
                    " packet would go unnoticed. Set allow_unchecked to work with it all the same"
                )
            self.client.checks = False
        if first is not None:
            self._read_at[1] = self.client.generation
        return self.dialect, first

    def info(self) -> BoardInfo:
        """Dialect, chips, whether their answers can be true, and how fast it answers. Every chip is read twice."""
        dialect = self._dialect()
        chips, findings, whole = {}, {}, []
        for chip in range(1, CHIPS + 1):
            try:
                codes = self.read_chip(chip)
                start = time.perf_counter()
                again = self.read_chip(chip)
            except BoardError as error:
                findings[chip] = [plausible.Finding("no answer", f"does not answer: {error}", True)]
                continue
            whole.append(time.perf_counter() - start)
            findings[chip] = plausible.chip(again, codes)
            if not any(found.fatal for found in findings[chip]):
                chips[chip] = float(scaling.code_currents(again).mean())
        short = []
        for _ in range(5):
            start = time.perf_counter()
            progress = self.progress()
            short.append(time.perf_counter() - start)
        times = (1e3 * float(np.median(short)), 1e3 * float(np.median(whole)) if whole else float("nan"))
        address = f"{self.config.host}:{self.config.port}"
        return BoardInfo(address, dialect, self.client.checks, chips, findings, progress, times)

    def read_chip(self, chip: int) -> Codes:
        """ADC codes of all cells of a chip, shape (128, 32) as [BL][SL]; the chip may be pulsed afterwards.

        Raises:
            AcceleratorError: see :meth:`Client.request`.
        """
        if not 1 <= chip <= CHIPS:
            raise ConfigError(f"chip {chip!r}: the board has 1 to {CHIPS}")
        if self._dialect() is Dialect.C:
            frame = self.client.request(commands.read_all(chip))
            codes = scaling.to_matrix(commands.half_values(frame.payload))
        else:
            codes = self._read_columns(chip)
        self.out_of_range_codes += int((codes > ADC_MAX).sum())
        self._read_at[chip] = self.client.generation
        return codes

    def _read_columns(self, chip: int) -> Codes:
        """Dialect P: half a column at a time, because two BLs share every channel."""
        codes = np.empty((ROWS, COLUMNS), dtype=np.uint16)
        half = ROWS // 2
        for column in range(COLUMNS):
            for start in (0, half):
                channels = self.read_table(registers.read_table(chip, start, column, n_bl=half))
                codes[start : start + half, column] = adc.bl_currents(channels)[start : start + half]
        return codes

    def read_table(self, table: bytes) -> Codes:
        """The 64 ADC channels of a CFG_REG read; see :func:`.adc.bl_currents`."""
        request = commands.cfg_reg(table)
        if request.pulses:
            raise ConfigError("read_table needs a register table in read mode")
        self.guard.check_read(round(registers.Lines.unpack(table).line_v, 3))
        return commands.half_values(self.client.request(request).payload)

    def read_cell(self, chip: int, bl: int, sl: int, volts: float = 0.2) -> float:
        """One cell's current in microampere."""
        self.guard.check_read(volts)
        if self._dialect() is Dialect.C:
            frame = self.client.request(commands.map_read(chip, bl, sl, v_read=volts))
            return scaling.code_current(int(commands.word_values(frame.payload)[0]))
        channels = self.read_table(registers.read_table(chip, bl, sl, v_read=volts))
        return scaling.code_current(int(adc.bl_currents(channels)[bl]))

    def pulse(self, pulse: Pulse) -> None:
        """Give one pulse by CFG_REG to the cells of one row or one column.

        Raises:
            SafetyError: a limit, or the chip was not read since the connection was (re)made; nothing was sent.
            NotExecuted: certainly not given.
            AnswerLost: may have been given. Read the chip; do not repeat blindly.
            BoardError: the board refused or failed it (codes 0x07 and up: may have been given).
        """
        mode = Mode.RESET if pulse.reset else Mode.SET
        line = {"sl": pulse.line_v} if pulse.reset else {"bl": pulse.line_v}
        self.guard.check_voltages(**line, wl=pulse.gate_v, width_ns=pulse.width_ns)
        request = commands.single_pulse(
            mode, pulse.chip, pulse.rows, pulse.columns, pulse.line_v, pulse.gate_v, pulse.width_ns
        )
        self._send_pulses(request, pulse.chip, pulse.cells, 1)

    def reset_target(self, pulse: Pulse, target_ua: float, wl_step_v: float = 0.05, sl_step_v: float = 0.05) -> None:
        """One conditional RESET pulse on one cell by RESET_TARGET: given only if it reads above the target.

        The width is fixed by the firmware. Raises as :meth:`pulse`, and SafetyError as :meth:`check_reset_target`.
        """
        if len(pulse.cells) != 1 or not pulse.reset:
            raise ConfigError("RESET_TARGET takes one RESET pulse on one cell")
        self.check_reset_target(pulse.rows[0])
        limits = self.guard.limits
        self.guard.check_voltages(sl=pulse.line_v, wl=pulse.gate_v)
        chip = pulse.chip if self._dialect() is Dialect.C else None
        block = Block(chip, pulse.rows[0], 1, pulse.columns[0], 1)
        wl: Volts = (pulse.gate_v, wl_step_v, limits.max_wl_v)
        line: Volts = (pulse.line_v, sl_step_v, limits.max_sl_v)
        request = TargetPulses.build(True, block, [target_ua], wl, line, max_pulses=1).request()
        self._select(pulse.chip)
        self._send_pulses(request, pulse.chip, pulse.cells, 1)

    def check_reset_target(self, bl: int) -> None:
        """Refuse RESET_TARGET where the published firmware keeps its result outside of its array.

        It writes the reading of a cell that needs no pulse to word BL * 128 + SL of 4096.

        Raises:
            SafetyError: dialect P and a BL from 32.
        """
        if self._dialect() is Dialect.P and bl >= CELLS // ROWS:
            raise SafetyError(
                f"RESET_TARGET on BL {bl}: the published firmware (dialect P) would write outside an array of its own"
                f" from BL {CELLS // ROWS} on; use reset_by=cfg_reg"
            )

    def _select(self, chip: int) -> None:
        """Dialect P has no chip field: a read on the chip selects it."""
        if self._dialect() is Dialect.P:
            self.read_table(registers.read_table(chip, 0, 0))

    def _send_pulses(self, request: Request, chip: int, cells: Sequence[int], pulses: int) -> None:
        self._dialect()
        if not self.known(chip):
            raise SafetyError(f"chip {chip} was not read since the connection was made: read_chip({chip}) first")
        if self.dry_run:
            self.guard.check((chip - 1) * CELLS + np.asarray(cells), pulses)
            self.recorder.packet("withheld", request.encode(self.client.checks))
            return
        self.guard.charge(chip, cells, pulses)
        job = request.command in (Command.MAP_ARRAY, Command.MAP_FLOW)
        try:
            if job:
                self.guard.save()
                self.job.runs = True
            patience = MAP_TIMEOUT_S + MAP_TIMEOUT_PER_CELL_S * len(cells)
            self.client.request(request, patience if request.command == Command.MAP_ARRAY else None)
        except MemristorError as error:
            if isinstance(error, StoreError) or certainly_not_given(error):
                self.guard.refund(chip, cells, pulses)
                self.job.runs = self.job.runs and not job
            raise

    def map_block(
        self,
        block: Block,
        targets_ua: npt.NDArray[np.floating],
        parameters: MapParameters | None = None,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Write-verify a block on the board; the caller verifies by reading the chip.

        Args:
            block: chip and lines.
            targets_ua: shape (n_bl, n_sl) or flat BL-major, microampere.
            parameters: ladders, tolerances, checks.
            progress: called with (cells done, cells) while it runs.
            cancelled: asked while it runs; True aborts the job on the board.

        Raises:
            Cancelled: aborted as asked.
            AnswerLost: the job may have run, or still be running: wait for it, then read.
            SafetyError, NotExecuted, BoardError: as :meth:`pulse`.
        """
        p = MapParameters() if parameters is None else parameters
        self.guard.check_map(p, targets_ua, self._dialect())
        assert block.chip is not None
        rows = np.arange(block.bl, block.bl + block.n_bl)[:, None] * COLUMNS
        cells = (rows + np.arange(block.sl, block.sl + block.n_sl)).reshape(-1)
        request = self._map_request(block, targets_ua, p)
        watch = JobWatch() if self.dry_run else JobWatch(progress, cancelled)
        with self.job.attended(AnswerLost):
            with self.job.watched(block.cells, watch):
                self._send_pulses(request, block.chip, cells.tolist(), p.max_pulses)
            if not self.dry_run:
                self._sleep(POLL_S)
                self.job.wait(block.cells, watch)

    def _map_request(self, block: Block, targets_ua: npt.NDArray[np.floating], p: MapParameters) -> Request:
        """The job in the board's dialect; dialect P has no chip field, so the chip is selected."""
        if self._dialect() is Dialect.C:
            return MapArray.build(block, targets_ua, p).request()
        assert block.chip is not None
        self._select(block.chip)
        return MapFlow.build(
            replace(block, chip=None),
            targets_ua,
            form_wl=p.set_wl,
            form_bl=p.set_bl,
            set_wl=p.set_wl,
            set_bl=p.set_bl,
            reset_wl=p.reset_wl,
            reset_sl=p.reset_sl,
            tolerance_ua=p.tolerance_high_ua,
            max_pulses=p.max_pulses,
        ).request()

    def wait_for_map(
        self,
        cells: int,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Follow the job until it has finished; raises as :meth:`.jobs.JobControl.wait`."""
        self.job.wait(cells, JobWatch(progress, cancelled))

    def progress(self) -> int:
        """Cells finished by the map job; 0xFFFF when it has ended."""
        return progress_of(self.client)

    def abort(self) -> None:
        """Abort a map job, also one that blocks the command port; raises as :meth:`.jobs.JobControl.abort`."""
        self.job.abort()

    @property
    def link(self) -> tuple[int, int]:
        """Changes with every interruption and every new connection; what it was when a chip was recognised."""
        return self.client.generation, self.client.statistics.connections

    def known(self, chip: int) -> bool:
        """Whether a chip was read since the connection was (re)made, so that it may be pulsed."""
        return self._read_at.get(chip) == self.client.generation

    def close(self) -> None:
        """Abort a job that still runs, store the endurance record, close the connection; safe to call twice."""
        self.job.leave()
        try:
            if not self.dry_run:
                self.guard.save(settled=True)
        finally:
            self.client.close()
            self.recorder.close()

    def _dialect(self) -> Dialect:
        return self.detect()[0] if self.dialect is None else self.dialect
