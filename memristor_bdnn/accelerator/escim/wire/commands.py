"""Every command of the board: the requests that a driver sends, in physical units, and decoders of their answers.

Two dialects exist: C, spoken by the host software that ran the published experiment, and P, the
published firmware. Their layouts differ in a few commands; a layout sent to the wrong dialect acts
on wrong cells, so the dialect is always explicit.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.wire import packet, registers
from memristor_bdnn.accelerator.escim.wire.scaling import (
    CELLS,
    DEFAULT_FEEDBACK,
    SUPPLY_V,
    check_block,
    volt_code,
)
from memristor_bdnn.errors import ConfigError


class Command(IntEnum):
    """Command numbers."""

    CFG_REG = 0x01
    MAP_FLOW = 0x02
    MAP_PROGRESS = 0x03
    MAP_ABORT = 0x04
    MAP_RESULT = 0x05
    SEQ_READ = 0x06
    SET_TARGET = 0x07
    RESET_TARGET = 0x08
    APPLY_OP = 0x09
    OP_RESULT = 0x0A
    MAP_READ = 0x0B
    PULSE_GENERATOR = 0x0C
    MAP_ARRAY = 0x0D
    CELL_PARA = 0x0E
    READ_ALL = 0x0F
    DEBUG = 0x81
    WRITE_REG = 0x82
    READ_REG = 0x83
    SEQ_WRITE_REG = 0x84
    SEQ_READ_REG = 0x85


class Dialect(Enum):
    """C: current boards, checked packets; P: the published firmware, without checks."""

    C = "C"
    P = "P"


class ErrorCode(IntEnum):
    """Error codes of the board, by what they mean for the caller."""

    LENGTH = 0x01
    UNKNOWN_COMMAND = 0x02
    PARAMETER_1 = 0x03
    PARAMETER_2 = 0x04
    HEAD_CHECK = 0x05
    PAYLOAD_CRC = 0x06
    CFG_REG_FAILED = 0x07
    MAP_BUSY = 0x08
    ABORT_TIMEOUT = 0x09
    SEQ_READ_FAILED = 0x0A
    SET_TARGET_FAILED = 0x0B
    RESET_TARGET_FAILED = 0x0C
    APPLY_OP_FAILED = 0x0D


ERROR_TEXT = {
    ErrorCode.LENGTH: "payload length wrong for this command",
    ErrorCode.UNKNOWN_COMMAND: "unknown command",
    ErrorCode.PARAMETER_1: "parameter 1 out of range",
    ErrorCode.PARAMETER_2: "parameter 2 out of range",
    ErrorCode.HEAD_CHECK: "head check wrong",
    ErrorCode.PAYLOAD_CRC: "payload CRC wrong",
    ErrorCode.CFG_REG_FAILED: "CFG_REG failed: the hardware did not signal completion",
    ErrorCode.MAP_BUSY: "refused: a map job is running",
    ErrorCode.ABORT_TIMEOUT: "abort: the job still runs after 2 s",
    ErrorCode.SEQ_READ_FAILED: "SEQ_READ failed",
    ErrorCode.SET_TARGET_FAILED: "SET_TARGET failed",
    ErrorCode.RESET_TARGET_FAILED: "RESET_TARGET failed",
    ErrorCode.APPLY_OP_FAILED: "APPLY_OP failed",
}

PROGRESS_DONE = 0xFFFF
OP_RESULT_MAX, CELL_PARA_MAX, CELL_PARA_WORDS = 16383, 1489, 11
_READS = {
    Command.MAP_PROGRESS,
    Command.MAP_RESULT,
    Command.SEQ_READ,
    Command.OP_RESULT,
    Command.MAP_READ,
    Command.CELL_PARA,
    Command.READ_ALL,
    Command.READ_REG,
    Command.SEQ_READ_REG,
}
_PULSING = {
    Command.MAP_FLOW,
    Command.SET_TARGET,
    Command.RESET_TARGET,
    Command.APPLY_OP,
    Command.PULSE_GENERATOR,
    Command.MAP_ARRAY,
    Command.WRITE_REG,
    Command.SEQ_WRITE_REG,
}


@dataclass(frozen=True)
class Request:
    """A request before framing.

    Attributes:
        chip: that it is about, from 1, for errors; not sent by itself.
    """

    command: int
    parameter1: int = 0
    parameter2: int = 0
    payload: bytes = b""
    chip: int | None = field(default=None, compare=False)

    @property
    def title(self) -> str:
        """Name of the command, and the chip it is about."""
        name = Command(self.command).name if self.command in set(Command) else f"command 0x{self.command:02X}"
        return name if self.chip is None else f"{name} of chip {self.chip}"

    @cached_property
    def _checked(self) -> bytes:
        return packet.encode_request(self.command, self.parameter1, self.parameter2, self.payload, True)

    def encode(self, checks: bool = True) -> bytes:
        """The packet's bytes."""
        if checks:
            return self._checked
        return packet.encode_request(self.command, self.parameter1, self.parameter2, self.payload, False)

    @cached_property
    def pulses(self) -> bool:
        """True when executing this may change a device: such a request is never repeated blindly."""
        if self.command == Command.CFG_REG:
            mode = self.payload[4 * registers.MODE] & 0xF if len(self.payload) == registers.TABLE_BYTES else 0
            return mode != registers.Mode.READ
        return self.command in _PULSING

    @cached_property
    def repeatable(self) -> bool:
        """True when asking again after a lost answer changes nothing."""
        return not self.pulses and (self.command in _READS or self.command in (Command.CFG_REG, Command.DEBUG))


def words(values: Sequence[int] | npt.NDArray[np.integer]) -> bytes:
    """Pack unsigned 32-bit little-endian words.

    Raises:
        ConfigError: a value outside 32 bits.
    """
    try:
        return struct.pack(f"<{len(values)}I", *(int(v) for v in values))
    except struct.error as error:
        raise ConfigError(f"register values must fit 32 unsigned bits: {error}") from error


def byte(name: str, value: int, low: int, high: int) -> int:
    """A value that fits a field of one byte; raises ConfigError naming the field otherwise."""
    if not low <= value <= high:
        raise ConfigError(f"{name} {value!r}: allowed {low} to {high}")
    return value


def cfg_reg(table: bytes) -> Request:
    """CFG_REG with a register table made by :mod:`.registers`."""
    if len(table) != registers.TABLE_BYTES:
        raise ConfigError(f"register table of {len(table)} bytes: expected {registers.TABLE_BYTES}")
    chip = int.from_bytes(table[4 * registers.CHIP : 4 * registers.CHIP + 4], "little")
    return Request(Command.CFG_REG, payload=table, chip=chip or None)


@lru_cache(maxsize=32768)
def single_pulse(
    mode: registers.Mode,
    chip: int,
    rows: tuple[int, ...],
    columns: tuple[int, ...],
    v_line: float,
    v_wl: float,
    width_ns: float,
) -> Request:
    """One SET or RESET pulse by CFG_REG on cells of one row or one column; remembered, as learning repeats them."""
    return cfg_reg(registers.pulse_table(mode, chip, rows, columns, v_line, v_wl, width_ns))


def read_all(chip: int) -> Request:
    """READ_ALL of one chip (field 1..8; boards have 1..3)."""
    return Request(Command.READ_ALL, byte("chip", chip, 1, 8), chip=chip)


def map_progress() -> Request:
    """Cells finished in the running map job."""
    return Request(Command.MAP_PROGRESS)


def map_abort() -> Request:
    """Ask a running map job to stop."""
    return Request(Command.MAP_ABORT)


def map_read(
    chip: int,
    bl: int,
    sl: int,
    *,
    negative: bool = True,
    v_read: float = 0.2,
    v_wl: float = SUPPLY_V,
    feedback: int = DEFAULT_FEEDBACK,
) -> Request:
    """Read one cell in the map mode."""
    check_block(chip, bl, 1, sl, 1)
    byte("feedback", feedback, 0, 3)
    return Request(
        Command.MAP_READ,
        payload=words([chip, bl, sl, int(negative), volt_code(v_read), volt_code(v_wl), feedback]),
        chip=chip,
    )


def word_values(payload: bytes) -> npt.NDArray[np.uint32]:
    """Payload of u32 words.

    Raises:
        packet.FrameError: not a whole number of words.
    """
    if len(payload) % 4:
        raise packet.FrameError(f"answer of {len(payload)} bytes is not a whole number of words")
    return np.frombuffer(payload, dtype="<u4").astype(np.uint32)


def half_values(payload: bytes) -> npt.NDArray[np.uint16]:
    """Payload of u16 values: READ_ALL codes (SL-major) or the 64 ADC channels of a CFG_REG read."""
    if len(payload) % 2:
        raise packet.FrameError(f"answer of {len(payload)} bytes is not a whole number of 16-bit values")
    return np.frombuffer(payload, dtype="<u2").astype(np.uint16)


def response_bytes(request: Request) -> int | None:
    """Payload bytes of the answer to a request; None where no source states them (MAP_ARRAY)."""
    command = request.command
    if command == Command.CFG_REG:
        return registers.ADC_BYTES if not request.pulses else 0
    if command in (Command.MAP_RESULT, Command.SET_TARGET, Command.RESET_TARGET):
        return 4 * CELLS
    if command == Command.MAP_ARRAY:
        return None
    if command in (Command.SEQ_READ, Command.READ_REG):
        return len(request.payload)
    if command in (Command.OP_RESULT, Command.CELL_PARA):
        size = 4 if command == Command.OP_RESULT else 4 * CELL_PARA_WORDS
        return size * int(word_values(request.payload)[1])
    if command == Command.SEQ_READ_REG:
        return 4 * (request.parameter1 + 256 * request.parameter2)
    return {Command.READ_ALL: 2 * CELLS, Command.MAP_PROGRESS: 4, Command.MAP_READ: 4}.get(Command(command), 0)
