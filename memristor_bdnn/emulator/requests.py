"""Requests that a board answers and our driver never sends: for tests of emulator and codec, and for benchmarks.

Builders in physical units, like those of the wire; they too are compared with packets of the board's host software.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from memristor_bdnn.accelerator.escim.wire import registers
from memristor_bdnn.accelerator.escim.wire.commands import (
    CELL_PARA_MAX,
    OP_RESULT_MAX,
    Command,
    Dialect,
    Request,
    byte,
    cfg_reg,
    words,
)
from memristor_bdnn.accelerator.escim.wire.layouts import (
    Block,
    Currents,
    Ladder,
    Operation,
    Volts,
    need_targets,
    target_codes,
)
from memristor_bdnn.accelerator.escim.wire.registers import Lines, Mode, Switch
from memristor_bdnn.accelerator.escim.wire.scaling import (
    APPLY_OP_UNIT_NS,
    GENERATOR_UNIT_US,
    SUPPLY_V,
    check_block,
    current_code,
    volt_code,
    width_units,
)
from memristor_bdnn.errors import ConfigError

PARALLEL_READ_WIDTH_NS = 10_000


def form_pulse(
    chip: int,
    bl: int,
    wl: int,
    v_bl: float,
    v_wl: float,
    *,
    n_bl: int = 1,
    n_wl: int = 1,
    width_ns: float = 100,
    gap_ns: float = 0,
    count: int = 1,
) -> Request:
    """FORM a block of cells by CFG_REG."""
    return cfg_reg(
        registers.program_table(
            registers.Mode.FORM,
            chip,
            bl,
            wl,
            v_bl,
            v_wl,
            n_bl=n_bl,
            n_wl=n_wl,
            width_ns=width_ns,
            gap_ns=gap_ns,
            count=count,
        )
    )


def set_pulse(
    chip: int,
    bl: int,
    wl: int,
    v_bl: float,
    v_wl: float,
    *,
    n_bl: int = 1,
    n_wl: int = 1,
    width_ns: float = 100,
    gap_ns: float = 0,
    count: int = 1,
) -> Request:
    """SET a block of cells by CFG_REG."""
    return cfg_reg(
        registers.program_table(
            registers.Mode.SET,
            chip,
            bl,
            wl,
            v_bl,
            v_wl,
            n_bl=n_bl,
            n_wl=n_wl,
            width_ns=width_ns,
            gap_ns=gap_ns,
            count=count,
        )
    )


def reset_pulse(
    chip: int,
    bl: int,
    wl: int,
    v_sl: float,
    v_wl: float,
    *,
    n_bl: int = 1,
    n_wl: int = 1,
    width_ns: float = 100,
    gap_ns: float = 0,
    count: int = 1,
) -> Request:
    """RESET a block of cells by CFG_REG; inactive BLs float."""
    return cfg_reg(
        registers.program_table(
            registers.Mode.RESET,
            chip,
            bl,
            wl,
            v_sl,
            v_wl,
            n_bl=n_bl,
            n_wl=n_wl,
            width_ns=width_ns,
            gap_ns=gap_ns,
            count=count,
        )
    )


def cfg_read(
    chip: int,
    bl: int,
    wl: int,
    *,
    n_bl: int = 1,
    n_wl: int = 1,
    v_read: float = 0.2,
    v_wl: float = SUPPLY_V,
    negative: bool = True,
) -> Request:
    """Read a block of cells by CFG_REG."""
    return cfg_reg(
        registers.read_table(chip, bl, wl, n_bl=n_bl, n_wl=n_wl, v_read=v_read, v_wl=v_wl, negative=negative)
    )


def parallel_read(bl: int, n_bl: int, sl_volts: Mapping[int, float], *, chip: int = 1) -> Request:
    """Vector-matrix read by CFG_REG: one voltage per SL, a summed current on every active BL.

    The gate voltage of 5 V stands on all 32 WL converters; only the selected columns' WLs are switched to them.

    Args:
        bl: first bit line sensed.
        n_bl: number of bit lines; stay within one half (0..63 or 64..127).
        sl_volts: voltage in volt of every selected column.
        chip: chip number.
    """
    check_block(chip, bl, n_bl, 0, 1)
    lines = Lines(Mode.READ, chip, width=width_units(PARALLEL_READ_WIDTH_NS))
    lines.bl_switch[bl : bl + n_bl] = Switch.TIA
    lines.wl_code[:] = volt_code(SUPPLY_V)
    for column, volts in sl_volts.items():
        check_block(chip, bl, n_bl, column, 1)
        lines.sl_switch[column], lines.sl_code[column] = Switch.DAC, volt_code(volts)
        lines.wl_switch[column] = Switch.DAC
    return cfg_reg(lines.pack())


def map_result() -> Request:
    """Last verify readings of the map job."""
    return Request(Command.MAP_RESULT)


def seq_read(bl: int, sl: int, volts: Sequence[float]) -> Request:
    """Read one cell of the chip selected last at several voltages."""
    check_block(1, bl, 1, sl, 1)
    if not volts:
        raise ConfigError("SEQ_READ needs at least one voltage")
    return Request(Command.SEQ_READ, bl, sl, words([volt_code(v) for v in volts]))


def op_result(offset: int = 0, count: int = OP_RESULT_MAX) -> Request:
    """Words of the operation log."""
    return Request(Command.OP_RESULT, payload=words([offset, byte("count", count, 1, OP_RESULT_MAX)]))


def cell_para(offset: int = 0, count: int = CELL_PARA_MAX) -> Request:
    """Raw per-cell records of the last map job, 11 words each."""
    return Request(Command.CELL_PARA, payload=words([offset, byte("count", count, 1, CELL_PARA_MAX)]))


def pulse_generator(wl_volts: Sequence[Sequence[float]], *, width_us: float, gap_us: float = 0) -> Request:
    """PULSE_GENERATOR: blocks of 32 gate voltages, applied one after another.

    The board adds a fixed 1.08 ms between pulses; width and gap are in units of 20 us.
    """
    codes = np.array([[volt_code(v) for v in block] for block in wl_volts], dtype="<u2")
    if codes.ndim != 2 or codes.shape[1] != 32:
        raise ConfigError(f"pulse generator blocks of shape {codes.shape}: expected (n, 32) gate voltages")
    width, gap = (
        byte(name, int(value // GENERATOR_UNIT_US), 0, 255)
        for name, value in (("width in 20 us", width_us), ("gap in 20 us", gap_us))
    )
    return Request(Command.PULSE_GENERATOR, width, gap, codes.tobytes())


def debug(on: bool) -> Request:
    """Switch the board's debug prints (parameter 0 is on, 1 is off)."""
    return Request(Command.DEBUG, 0 if on else 1)


def write_reg(pairs: Sequence[tuple[int, int]]) -> Request:
    """Write (address, value) pairs."""
    if not pairs:
        raise ConfigError("WRITE_REG needs at least one (address, value) pair")
    return Request(Command.WRITE_REG, payload=words([v for pair in pairs for v in pair]))


def read_reg(addresses: Sequence[int]) -> Request:
    """Read registers by address."""
    if not addresses:
        raise ConfigError("READ_REG needs at least one address")
    return Request(Command.READ_REG, payload=words(addresses))


def seq_write_reg(start: int, values: Sequence[int]) -> Request:
    """Write consecutive registers."""
    if not len(values):
        raise ConfigError("SEQ_WRITE_REG needs at least one value")
    return Request(Command.SEQ_WRITE_REG, payload=words([start, *values]))


def seq_read_reg(start: int, count: int) -> Request:
    """Read consecutive registers (byte order of the answer differs between firmwares: prefer READ_REG)."""
    byte("count", count, 1, 0xFFFF)
    return Request(Command.SEQ_READ_REG, count & 0xFF, count >> 8, words([start]))


@dataclass(frozen=True)
class ApplyOptions:
    """What the APPLY_OP layouts share, in physical units.

    Attributes:
        width_ns: pulse width; rounded down to 100 ns.
        max_pulses: programming pulses per cell at most.
        read_v, access_v: read voltage and gate voltage while reading (access: dialect C).
        log_level: 2 logs every pulse, 0 only final readings (dialect C).
        feedback: feedback code (dialect C).
        negative: read direction (dialect C).
        wl_first: increment order (dialect C).
        extra_reads: readings after a map (dialect C).
    """

    width_ns: float = 100
    max_pulses: int = 1
    read_v: float = 0.2
    access_v: float = 5.0
    log_level: int = 2
    feedback: int = 3
    negative: bool = True
    wl_first: bool = False
    extra_reads: int = 0

    def timing(self) -> list[int]:
        """Words 5..7."""
        return [width_units(self.width_ns, APPLY_OP_UNIT_NS), self.max_pulses, volt_code(self.read_v)]

    def modes(self) -> list[int]:
        """Log level, feedback, direction, increment order."""
        return [self.log_level, self.feedback, int(self.negative), int(self.wl_first)]


def apply_op(values: Sequence[int]) -> Request:
    """APPLY_OP from raw words; refuses operation 5, which crashes the published firmware.

    Raises:
        ConfigError: no words, or operation 5.
    """
    if not len(values) or values[0] not in tuple(Operation):
        raise ConfigError(f"APPLY_OP operation {list(values[:1])}: choose one of {[int(o) for o in Operation]}")
    return Request(Command.APPLY_OP, payload=words(values))


def _cells(block: Block) -> list[int]:
    return dataclasses.replace(block, chip=None).words()


def apply_read(
    block: Block, reads: int, *, read_v: float = 0.2, negative: bool = True, dialect: Dialect = Dialect.C
) -> Request:
    """APPLY_OP 0: reads of a block on the chip selected last."""
    tail = [volt_code(read_v), int(negative)] if dialect is Dialect.C else []
    return apply_op([Operation.READ, *_cells(block), reads, *tail])


def apply_pulses(
    operation: Operation,
    block: Block,
    wl: Volts,
    line: Volts,
    target_ua: float,
    options: ApplyOptions | None = None,
    dialect: Dialect = Dialect.C,
) -> Request:
    """APPLY_OP 1..3: form, set or reset a block towards one target; P knows only form.

    Args:
        operation: FORM, SET or RESET.
        block: BL and WL ranges; in dialect C the WL range doubles as the SL range.
        wl: gate ladder.
        line: BL ladder (form, set) or SL ladder (reset).
        target_ua: target current.
        options: the rest.
        dialect: layout.
    """
    o = ApplyOptions() if options is None else options
    head = [operation, *_cells(block), *o.timing()]
    ladders = [*Ladder.volts(wl).words(), *Ladder.volts(line).words(), current_code(target_ua)]
    if dialect is Dialect.C:
        return apply_op([*head, volt_code(o.access_v), *ladders, *o.modes()])
    if operation != Operation.FORM:
        raise ConfigError(f"APPLY_OP {operation.name} does nothing in dialect P: use SET_TARGET or RESET_TARGET")
    return apply_op([*head, *ladders])


def apply_map(
    block: Block,
    targets_ua: Currents,
    *,
    form_wl: Volts,
    form_bl: Volts,
    set_wl: Volts,
    set_bl: Volts,
    reset_wl: Volts,
    reset_sl: Volts,
    tolerance_high_ua: float = 0.3,
    tolerance_low_ua: float = 0.3,
    options: ApplyOptions | None = None,
    dialect: Dialect = Dialect.C,
) -> Request:
    """APPLY_OP 4: write-verify of a block on the chip selected last; targets in BL-major order.

    In dialect P the tolerance is symmetric: ``tolerance_high_ua``.
    """
    o = ApplyOptions() if options is None else options
    targets = target_codes(targets_ua)
    need_targets(block, targets)
    ladders = [
        word
        for ladder in (form_wl, form_bl, set_wl, set_bl, reset_wl, reset_sl)
        for word in Ladder.volts(ladder).words()
    ]
    head = [Operation.MAP, *_cells(block), *o.timing()]
    if dialect is Dialect.P:
        return apply_op([*head, *ladders, current_code(tolerance_high_ua), *targets])
    tolerances = [current_code(tolerance_high_ua), current_code(tolerance_low_ua)]
    return apply_op([*head, volt_code(o.access_v), *ladders, *tolerances, *o.modes(), o.extra_reads, *targets])
