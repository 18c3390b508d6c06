"""Names, units, delimiters and encodings of a lab's table: what is meant is understood, or said in the refusal."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memristor_bdnn.errors import ConfigError

UNITS = ("uA", "nA", "uS")
"""Units of a table's columns; conductances need the read voltage."""
_UNIT = r"(?P<unit>[unµμmp]?[as])"
_KNOWN = re.compile(rf"(?P<name>state|next|mean|sd)(?:[ _]*[(\[]?{_UNIT}[)\]]?)?")
_ANY_UNIT = re.compile(rf".*[ _(\[]{_UNIT}[)\]]?")
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Unit:
    """What one unit of a table's columns is in microampere."""

    name: str
    factor: float

    @classmethod
    def of(cls, name: str | None, read_voltage_v: float | None) -> Unit:
        """From ``--unit`` and ``--read-voltage``. Raises ConfigError: unknown unit, uS without a positive voltage."""
        known = {unit.lower(): unit for unit in UNITS}
        unit = known.get((name or "uA").lower().replace("µ", "u").replace("μ", "u"))
        if unit is None:
            raise ConfigError(f"unit {name!r}: choose one of {', '.join(UNITS)}")
        if unit == "uS" and not (read_voltage_v is not None and 0 < read_voltage_v <= 20):
            raise ConfigError(
                f"unit uS needs the read voltage at which the conductances were measured, above 0 and at most 20 V "
                f"(--read-voltage), got {read_voltage_v!r}"
            )
        return cls(unit, {"uA": 1.0, "nA": 1e-3, "uS": read_voltage_v or 0.0}[unit])


def decoded(path: str | Path, content: bytes) -> str:
    """The text of a table. Raises ConfigError that names the encoding which it seems to have."""
    for mark, name in ((codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16")):
        if content.startswith(mark):
            raise ConfigError(f"{path} is not a CSV text file in UTF-8 but in {name}: save it as UTF-8 (CSV UTF-8)")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte, line = content[error.start], content[: error.start].count(b"\n") + 1
        legible = sum(32 <= value < 127 or value in b"\t\r\n" or value > 160 for value in content[:4096])
        guess = " (Latin-1, Windows-1252?)" if legible > 0.95 * len(content[:4096]) else ""
        raise ConfigError(
            f"{path} is not a CSV text file in UTF-8: byte 0x{byte:02x} in row {line}{guess}: save it as UTF-8"
        ) from error
    if "\x00" in text:
        raise ConfigError(
            f"{path} is not a CSV text file: it holds zero bytes (UTF-16 without a mark? Save it as UTF-8)"
        )
    return text


def check_delimiter(path: str | Path, header: Sequence[str]) -> None:
    """Refuse a table whose fields are not separated by commas, naming what separates them."""
    for sign, name in _DELIMITERS.items():
        if len(header) <= 2 and sum(cell.count(sign) for cell in header) >= 1 and sign not in ("", ","):
            raise ConfigError(
                f"{path}: the fields are separated by {name}, expected commas: save it with commas and decimal points"
            )


def named(path: str | Path, header: Sequence[str], given: str | None, unit: Unit) -> list[str]:
    """The header with our names (state_ua, next_ua, mean_ua, sd_ua) for the columns meant, whatever their unit.

    Args:
        path: for errors.
        header: lower case, stripped.
        given: the unit as it was asked for, None for none: then only names with ``_ua`` are taken.
        unit: what the columns are to be in.

    Raises:
        ConfigError: a column's name says another unit than is asked for; the text says what to do.
    """
    made = []
    for column in header:
        found = _KNOWN.fullmatch(column)
        if not found or (found["unit"] is None and given is None):
            made.append(column)
            continue
        said = (found["unit"] or unit.name).replace("µ", "u").replace("μ", "u").lower()
        if said != unit.name.lower():
            raise ConfigError(f"{path}: column {column!r} is in {_shown(said)}, {_wanted(said, given, unit)}")
        made.append(f"{found['name']}_ua")
    return made


def explained(header: Sequence[str]) -> str:
    """What unknown columns with a unit in their names seem to be, for the refusal of a header; empty for none."""
    with_unit = [(column, found["unit"]) for column in header if (found := _ANY_UNIT.fullmatch(column))]
    with_unit = [(column, unit) for column, unit in with_unit if not _KNOWN.fullmatch(column)]
    bare = [column for column in header if (found := _KNOWN.fullmatch(column)) and found["unit"] is None]
    text = ""
    if with_unit:
        listed = ", ".join(f"{column!r} (in {_shown(unit)})" for column, unit in with_unit)
        text += (
            f". Columns with a unit: {listed}: call them state_UNIT, next_UNIT, mean_UNIT, sd_UNIT and give --unit "
            f"{'|'.join(UNITS)} (uS with --read-voltage)"
        )
    if bare:
        text += f". {', '.join(map(repr, bare))} say no unit: add _ua, or give --unit {'|'.join(UNITS)}"
    return text


def decimal_comma(cell: str) -> str:
    """A hint for a field that is no number, or empty."""
    number = cell.replace(",", ".", 1)
    if "," in cell and re.fullmatch(r"[+-]?\d*\.?\d+(e[+-]?\d+)?", number, re.IGNORECASE):
        return f": a decimal comma? Write {number}"
    return ""


def _wanted(said: str, given: str | None, unit: Unit) -> str:
    units = {name.lower(): name for name in UNITS}
    if said in units:
        voltage = " and --read-voltage" if said == "us" else ""
        asked = f"--unit says {unit.name}: give" if given is not None else "expected uA: give"
        return f"{asked} --unit {units[said]}{voltage}"
    return f"convert it to {', '.join(UNITS)} first"


def _shown(unit: str) -> str:
    unit = unit.replace("µ", "u").replace("μ", "u").lower()
    return unit[:-1] + unit[-1].upper()
