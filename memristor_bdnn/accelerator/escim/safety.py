"""Limits that protect the devices: voltages, widths, pulses per minute, endurance; checked before anything is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.wire.scaling import CELLS, COLUMNS, ROWS
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import AcceleratorError, ConfigError
from memristor_bdnn.state import check_array, load_npz, save_npz

_BUCKETS, _BUCKET_S = 6, 10.0
_SAVE_S = 60.0
MAX_CHIPS = 8


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
        300, "write-verify pulses per cell and job", low=1, high=100000, source="host software"
    )
    typical_map_pulses: int = option(
        5, "of these, what a cell usually takes; counted against the limits per minute", low=1, source="simulation"
    )
    max_cell_pulses_per_minute: int = option(6000, "pulses per cell and minute", low=1, source="assumption")
    max_pulses_per_minute: int = option(2_000_000, "pulses of all cells per minute", low=1, source="assumption")
    endurance: int = option(10_000_000, "pulses per cell in all sessions", low=1, source="assumption")
    allow_form: bool = option(False, "whether forming is allowed at all")

    def __post_init__(self) -> None:
        check(self)


class Guard:
    """Counts the pulses of every cell and refuses what exceeds a limit.

    Write-verify does not tell how many pulses it gave: the endurance budget is charged with the most it may
    give, the limits per minute with what it usually gives.
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
        """Pulses given to each cell so far, shape (8, 4096), BL-major; write-verify at its worst case."""
        self._recent: npt.NDArray[np.int64] = np.zeros((_BUCKETS, MAX_CHIPS, CELLS), dtype=np.int64)
        self._window: npt.NDArray[np.int64] = np.zeros((MAX_CHIPS, CELLS), dtype=np.int64)
        self._total = np.zeros(_BUCKETS, dtype=np.int64)
        self._bucket = 0
        self._turned = self._saved = clock()
        if self._file is not None and self._file.exists():
            stored = load_npz(self._file)
            if "pulses" not in stored:
                raise ConfigError(f"{self._file} is no endurance record: expected pulses of shape {self.pulses.shape}")
            what = f"{self._file} is no endurance record: pulses"
            check_array(what, stored["pulses"], kinds="i", shape=self.pulses.shape, low=0, high=2**48)
            self.pulses = stored["pulses"].astype(np.int64)

    def check_voltages(self, *, bl: float = 0.0, sl: float = 0.0, wl: float = 0.0, width_ns: float = 0.0) -> None:
        """Refuse a pulse beyond a voltage or width limit.

        Raises:
            SafetyError: naming the line, its value and the limit.
        """
        limits = self.limits
        for name, value, limit, unit in (
            ("BL", bl, limits.max_bl_v, "V"),
            ("SL", sl, limits.max_sl_v, "V"),
            ("WL", wl, limits.max_wl_v, "V"),
            ("pulse width", width_ns, limits.max_width_ns, "ns"),
        ):
            if not 0 <= value <= limit:
                raise SafetyError(f"{name} {value:g} {unit}: the safety limit is {limit:g} {unit}")

    def check_read(self, volts: float) -> None:
        """Refuse a read voltage beyond its limit."""
        if not 0 <= volts <= self.limits.max_read_v:
            raise SafetyError(f"read voltage {volts:g} V: the safety limit is {self.limits.max_read_v:g} V")

    def charge(self, chip: int, cells: Sequence[int] | npt.NDArray[np.int64], pulses: int = 1) -> None:
        """Count pulses before they are sent; all or nothing.

        Args:
            chip: from 1.
            cells: BL * 32 + SL of the cells, no repetitions.
            pulses: for each of them.

        Raises:
            SafetyError: a limit would be exceeded; names the cell.
        """
        self._turn()
        index, limits, now = np.asarray(cells), self.limits, self._now(pulses)
        if int(self._total.sum()) + now * index.size > limits.max_pulses_per_minute:
            raise SafetyError(f"more than {limits.max_pulses_per_minute} pulses in a minute: wait, or raise the limit")
        for counts, limit, what in (
            (self._window[chip - 1, index] + now, limits.max_cell_pulses_per_minute, "pulses within a minute"),
            (self.pulses[chip - 1, index] + pulses, limits.endurance, "pulses in all (endurance budget)"),
        ):
            if int(counts.max()) > limit:
                cell = int(index[int(counts.argmax())])
                raise SafetyError(
                    f"chip {chip} BL {cell // COLUMNS} SL {cell % COLUMNS} would have {int(counts.max())} {what};"
                    f" the safety limit is {limit}"
                )
        self._count(chip, index, pulses, now)
        if self._clock() - self._saved > _SAVE_S:
            self.save()

    def refund(self, chip: int, cells: Sequence[int] | npt.NDArray[np.int64], pulses: int = 1) -> None:
        """Take back a charge whose pulses were certainly not given."""
        self._count(chip, np.asarray(cells), -pulses, -self._now(pulses))

    def _now(self, pulses: int) -> int:
        return min(pulses, self.limits.typical_map_pulses)

    def _count(self, chip: int, index: npt.NDArray[np.int64], pulses: int, now: int) -> None:
        self.pulses[chip - 1, index] += pulses
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

    def save(self) -> None:
        """Write the counts to the endurance file, if there is one; done every minute and at the end."""
        self._saved = self._clock()
        if self._file is not None:
            save_npz(self._file, {"pulses": self.pulses})

    def map(self, chip: int) -> npt.NDArray[np.int64]:
        """Pulses of a chip's cells so far, shape (128, 32)."""
        return self.pulses[chip - 1].reshape(ROWS, COLUMNS)
