"""Measured tables of a lab's own devices: read with every bad row refused by its number.

Three kinds, told apart by their columns (in any order, others are ignored); all currents are read currents in
microampere, or in another unit that is asked for and stands in the columns' names (state_ns, next_us):

- pulses and reads one by one: ``operation,state_ua,next_ua`` with operation set, reset or read. The next value is
  the state after one pulse, or one noisy read of the state;
- transition statistics: ``operation,state_ua,mean_ua,sd_ua``;
- the same for one pulse: ``state_ua,mean_ua,sd_ua``, as named in the ``table`` field of a preset's pulse.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import regular_bytes
from memristor_bdnn.device.columns import Unit, check_delimiter, decimal_comma, decoded, explained, named
from memristor_bdnn.errors import ConfigError

FloatArray = npt.NDArray[np.float64]
Rows = tuple[tuple[float, float, float], ...]

MAX_UA = 1000.0
"""Largest accepted current: above 1 mA the unit is taken to be wrong."""
MIN_LARGEST_UA = 1e-3
"""Smallest accepted largest current of a table: below 1 nA the unit is taken to be wrong (ampere)."""
_PULSES = ("operation", "state_ua", "next_ua")
_STATISTICS = ("operation", "state_ua", "mean_ua", "sd_ua")
_OPERATIONS = ("set", "reset", "read")
_SHOWN = 10
_OFFSET_SHARE = 0.02
"""Negative currents down to this share of the large ones are kept: zero plus noise and an amplifier's offset."""
MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class Measurements:
    """Single pulses and reads: arrays of (state, next) pairs by operation, microampere, shape (n, 2) each."""

    set_ua: FloatArray
    reset_ua: FloatArray
    read_ua: FloatArray
    source: str = field(default="", compare=False)
    """File that they come from."""


@dataclass(frozen=True)
class Statistics:
    """Rows of (state, mean next state, SD) by operation, states increasing, microampere."""

    set_rows: Rows
    reset_rows: Rows
    source: str = field(default="", compare=False)
    """File that they come from."""


def read_table(
    path: str | Path, *, unit: str | None = None, read_voltage_v: float | None = None
) -> Measurements | Statistics:
    """Read a table of single pulses or of transition statistics with an ``operation`` column.

    Args:
        path: the file.
        unit: of its columns, one of :data:`columns.UNITS`; default uA.
        read_voltage_v: at which conductances were measured, for the unit uS.

    Raises:
        ConfigError: unreadable file, unknown header, unit or delimiter, or bad rows, each named by its row number (the
            header is row 1): gaps, text, NaN, negative values, currents above 1 mA, states that do not increase. Small
            negative currents, an amplifier's offset near zero, are kept.
    """
    scale = Unit.of(unit, read_voltage_v)
    header, rows = _read(path)
    header = named(path, header, unit, scale)
    if "next_ua" in header:
        return _measurements(path, _select(path, header, rows, _PULSES), scale.factor)
    parsed, bad = _parse(_select(path, header, rows, _STATISTICS), 3, ("set", "reset"), scale.factor)
    by_kind = [[row for row in parsed if row.operation == name] for name in ("set", "reset")]
    _refuse(path, bad + [problem for group in by_kind for problem in _order_problems(group)], parsed)
    return Statistics(_as_rows(by_kind[0]), _as_rows(by_kind[1]), Path(path).name)


def read_pulse_table(path: str | Path) -> Rows:
    """Read the statistics of one pulse, columns ``state_ua,mean_ua,sd_ua``; errors as :func:`read_table`."""
    header, rows = _read(path)
    header = named(path, header, None, Unit.of(None, None))
    parsed, bad = _parse(_select(path, header, rows, _STATISTICS[1:]), 3, operations=None)
    _refuse(path, bad + _order_problems(parsed), parsed)
    return _as_rows(parsed)


def _select(
    path: str | Path, header: list[str], rows: list[tuple[int, list[str]]], names: tuple[str, ...]
) -> list[tuple[int, list[str]]]:
    """The named columns, in this order; rows of another length than the header stay as they are, to be refused."""
    missing = [name for name in names if name not in header]
    if missing:
        raise ConfigError(
            f"{path}: header {','.join(header)!r} has no {', '.join(missing)}: expected {','.join(_PULSES)!r} (single"
            f" pulses and reads), {','.join(_STATISTICS)!r} (statistics) or, in a preset, {','.join(_STATISTICS[1:])!r}"
            + explained(header)
        )
    order = [header.index(name) for name in names]
    return [(line, [row[i] for i in order] if len(row) == len(header) else row[: len(names) - 1]) for line, row in rows]


@dataclass(frozen=True)
class _Row:
    """One row of the file whose fields are all numbers (of whatever size)."""

    line: int
    operation: str
    values: tuple[float, ...]


_Problem = tuple[int, str]
"""Row number and what is wrong."""


def _measurements(path: str | Path, rows: list[tuple[int, list[str]]], factor: float) -> Measurements:
    parsed, bad = _parse(rows, 2, _OPERATIONS, factor)
    _refuse(path, bad, parsed)
    pairs = {name: [row.values for row in parsed if row.operation == name] for name in _OPERATIONS}
    arrays = {name: np.array(pairs[name], dtype=np.float64).reshape(-1, 2) for name in _OPERATIONS}
    return Measurements(arrays["set"], arrays["reset"], arrays["read"], Path(path).name)


def _read(path: str | Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header (lower case, stripped) and the other non-blank rows with their row numbers in the file."""
    try:
        text = decoded(path, regular_bytes(path, "table", MOST_BYTES))
        lines = [(number, row) for number, row in enumerate(csv.reader(io.StringIO(text, newline="")), start=1)]
    except OSError as error:
        raise ConfigError(f"cannot read table {path}: {error.strerror}") from error
    except csv.Error as error:
        raise ConfigError(f"{path} is not a CSV text file: {error}") from error
    filled = [(number, [cell.strip() for cell in row]) for number, row in lines if any(c.strip() for c in row)]
    filled = [(number, row) for number, row in filled if not row[0].startswith("#")]
    if not filled:
        raise ConfigError(f"{path} is empty")
    check_delimiter(path, filled[0][1])
    return [name.lower() for name in filled[0][1]], filled[1:]


def _parse(
    rows: list[tuple[int, list[str]]], numbers: int, operations: tuple[str, ...] | None, factor: float = 1.0
) -> tuple[list[_Row], list[_Problem]]:
    """The rows that hold numbers, times ``factor`` (to microampere), and everything wrong with single fields."""
    parsed: list[_Row] = []
    bad: list[_Problem] = []
    width = numbers + (operations is not None)
    lowest = -_OFFSET_SHARE * _largest(rows, numbers)
    for line, row in rows:
        kind = row[0].lower() if operations is not None else ""
        if len(row) != width:
            bad.append((line, "not as many fields as the header has (decimal commas, or a field too many or too few?)"))
        elif operations is not None and kind not in operations:
            bad.append((line, f"operation {row[0]!r}, choose {', '.join(operations)}"))
        else:
            values, problems = _values(row[width - numbers :], numbers, factor, lowest)
            bad.extend((line, problem) for problem in problems)
            if len(values) == numbers:
                parsed.append(_Row(line, kind, values))
    return parsed, bad


def _largest(rows: list[tuple[int, list[str]]], numbers: int) -> float:
    """What is large among the numbers of the rows, in the table's unit: their 99 % quantile."""
    found = []
    for _, row in rows:
        for cell in row[-numbers:]:
            try:
                found.append(abs(float(cell)))
            except ValueError:
                continue
    finite = np.array([value for value in found if math.isfinite(value)])
    return float(np.quantile(finite, 0.99)) if finite.size else 0.0


def _values(cells: list[str], numbers: int, factor: float, lowest: float) -> tuple[tuple[float, ...], list[str]]:
    """The numbers of one row, times ``factor``, and what is wrong with them; ``lowest`` is the least current taken."""
    names = ("state_ua", "next_ua") if numbers == 2 else ("state_ua", "mean_ua", "sd_ua")
    values, problems = [], []
    for name, cell in zip(names, cells, strict=True):
        if not cell:
            problems.append(f"{name} is empty")
            continue
        try:
            value = float(cell)
        except ValueError:
            problems.append(f"{name} = {cell!r} is not a number{decimal_comma(cell)}")
            continue
        least = 0.0 if name == "sd_ua" else lowest * factor
        value *= factor
        values.append(value)
        if not math.isfinite(value):
            problems.append(f"{name} = {cell} is not finite")
        elif value < least:
            problems.append(f"{name} = {value:g} is negative")
        elif value > MAX_UA:
            problems.append(f"{name} = {value:g} uA is above 1 mA: wrong unit? Expected microampere")
    return tuple(values), problems


def _order_problems(rows: Sequence[_Row]) -> list[_Problem]:
    """Where the states of one operation do not increase, leave a hole, or are only one."""
    bad = [
        (row.line, f"state_ua = {row.values[0]:g} does not increase (row {before.line} has {before.values[0]:g})")
        for before, row in pairwise(rows)
        if row.values[0] <= before.values[0]
    ]
    if len(rows) == 1:
        bad.append((rows[0].line, "one state only, at least two are needed to interpolate"))
    if len(rows) > 3 and not bad:
        states = np.array([row.values[0] for row in rows])
        steps = np.diff(states)
        holes = np.flatnonzero((steps > 5 * np.median(steps)) & (steps > 0.2 * (states[-1] - states[0])))
        for i in map(int, holes):
            text = f"gap of {steps[i]:g} uA after state {states[i]:g} (median step {np.median(steps):g})"
            bad.append((rows[i + 1].line, f"{text}: measure in between"))
    return bad


def _as_rows(rows: Sequence[_Row]) -> Rows:
    """Rows of a pulse's table: means that an amplifier's offset made negative are 0."""
    return tuple((max(row.values[0], 0.0), max(row.values[1], 0.0), row.values[2]) for row in rows)


def _refuse(path: str | Path, bad: list[_Problem], parsed: Sequence[_Row]) -> None:
    """Raise if anything is wrong: bad rows, no rows, or currents that can only be in ampere."""
    if bad:
        shown = [f"row {line}: {problem}" for line, problem in sorted(bad)]
        more = f"\n  and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise ConfigError(f"{path}: {len(bad)} problems\n  " + "\n  ".join(shown[:_SHOWN]) + more)
    if not parsed:
        raise ConfigError(f"{path}: no rows below the header")
    largest = max(max(row.values) for row in parsed)
    if largest < MIN_LARGEST_UA:
        raise ConfigError(
            f"{path}: rows {parsed[0].line} to {parsed[-1].line}: the largest current is {largest:g} uA: wrong unit?"
            " Expected microampere, not ampere"
        )
