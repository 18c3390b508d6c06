"""Limits that protect the devices: voltages, widths, pulses per minute, endurance; checked before anything is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.wire.commands import Dialect
from memristor_bdnn.accelerator.escim.wire.layouts import MapParameters
from memristor_bdnn.accelerator.escim.wire.scaling import (
    CELLS,
    COLUMNS,
    REGISTER_UNIT_NS,
    ROWS,
    current_code,
    current_codes,
    effective_width_ns,
)
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import AcceleratorError, ConfigError
from memristor_bdnn.state import check_array, load_npz, save_npz

_BUCKETS, _BUCKET_S = 6, 10.0
_SAVE_S = 60.0
MAX_CHIPS = 8
P_MAP_PULSES = 998
"""Pulses of a cell that the published firmware has room for in its log of a job, 1000 words a cell."""
LONGEST_RELAX_US = 100_000
"""Rest of write-verify before its checks at most: a job gets 0.44 s a cell before its answer counts as lost."""


class SafetyError(AcceleratorError):
    """A limit that protects the devices refused an operation; nothing was sent."""


@dataclass(frozen=True)
class SafetyLimits:
    """Hard limits; raise one only for devices that you know to bear it."""

    max_bl_v: float = option(3.3, "highest bit-line voltage", low=0, high=5, unit="V", source="assumption")
    max_sl_v: float = option(4.0, "highest source-line voltage", low=0, high=5, unit="V", source="host software")
    max_wl_v: float = option(5.0, "highest gate voltage", low=0, high=5, unit="V", source="host software")
    max_read_v: float = option(0.3, "highest read voltage", low=0, high=1, unit="V", source="assumption")
    max_width_ns: float = option(1000.0, "longest pulse", low=0, high=1e9, unit="ns", source="assumption")
    max_map_pulses: int = option(
        300,
        "write-verify pulses per cell and job; a job that could exceed the endurance with them is refused",
        low=1,
        high=100000,
        source="host software",
    )
    typical_map_pulses: int = option(
        5,
        "of these, what a cell usually takes: what is counted, as the board does not tell",
        low=1,
        source="simulation",
    )
    max_cell_pulses_per_minute: int = option(6000, "pulses per cell and minute", low=1, source="assumption")
    max_pulses_per_minute: int = option(2_000_000, "pulses of all cells per minute", low=1, source="assumption")
    endurance: int = option(10_000_000, "pulses per cell in all sessions", low=1, source="assumption")

    def __post_init__(self) -> None:
        check(self)


def check_pulse(
    limits: SafetyLimits,
    *,
    bl: float | None = None,
    sl: float | None = None,
    wl: float | None = None,
    width_ns: float | None = None,
) -> None:
    """Refuse a pulse beyond a voltage or width limit, and one that would do nothing; what is None is not looked at.

    Raises:
        SafetyError: naming the line, its value and the limit.
    """
    for name, value, limit, unit in (
        ("BL", bl, limits.max_bl_v, "V"),
        ("SL", sl, limits.max_sl_v, "V"),
        ("WL", wl, limits.max_wl_v, "V"),
        ("pulse width", width_ns, limits.max_width_ns, "ns"),
    ):
        if value is None:
            continue
        if not 0 < value <= limit:
            rest = "" if value > 0 else ", and a pulse needs more than 0"
            raise SafetyError(f"{name} {value:g} {unit}: the safety limit is {limit:g} {unit}{rest}")
    if width_ns is not None and not effective_width_ns(width_ns):
        raise SafetyError(
            f"pulse width {width_ns:g} ns: the board counts whole units of {REGISTER_UNIT_NS} ns and would give none"
        )


class Guard:
    """Counts the pulses of every cell and refuses what exceeds a limit: the only counter of pulses on the board.

    Write-verify does not tell how many pulses it gave: what it usually gives is counted, but a job is refused when
    the most it may give would exceed the endurance.
    """

    def __init__(
        self, limits: SafetyLimits, file: str | Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start counting.

        Args:
            limits: what is allowed.
            file: .npz in which the counts of the cells live on between sessions.
            clock: seconds, monotonic; replaced in tests.

        Raises:
            ConfigError: the file exists but is no such record.
        """
        self.limits = limits
        self._file = Path(file) if file else None
        self._clock = clock
        self.pulses: npt.NDArray[np.int64] = np.zeros((MAX_CHIPS, CELLS), dtype=np.int64)
        """Pulses given to each cell so far, shape (8, 4096), BL-major; write-verify at its usual number."""
        self._recent: npt.NDArray[np.int64] = np.zeros((_BUCKETS, MAX_CHIPS, CELLS), dtype=np.int64)
        self._window: npt.NDArray[np.int64] = np.zeros((MAX_CHIPS, CELLS), dtype=np.int64)
        self._total = np.zeros(_BUCKETS, dtype=np.int64)
        self._bucket = 0
        self._ahead: npt.NDArray[np.int64] | None = None
        self._turned = self._saved = clock()
        if self._file is not None and self._file.exists():
            stored = load_npz(self._file)
            if "pulses" not in stored:
                raise ConfigError(f"{self._file} is no endurance record: expected pulses of shape {self.pulses.shape}")
            what = f"{self._file} is no endurance record: pulses"
            check_array(what, stored["pulses"], kinds="i", shape=self.pulses.shape, low=0, high=2**48)
            self.pulses = stored["pulses"].astype(np.int64)

    def check_voltages(
        self,
        *,
        bl: float | None = None,
        sl: float | None = None,
        wl: float | None = None,
        width_ns: float | None = None,
    ) -> None:
        """As :func:`check_pulse`, with this guard's limits."""
        check_pulse(self.limits, bl=bl, sl=sl, wl=wl, width_ns=width_ns)

    def check_read(self, volts: float) -> None:
        """Refuse a read voltage beyond its limit, and one that gives no current."""
        if not 0 < volts <= self.limits.max_read_v:
            raise SafetyError(
                f"read voltage {volts:g} V: more than 0, the safety limit is {self.limits.max_read_v:g} V"
            )

    def check_map(self, p: MapParameters, targets_ua: npt.NDArray[np.floating[Any]], dialect: Dialect) -> None:
        """Refuse a write-verify job beyond the limits, or one in which no cell could be accepted.

        Args:
            p: its parameters.
            targets_ua: of any shape, uA.
            dialect: of the board.

        Raises:
            SafetyError: naming the value and what is allowed.
            ConfigError: a voltage or current that has no code.
        """
        for name, ladder in (("bl", p.set_bl), ("wl", p.set_wl), ("sl", p.reset_sl), ("wl", p.reset_wl)):
            start, step, end = ladder
            for volts in (start, end):
                self.check_voltages(**{name: volts})
            if step < 0 or start > end:
                raise SafetyError(f"{name.upper()} ladder {ladder} V: start, step, end; not falling")
        for width in (p.set_width_ns, p.reset_width_ns):
            self.check_voltages(width_ns=width)
        most = self.limits.max_map_pulses
        for value, low, high, what in (
            (
                p.max_pulses,
                1,
                min(most, P_MAP_PULSES) if dialect is Dialect.P else most,
                "write-verify pulses per cell",
            ),
            (p.relax_us, 0, LONGEST_RELAX_US, "us of rest before the checks of write-verify"),
            (p.max_checks, 1, 1000, "checks of write-verify"),
            (p.check_threshold, 0, p.max_checks, "checks of write-verify that must pass"),
        ):
            if not low <= value <= high:
                raise SafetyError(f"{value} {what}: the safety limit is {high}, at least {low}")
        below = current_code(p.tolerance_low_ua)
        if min(below, current_code(p.tolerance_high_ua)) < 1:
            raise SafetyError("a write-verify tolerance of less than one step of the converter accepts no cell")
        codes = current_codes(np.asarray(targets_ua))
        if codes.size and codes.min() < below:
            raise SafetyError(
                f"write-verify target {np.min(targets_ua):g} uA below the tolerance of {p.tolerance_low_ua:g} uA: the"
                " board subtracts without sign and would pulse the cell until its pulses are spent"
            )

    def check(self, cells: npt.NDArray[np.integer[Any]], pulses: int = 1) -> None:
        """Refuse pulses that would exceed a limit; nothing is counted.

        Args:
            cells: numbers through all chips, (chip - 1) * 4096 + BL * 32 + SL, no repetitions.
            pulses: for each of them at most.

        Raises:
            SafetyError: a limit would be exceeded; names the cell.
        """
        if not cells.size:
            return
        self._turn()
        limits, now = self.limits, self._now(pulses)
        recent = int(self._total.sum())
        if recent + now * cells.size > limits.max_pulses_per_minute:
            raise SafetyError(
                f"{now * cells.size} pulses after {recent} would be more than {limits.max_pulses_per_minute} pulses in"
                " a minute: wait, or raise the limit max_pulses_per_minute"
            )
        for counts, limit, what in (
            (self._window.reshape(-1)[cells] + now, limits.max_cell_pulses_per_minute, "pulses within a minute"),
            (self.pulses.reshape(-1)[cells] + pulses, limits.endurance, "pulses in all (endurance budget)"),
        ):
            if int(counts.max()) > limit:
                chip, cell = divmod(int(cells[int(counts.argmax())]), CELLS)
                raise SafetyError(
                    f"chip {chip + 1} BL {cell // COLUMNS} SL {cell % COLUMNS} would have {int(counts.max())} {what};"
                    f" the safety limit is {limit}"
                )

    def charge(self, chip: int, cells: Sequence[int] | npt.NDArray[np.int64], pulses: int = 1) -> None:
        """Count pulses before they are sent; all or nothing.

        Args:
            chip: from 1.
            cells: BL * 32 + SL of the cells, no repetitions.
            pulses: for each of them at most.

        Raises:
            SafetyError: see :meth:`check`.
        """
        index = np.asarray(cells)
        self.check((chip - 1) * CELLS + index, pulses)
        self._count(chip, index, self._now(pulses))
        if self._clock() - self._saved > _SAVE_S:
            self.save()

    def refund(self, chip: int, cells: Sequence[int] | npt.NDArray[np.int64], pulses: int = 1) -> None:
        """Take back a charge whose pulses were certainly not given."""
        self._count(chip, np.asarray(cells), -self._now(pulses))

    def _now(self, pulses: int) -> int:
        return min(pulses, self.limits.typical_map_pulses)

    def _count(self, chip: int, index: npt.NDArray[np.int64], now: int) -> None:
        self.pulses[chip - 1, index] += now
        self._window[chip - 1, index] += now
        self._recent[self._bucket, chip - 1, index] += now
        self._total[self._bucket] += now * index.size

    def _turn(self) -> None:
        """Forget what is older than a minute, in steps of ten seconds."""
        steps = min(int((self._clock() - self._turned) / _BUCKET_S), _BUCKETS)
        if not steps:
            return
        self._turned = self._clock()
        for _ in range(steps):
            self._bucket = (self._bucket + 1) % _BUCKETS
            self._window -= self._recent[self._bucket]
            self._recent[self._bucket] = 0
            self._total[self._bucket] = 0

    def save(self, ahead: npt.NDArray[np.integer[Any]] | None = None, settled: bool = False) -> None:
        """Write the counts to the endurance file, if there is one.

        Args:
            ahead: cells, numbered through all chips, that are about to get a pulse each: the file counts them before
                they are given, so that neither a full disk nor the end of this process leaves one uncounted.
            settled: nothing is under way any more; what was counted ahead and not given is taken back.

        Raises:
            StoreError: it cannot be written; what was counted before is kept.
        """
        self._saved = self._clock()
        if ahead is not None or settled:
            self._ahead = None
        if ahead is not None:
            self._ahead = self.pulses.copy()
            self._ahead.reshape(-1)[ahead] += 1
        if self._file is not None:
            counted = self.pulses if self._ahead is None else np.maximum(self.pulses, self._ahead)
            save_npz(self._file, {"pulses": counted})

    def map(self, chip: int) -> npt.NDArray[np.int64]:
        """Pulses of a chip's cells so far, shape (128, 32)."""
        return self.pulses[chip - 1].reshape(ROWS, COLUMNS)
