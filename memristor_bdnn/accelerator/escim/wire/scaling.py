"""Physical units to and from the board's integer codes: volts, microamperes, nanoseconds, geometry.

Rounding is half to even in double precision, as the host software of the board does it; a value
outside the code's range is refused, never wrapped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

ROWS, COLUMNS, CELLS = 128, 32, 4096
"""Bit lines, source/word lines and cells of one chip."""
CHIPS = 3
"""Chips fitted; the chip field allows 1..8."""
SUPPLY_V = 5.0
VOLT_CODE_MAX = 65535
ADC_MAX = 4095
REGISTER_UNIT_NS = 20
"""Pulse width and gap registers, and the widths in MAP_ARRAY."""
APPLY_OP_UNIT_NS = 100
GENERATOR_UNIT_US = 20
FEEDBACK_OHM = {0: 2_400_000.0, 1: 2_500.0, 2: 24_900.0, 3: 249_000.0}
"""Feedback resistor by code; code 0 is ambiguous in the sources and is not offered for operations."""
DEFAULT_FEEDBACK = 3


def volt_code(volts: float) -> int:
    """16-bit DAC code of a voltage in 0..5 V.

    Raises:
        ConfigError: not a finite number in 0..5 V.
    """
    value = float(volts)
    if not 0.0 <= value <= SUPPLY_V:
        raise ConfigError(f"voltage {volts!r} V: the board's converters allow 0 to {SUPPLY_V:g} V")
    return round(VOLT_CODE_MAX * value / SUPPLY_V)


def code_volt(code: int) -> float:
    """Voltage in volt of a 16-bit DAC code."""
    return code * SUPPLY_V / VOLT_CODE_MAX


def _resistance(feedback: int) -> float:
    if feedback not in FEEDBACK_OHM:
        raise ConfigError(f"feedback code {feedback!r}: choose one of {', '.join(map(str, FEEDBACK_OHM))}")
    return FEEDBACK_OHM[feedback]


def current_code(current_ua: float, feedback: int = DEFAULT_FEEDBACK) -> int:
    """12-bit code of a current in microampere (targets and tolerances).

    Raises:
        ConfigError: negative, not finite, or beyond the full scale of the feedback range.
    """
    resistance = _resistance(feedback)
    value = float(current_ua)
    full_scale = SUPPLY_V / resistance * 1e6
    code = round(value * resistance / 1e6 * ADC_MAX / SUPPLY_V) if 0.0 <= value < 1e9 else -1
    if not 0 <= code <= ADC_MAX:
        raise ConfigError(f"current {current_ua!r} uA: feedback {feedback} allows 0 to {full_scale:.4g} uA")
    return code


def current_codes(current_ua: FloatArray, feedback: int = DEFAULT_FEEDBACK) -> npt.NDArray[np.int64]:
    """Vectorised :func:`current_code`, any shape."""
    values = np.asarray(current_ua, dtype=np.float64)
    codes = np.round(values * _resistance(feedback) / 1e6 * ADC_MAX / SUPPLY_V)
    if codes.size and not (np.isfinite(codes).all() and codes.min() >= 0 and codes.max() <= ADC_MAX):
        bad = values.ravel()[~((codes.ravel() >= 0) & (codes.ravel() <= ADC_MAX))][0]
        current_code(float(bad), feedback)
    return codes.astype(np.int64)


def code_current(code: int, feedback: int = DEFAULT_FEEDBACK) -> float:
    """Current in microampere of one ADC code."""
    return code * SUPPLY_V / ADC_MAX / _resistance(feedback) * 1e6


def code_currents(codes: IntArray, feedback: int = DEFAULT_FEEDBACK) -> FloatArray:
    """Currents in microampere of ADC codes, any shape."""
    return np.asarray(codes, dtype=np.float64) * SUPPLY_V / ADC_MAX / _resistance(feedback) * 1e6


def width_units(width_ns: float, unit_ns: int = REGISTER_UNIT_NS) -> int:
    """Pulse width or gap in register units, by integer division as the board's software does it.

    50 ns gives 2 units of 20 ns: ask :func:`effective_width_ns` what a cell will really see.

    Raises:
        ConfigError: negative or beyond 32 bits.
    """
    if not 0 <= width_ns < 2**32 * unit_ns:
        raise ConfigError(f"width {width_ns!r} ns: allowed 0 to {2**32 * unit_ns} ns")
    return int(width_ns // unit_ns)


def effective_width_ns(width_ns: float, unit_ns: int = REGISTER_UNIT_NS) -> int:
    """Width in nanoseconds after rounding down to whole units."""
    return width_units(width_ns, unit_ns) * unit_ns


def check_block(chip: int, bl: int, n_bl: int, sl: int, n_sl: int) -> None:
    """Refuse a chip or a block of lines that the board does not have.

    Raises:
        ConfigError: naming the field, its value and its range.
    """
    if not 1 <= chip <= 8:
        raise ConfigError(f"chip {chip!r}: the chip field allows 1 to 8")
    for name, start, count, size in (("BL", bl, n_bl, ROWS), ("SL/WL", sl, n_sl, COLUMNS)):
        if not 0 <= start < size:
            raise ConfigError(f"{name} {start!r}: allowed 0 to {size - 1}")
        if not 1 <= count <= size - start:
            raise ConfigError(f"{count!r} {name} lines from {start}: allowed 1 to {size - start}")


def to_matrix(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """READ_ALL / MAP_RESULT order (4096,) SL-major to a matrix (128, 32) of [BL][SL]."""
    return np.ascontiguousarray(np.asarray(values).reshape(COLUMNS, ROWS).T)


def from_matrix(matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A matrix (128, 32) of [BL][SL] to READ_ALL order (4096,), SL-major."""
    return np.ascontiguousarray(np.asarray(matrix).T).reshape(CELLS)
