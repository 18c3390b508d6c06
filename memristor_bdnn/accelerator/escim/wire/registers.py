"""The CFG_REG register table: which line of a chip is on what, at which voltage, for how long.

A table is 156 words (registers 0..155). :class:`Lines` is the readable form; packing and unpacking
are exact inverses on tables the board accepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.wire.scaling import (
    COLUMNS,
    DEFAULT_FEEDBACK,
    ROWS,
    SUPPLY_V,
    check_block,
    code_volt,
    volt_code,
    width_units,
)
from memristor_bdnn.errors import ConfigError

WORDS, TABLE_BYTES = 156, 624
BASE_ADDRESS = 0x43C00000
LAST_REGISTER = 199
ADC_REGISTER, ADC_WORDS, ADC_BYTES = 160, 32, 128
STATUS, START, RESET, GAP, MODE, COUNT, WIDTH, CHIP = 0, 1, 2, 3, 4, 5, 6, 11
_WL_DAC, _SL_DAC, _BL_DAC, _TIA_DAC, _FEEDBACK = 12, 28, 44, 108, 140
_SL_A1, _SL_A0, _WL_A1, _WL_A0, _BL_A1, _BL_A0 = 144, 145, 146, 147, 148, 152

READ_WIDTH_NS = 200_000


class Mode(IntEnum):
    """Operation in bits 3..0 of register 4, for the table-driven modes."""

    FORM = 0x0A
    READ = 0x0B
    SET = 0x0C
    RESET = 0x0D


class Switch(IntEnum):
    """What a line is connected to: 2 * A1 + A0."""

    GND = 0
    DAC = 1
    FLOAT = 2
    TIA = 3


U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]


def _lines(size: int, dtype: type[np.unsignedinteger[Any]]) -> npt.NDArray[Any]:
    return np.zeros(size, dtype=dtype)


@dataclass
class Lines:
    """A register table in words of the bench: switches and DAC codes of every line.

    Attributes:
        mode: bits 3..0 of register 4.
        chip: 1..8.
        width, gap: register units of 20 ns.
        count: number of pulses.
        bl_switch, bl_code: shapes (128,); sl_*, wl_*: shapes (32,); switch codes and DAC codes.
        tia_code: shape (64,), reference voltages of the sense amplifiers.
        feedback: shape (64,), feedback code of each sense amplifier.
    """

    mode: int
    chip: int
    width: int = 0
    gap: int = 0
    count: int = 1
    bl_switch: U8 = field(default_factory=lambda: _lines(ROWS, np.uint8))
    bl_code: U16 = field(default_factory=lambda: _lines(ROWS, np.uint16))
    sl_switch: U8 = field(default_factory=lambda: _lines(COLUMNS, np.uint8))
    sl_code: U16 = field(default_factory=lambda: _lines(COLUMNS, np.uint16))
    wl_switch: U8 = field(default_factory=lambda: _lines(COLUMNS, np.uint8))
    wl_code: U16 = field(default_factory=lambda: _lines(COLUMNS, np.uint16))
    tia_code: U16 = field(default_factory=lambda: _lines(64, np.uint16))
    feedback: U8 = field(default_factory=lambda: np.full(64, DEFAULT_FEEDBACK, dtype=np.uint8))

    @property
    def line_v(self) -> float:
        """The highest voltage on a BL or SL that is on its converter, volt; 0 where none is."""
        codes = [self.bl_code[self.bl_switch == Switch.DAC], self.sl_code[self.sl_switch == Switch.DAC]]
        return code_volt(int(max(np.max(part, initial=0) for part in codes)))

    def pack(self) -> bytes:
        """The 624 bytes of a CFG_REG request."""
        words = np.zeros(WORDS, dtype="<u4")
        words[[GAP, MODE, COUNT, WIDTH, CHIP]] = (self.gap, self.mode, self.count, self.width, self.chip)
        halves = words.view("<u2")
        halves[2 * _WL_DAC : 2 * _SL_DAC] = self.wl_code
        halves[2 * _SL_DAC : 2 * _BL_DAC] = self.sl_code
        halves[2 * _BL_DAC : 2 * _TIA_DAC] = self.bl_code
        halves[2 * _TIA_DAC : 2 * _FEEDBACK] = self.tia_code
        octets = words.view(np.uint8)
        pairs = np.stack([self.feedback & 1, self.feedback >> 1], axis=1).reshape(-1)
        octets[4 * _FEEDBACK : 4 * _SL_A1] = np.packbits(pairs, bitorder="little")
        for high, low, switch in (
            (_SL_A1, _SL_A0, self.sl_switch),
            (_WL_A1, _WL_A0, self.wl_switch),
            (_BL_A1, _BL_A0, self.bl_switch),
        ):
            size = switch.size // 8
            octets[4 * high : 4 * high + size] = np.packbits(switch >> 1, bitorder="little")
            octets[4 * low : 4 * low + size] = np.packbits(switch & 1, bitorder="little")
        return words.tobytes()

    @classmethod
    def unpack(cls, table: bytes) -> Lines:
        """Read a register table of 624 bytes; words the board ignores are ignored here.

        Raises:
            ConfigError: not 624 bytes.
        """
        if len(table) != TABLE_BYTES:
            raise ConfigError(f"register table of {len(table)} bytes: expected {TABLE_BYTES}")
        words = np.frombuffer(table, dtype="<u4")
        halves = words.view("<u2")
        octets = words.view(np.uint8)

        def bits(register: int, size: int) -> U8:
            return np.unpackbits(octets[4 * register : 4 * register + size // 8], bitorder="little")

        pairs = bits(_FEEDBACK, 128).reshape(64, 2)
        return cls(
            mode=int(words[MODE]) & 0xF,
            chip=int(words[CHIP]),
            width=int(words[WIDTH]),
            gap=int(words[GAP]),
            count=int(words[COUNT]),
            bl_switch=2 * bits(_BL_A1, ROWS) + bits(_BL_A0, ROWS),
            bl_code=halves[2 * _BL_DAC : 2 * _TIA_DAC].copy(),
            sl_switch=2 * bits(_SL_A1, COLUMNS) + bits(_SL_A0, COLUMNS),
            sl_code=halves[2 * _SL_DAC : 2 * _BL_DAC].copy(),
            wl_switch=2 * bits(_WL_A1, COLUMNS) + bits(_WL_A0, COLUMNS),
            wl_code=halves[2 * _WL_DAC : 2 * _SL_DAC].copy(),
            tia_code=halves[2 * _TIA_DAC : 2 * _FEEDBACK].copy(),
            feedback=(pairs[:, 0] + 2 * pairs[:, 1]).astype(np.uint8),
        )


def _timing(width_ns: float, gap_ns: float, count: int) -> tuple[int, int, int]:
    if not 1 <= count < 2**32:
        raise ConfigError(f"pulse count {count!r}: at least 1")
    return width_units(width_ns), width_units(gap_ns), count


def _program(
    mode: Mode,
    chip: int,
    rows: Sequence[int],
    wls: Sequence[int],
    volts: float,
    v_wl: float,
    timing: tuple[int, int, int],
) -> Lines:
    lines = Lines(mode, chip, *timing)
    active, columns = np.asarray(rows, dtype=np.intp), np.asarray(wls, dtype=np.intp)
    lines.wl_switch[columns], lines.wl_code[columns] = Switch.DAC, volt_code(v_wl)
    if mode == Mode.RESET:
        lines.bl_switch[:] = Switch.FLOAT
        lines.bl_switch[active] = Switch.GND
        lines.sl_switch[columns], lines.sl_code[columns] = Switch.DAC, volt_code(volts)
    else:
        lines.bl_switch[active], lines.bl_code[active] = Switch.DAC, volt_code(volts)
    return lines


def program_table(
    mode: Mode,
    chip: int,
    bl: int,
    wl: int,
    v_line: float,
    v_wl: float,
    *,
    n_bl: int = 1,
    n_wl: int = 1,
    width_ns: float = 100,
    gap_ns: float = 0,
    count: int = 1,
) -> bytes:
    """Register table of a FORM, SET (``v_line`` on BL) or RESET (``v_line`` on SL) of a block of cells.

    Raises:
        ConfigError: a chip, line, voltage or time the board cannot do.
    """
    check_block(chip, bl, n_bl, wl, n_wl)
    timing = _timing(width_ns, gap_ns, count)
    return _program(mode, chip, range(bl, bl + n_bl), range(wl, wl + n_wl), v_line, v_wl, timing).pack()


def pulse_table(
    mode: Mode, chip: int, rows: Sequence[int], columns: Sequence[int], v_line: float, v_wl: float, width_ns: float
) -> bytes:
    """Register table of one SET or RESET pulse on any rows of one column, or any columns of one row.

    A row that is not listed sees no voltage: in SET its BL is grounded, in RESET it floats.

    Raises:
        ConfigError: no cell, several rows and several columns, or a line, voltage or time the board cannot do.
    """
    if not rows or not columns or min(len(rows), len(columns)) > 1:
        raise ConfigError(f"a pulse on BL {list(rows)} and SL {list(columns)}: one of them must be a single line")
    for bl in rows:
        for wl in columns:
            check_block(chip, bl, 1, wl, 1)
    return _program(mode, chip, rows, columns, v_line, v_wl, _timing(width_ns, 0, 1)).pack()


def read_table(
    chip: int,
    bl: int,
    wl: int,
    *,
    n_bl: int = 1,
    n_wl: int = 1,
    v_read: float = 0.2,
    v_wl: float = SUPPLY_V,
    negative: bool = True,
    width_ns: float = READ_WIDTH_NS,
) -> bytes:
    """Register table of a read: negative drives SLs and senses BLs, positive the other way round."""
    check_block(chip, bl, n_bl, wl, n_wl)
    lines = Lines(Mode.READ, chip, *_timing(width_ns, 0, 1))
    rows, columns = slice(bl, bl + n_bl), slice(wl, wl + n_wl)
    lines.wl_switch[columns], lines.wl_code[columns] = Switch.DAC, volt_code(v_wl)
    if negative:
        lines.bl_switch[rows] = Switch.TIA
        lines.sl_switch[columns], lines.sl_code[columns] = Switch.DAC, volt_code(v_read)
    else:
        lines.bl_switch[rows], lines.bl_code[rows] = Switch.DAC, volt_code(v_read)
        lines.sl_switch[columns] = Switch.TIA
    return lines.pack()


def register_address(register: int) -> int:
    """Bus address of a register.

    Raises:
        ConfigError: outside the board's window of registers 0..199.
    """
    if not 0 <= register <= LAST_REGISTER:
        raise ConfigError(f"register {register!r}: the board has 0 to {LAST_REGISTER}")
    return BASE_ADDRESS + 4 * register
