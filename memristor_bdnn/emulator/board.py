"""An emulated board: answers every command of the protocol from simulated chips; no sockets here.

It is stricter than the published firmware: a request with any error has no effect, and the announced
body is always read. Dialect P (old layouts, no checks) can be chosen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from memristor_bdnn.accelerator.escim.wire import packet, registers
from memristor_bdnn.accelerator.escim.wire.commands import (
    CELL_PARA_MAX,
    CELL_PARA_WORDS,
    OP_RESULT_MAX,
    PROGRESS_DONE,
    Command,
    Dialect,
    ErrorCode,
    word_values,
)
from memristor_bdnn.accelerator.escim.wire.layouts import LayoutError
from memristor_bdnn.accelerator.escim.wire.registers import Lines, Mode
from memristor_bdnn.accelerator.escim.wire.scaling import CELLS, COLUMNS, GENERATOR_UNIT_US, ROWS, code_volt
from memristor_bdnn.config import check, option
from memristor_bdnn.device import presets
from memristor_bdnn.emulator.chips import EmulatedChips
from memristor_bdnn.emulator.maps import MapJobs, Refusal
from memristor_bdnn.errors import ConfigError

ONLY_C = {Command.MAP_READ, Command.PULSE_GENERATOR, Command.MAP_ARRAY, Command.CELL_PARA, Command.READ_ALL}
POLL_LIMIT_S = 4.0
MAX_TRAIN = 100_000


@dataclass(frozen=True)
class EmulatorConfig:
    """The emulated board."""

    preset: str = option("tsinghua_taox_hfox", "device preset or YAML file")
    seed: int = option(0, "same seed, same chips and noise as the simulated accelerator", low=0)
    network_cells: int = option(9756, "cells whose reads follow the simulated accelerator's random stream", low=0)
    dialect: str = option("C", "C: current boards; P: published firmware, without checks", choices=("C", "P"))
    checks: bool = option(True, "send and verify head check and CRC (dialect C)")
    blocking_map: bool = option(True, "MAP_ARRAY answers when the job is done; otherwise at once")
    timing: bool = option(False, "take the time the real board would take")
    reset_disturb_ua: float = option(
        0.0, "SD of the disturbance on floating lines in a table-driven RESET", low=0, high=4, unit="uA"
    )
    stuck: float = option(0.0, "share of the cells that are stuck", low=0, high=1)
    detection_reads: int = option(
        3, "whole-chip reads after power-up that leave the random stream alone (a driver's first look)", low=0
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Pulses:
    """What a programming register table does: groups of cells with V_BL - V_SL, and the train."""

    groups: tuple[tuple[float, tuple[int, ...]], ...]
    count: int
    duration_s: float


class EmulatedBoard:
    """State of the board; :meth:`answer` turns a request frame into the bytes of its response.

    Safe to call from several threads: MAP_PROGRESS and MAP_ABORT work while a map job runs.
    """

    def __init__(self, config: EmulatorConfig) -> None:
        """Power up a board with fresh chips."""
        self.config = config
        preset = presets.load(config.preset)
        self.chips = EmulatedChips(preset, config.seed, config.network_cells, config.stuck, config.detection_reads)
        self.dialect = Dialect(config.dialect)
        self.checks = config.checks and self.dialect is Dialect.C
        self.lock = threading.RLock()
        self.requests = 0
        self.jobs = MapJobs(self.chips, self.lock, self.dialect, config.blocking_map, self._spend)
        self.power_up()
        self._pulses = lru_cache(maxsize=32768)(self._interpret)
        self._handlers: dict[int, Callable[[packet.Frame], bytes]] = {
            Command.CFG_REG: self._cfg_reg,
            Command.MAP_FLOW: lambda f: self.jobs.map_flow(f.payload, self._chip),
            Command.MAP_PROGRESS: self._map_progress,
            Command.MAP_ABORT: self._map_abort,
            Command.MAP_RESULT: lambda f: self._empty(f, self.jobs.result.tobytes()),
            Command.SEQ_READ: self._seq_read,
            Command.SET_TARGET: lambda f: self.jobs.target_pulses(False, f.payload, self._chip),
            Command.RESET_TARGET: lambda f: self.jobs.target_pulses(True, f.payload, self._chip),
            Command.APPLY_OP: lambda f: self.jobs.apply_op(f.payload, self._chip),
            Command.OP_RESULT: self._op_result,
            Command.MAP_READ: self._map_read,
            Command.PULSE_GENERATOR: self._pulse_generator,
            Command.MAP_ARRAY: lambda f: self.jobs.map_array(f.payload),
            Command.CELL_PARA: self._cell_para,
            Command.READ_ALL: self._read_all,
            Command.DEBUG: self._debug,
            Command.WRITE_REG: self._write_reg,
            Command.READ_REG: self._read_reg,
            Command.SEQ_WRITE_REG: self._seq_write_reg,
            Command.SEQ_READ_REG: self._seq_read_reg,
        }

    def power_up(self) -> None:
        """Registers and logs as after switching on; the devices keep their states."""
        with self.lock:
            self.registers = np.zeros(registers.LAST_REGISTER + 1, dtype=np.uint32)
            self.jobs.power_up()

    def answer(self, frame: packet.Frame) -> bytes:
        """Bytes of the response to a request frame; never raises for what a client sent."""
        self.requests += 1
        known = frame.command in self._handlers and not (self.dialect is Dialect.P and frame.command in ONLY_C)
        if self.checks and not frame.head_ok:
            return self._error(frame.command, ErrorCode.HEAD_CHECK)
        if not known:
            return self._error(packet.UNKNOWN_COMMAND, ErrorCode.UNKNOWN_COMMAND)
        if frame.length in (1, 2):
            return self._error(frame.command, ErrorCode.LENGTH)
        if self.checks and not frame.crc_ok:
            return self._error(frame.command, ErrorCode.PAYLOAD_CRC)
        try:
            payload = self._handlers[frame.command](frame)
        except Refusal as refusal:
            return self._error(frame.command, refusal.code)
        except LayoutError:
            return self._error(frame.command, ErrorCode.LENGTH)
        except ConfigError:
            return self._error(frame.command, ErrorCode.PARAMETER_1)
        return packet.encode_response(frame.command, payload, checks=self.checks)

    def refuse(self, command: int, code: ErrorCode) -> bytes:
        """Bytes of an error response (fault injection)."""
        return self._error(command, code)

    def _error(self, command: int, code: ErrorCode) -> bytes:
        return packet.encode_response(command, error=code, checks=self.checks)

    @property
    def _chip(self) -> int:
        """Chip selected last, for commands without a chip field."""
        chip = int(self.registers[registers.CHIP])
        return chip if 1 <= chip <= self.chips.preset.chips else 1

    def _spend(self, seconds: float) -> None:
        if self.config.timing:
            time.sleep(seconds)

    @staticmethod
    def _empty(frame: packet.Frame, answer: bytes = b"") -> bytes:
        if frame.payload:
            raise Refusal(ErrorCode.LENGTH)
        return answer

    @staticmethod
    def _sized(frame: packet.Frame, step: int, least: int = 1) -> list[int]:
        if len(frame.payload) % step or len(frame.payload) < least * step:
            raise Refusal(ErrorCode.LENGTH)
        return word_values(frame.payload).tolist()

    @staticmethod
    def _exact(frame: packet.Frame, words: int) -> list[int]:
        if len(frame.payload) != 4 * words:
            raise Refusal(ErrorCode.LENGTH)
        return word_values(frame.payload).tolist()

    def _cfg_reg(self, frame: packet.Frame) -> bytes:
        if len(frame.payload) != registers.TABLE_BYTES:
            raise Refusal(ErrorCode.LENGTH)
        with self.lock:
            return self._run_table(frame.payload)

    def _run_table(self, table: bytes) -> bytes:
        mode = table[4 * registers.MODE] & 0xF
        chip = int.from_bytes(table[4 * registers.CHIP : 4 * registers.CHIP + 4], "little")
        if mode not in tuple(Mode) or not 1 <= chip <= self.chips.preset.chips:
            raise Refusal(ErrorCode.PARAMETER_1)
        if mode == Mode.READ:
            lines = Lines.unpack(table)
            self._check_train(lines)
            codes = self.chips.read_lines(lines)
            self._spend(20e-9 * lines.width * lines.count)
            self._store(table, codes)
            return codes.tobytes()
        pulses = self._pulses(table)
        for volts, cells in pulses.groups:
            self.chips.apply(list(cells), volts, pulses.count)
        if mode == Mode.RESET and self.config.reset_disturb_ua:
            self.chips.disturb(Lines.unpack(table), self.config.reset_disturb_ua)
        self._spend(pulses.duration_s)
        self._store(table)
        return b""

    def _store(self, table: bytes, codes: np.ndarray | None = None) -> None:
        self.registers[3 : registers.WORDS] = np.frombuffer(table, dtype="<u4")[3:]
        self.registers[registers.STATUS] = 1 if codes is not None else 2
        if codes is not None:
            end = registers.ADC_REGISTER + registers.ADC_WORDS
            self.registers[registers.ADC_REGISTER : end] = codes.astype("<u2").view("<u4")

    @staticmethod
    def _check_train(lines: Lines) -> float:
        duration = 20e-9 * lines.count * (lines.width + lines.gap)
        if duration > POLL_LIMIT_S or lines.count > MAX_TRAIN:
            raise Refusal(ErrorCode.CFG_REG_FAILED)
        return duration

    def _interpret(self, table: bytes) -> Pulses:
        lines = Lines.unpack(table)
        duration = self._check_train(lines)
        groups: dict[float, list[int]] = {}
        if lines.width:
            for cell, volts in self.chips.exposed(lines):
                groups.setdefault(volts, []).append(cell)
        return Pulses(tuple((volts, tuple(cells)) for volts, cells in groups.items()), lines.count, duration)

    def _map_progress(self, frame: packet.Frame) -> bytes:
        return self._empty(frame, int(self.jobs.progress).to_bytes(4, "little"))

    def _map_abort(self, frame: packet.Frame) -> bytes:
        self._empty(frame)
        if not self.jobs.abort():
            raise Refusal(ErrorCode.ABORT_TIMEOUT)
        return b""

    def _seq_read(self, frame: packet.Frame) -> bytes:
        codes = self._sized(frame, 4)
        if frame.parameter1 >= ROWS:
            raise Refusal(ErrorCode.PARAMETER_1)
        if frame.parameter2 >= COLUMNS:
            raise Refusal(ErrorCode.PARAMETER_2)
        with self.lock:
            cell = self.chips.cell(self._chip, frame.parameter1, frame.parameter2)
            answer = [self.chips.read_code(cell, code_volt(code & 0xFFFF)) for code in codes]
        self._spend(200e-6 * len(codes))
        return np.array(answer, dtype="<u4").tobytes()

    def _map_read(self, frame: packet.Frame) -> bytes:
        chip, bl, sl, direction, read, access, feedback = self._exact(frame, 7)
        if not 1 <= chip <= self.chips.preset.chips or bl >= ROWS or sl >= COLUMNS:
            raise Refusal(ErrorCode.PARAMETER_1)
        if direction > 1 or feedback > 3 or max(read, access) > 0xFFFF:
            raise Refusal(ErrorCode.PARAMETER_1)
        with self.lock:
            code = self.chips.read_code(self.chips.cell(chip, bl, sl), code_volt(read), feedback)
        self._spend(200e-6)
        return code.to_bytes(4, "little")

    def _read_all(self, frame: packet.Frame) -> bytes:
        self._empty(frame)
        if not 1 <= frame.parameter1 <= self.chips.preset.chips:
            raise Refusal(ErrorCode.PARAMETER_1)
        with self.lock:
            codes = self.chips.read_chip(frame.parameter1)
        self._spend(64 * 200e-6)
        return codes.astype("<u2").tobytes()

    def _op_result(self, frame: packet.Frame) -> bytes:
        offset, count = self._exact(frame, 2)
        if count > OP_RESULT_MAX:
            raise Refusal(ErrorCode.PARAMETER_1)
        part = self.jobs.log[offset : offset + count]
        return np.pad(np.array(part, dtype="<u4"), (0, count - len(part))).tobytes()

    def _cell_para(self, frame: packet.Frame) -> bytes:
        offset, count = self._exact(frame, 2)
        if count > CELL_PARA_MAX:
            raise Refusal(ErrorCode.PARAMETER_1)
        records = np.zeros((count, CELL_PARA_WORDS), dtype="<u4")
        for row, record in enumerate(self.jobs.records[offset : offset + count]):
            records[row, : len(record)] = record
        return records.tobytes()

    def _pulse_generator(self, frame: packet.Frame) -> bytes:
        blocks = len(self._sized(frame, 64)) // 16
        self._spend(blocks * (1.08e-3 + GENERATOR_UNIT_US * 1e-6 * (frame.parameter1 + frame.parameter2)))
        return b""

    def _debug(self, frame: packet.Frame) -> bytes:
        if frame.parameter1 > 1:
            raise Refusal(ErrorCode.PARAMETER_1)
        return self._empty(frame)

    def _read_reg(self, frame: packet.Frame) -> bytes:
        return np.array([self._peek(a) for a in self._sized(frame, 4)], dtype="<u4").tobytes()

    def _write_reg(self, frame: packet.Frame) -> bytes:
        values = self._sized(frame, 8)
        with self.lock:
            for address, value in zip(values[::2], values[1::2], strict=True):
                self._poke(address, value)
        return b""

    def _seq_write_reg(self, frame: packet.Frame) -> bytes:
        start, *values = self._sized(frame, 4, least=2)
        with self.lock:
            for index, value in enumerate(values):
                self._poke(start + 4 * index, value)
        return b""

    def _seq_read_reg(self, frame: packet.Frame) -> bytes:
        (start,) = self._exact(frame, 1)
        count = frame.parameter1 + 256 * frame.parameter2
        if 4 * count > packet.MAX_PAYLOAD:
            raise Refusal(ErrorCode.PARAMETER_2)
        order = ">u4" if self.dialect is Dialect.P else "<u4"
        return np.array([self._peek(start + 4 * k) for k in range(count)], dtype=order).tobytes()

    def _peek(self, address: int) -> int:
        index, odd = divmod(address - registers.BASE_ADDRESS, 4)
        return int(self.registers[index]) if not odd and 0 <= index <= registers.LAST_REGISTER else 0

    def _poke(self, address: int, value: int) -> None:
        index, odd = divmod(address - registers.BASE_ADDRESS, 4)
        if odd or not 0 < index < registers.ADC_REGISTER:
            return
        self.registers[index] = value
        if index == registers.RESET and value & 1:
            self.registers[registers.STATUS] = 0
        if index == registers.START and value & 1:
            table = self.registers[: registers.WORDS].astype("<u4").tobytes()
            if table[4 * registers.MODE] & 0xF in tuple(Mode):
                self._run_table(table)

    @property
    def job_running(self) -> bool:
        """Whether a map job runs (its progress ends at 0xFFFF)."""
        return self.jobs.running and self.jobs.progress != PROGRESS_DONE

    @property
    def pulses_given(self) -> np.ndarray:
        """Single pulses every cell has had, shape (chips * 4096,); write-verify not counted."""
        return self.chips.pulses[: self.chips.preset.chips * CELLS]
