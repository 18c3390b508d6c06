"""Whether the chips behind a new connection are those that were there before, cell by cell, with figures.

A connection that was away may come back with other chips in the sockets, or with cells that somebody else pulsed.
Every cell therefore has a range in which it may read next: what it read last; open upwards after a SET that may have
been given, downwards after a RESET; the target, too, after a write-verify job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.wire.scaling import CELLS
from memristor_bdnn.errors import AcceleratorError

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
MOST_OFF = 0.05
"""Share of a chip's cells that may be off by more than the tolerance, beyond those that their read noise puts there."""
SPARE_CELLS = 2
"""Cells off that are forgiven besides, so that a few cells are not judged by one of them."""
FEWEST_CELLS = 32
"""Cells from which a correlation, and a judgement by untouched cells alone, means something."""
RELATED, UNRELATED = 0.8, 0.5
"""Correlation with the last reading below which the chip is read again; share of the correlation of two new reads with
each other below which it is another chip: fresh chips lie within the tolerance of each other."""
READS = 3
"""Reads of a chip that is in doubt at first sight."""


class OtherChips(AcceleratorError):
    """The chips behind the connection read differently than before: others, or pulsed by somebody else."""


@dataclass(frozen=True)
class Comparison:
    """Reads of a chip beside what its cells may read.

    Attributes:
        cells: that were compared.
        median_ua: median distance of a cell's mean read from where it may read, uA; the larger one of cells that got
            SETs and of cells that got RESETs, where hardly any got none.
        still: cells that nothing was sent to since they were read.
        off: share of these farther off than the tolerance; written cells relax, so that many may be.
        noise_off: share of the cells that two of the new reads are so far apart; 0 with one read.
        correlation: of the mean read with the expected one, over cells not pulsed since; NaN where it means nothing.
        noise_correlation: of two of the new reads with each other; 1 with one read.
        tolerance_ua: median distance and distance of a cell that is allowed, uA.
    """

    cells: int
    median_ua: float
    still: int
    off: float
    noise_off: float
    correlation: float
    noise_correlation: float
    tolerance_ua: float

    @property
    def doubtful(self) -> bool:
        """Whether one read is not enough to say that the chip is the same."""
        return self.differs or self.correlation < RELATED

    @property
    def differs(self) -> bool:
        """Whether it is another chip, or pulsed since."""
        if not self.cells:
            return False
        allowed = MOST_OFF + self.noise_off + SPARE_CELLS / max(self.still, 1)
        unrelated = self.noise_correlation > UNRELATED and self.correlation < UNRELATED * self.noise_correlation
        return self.median_ua > self.tolerance_ua or self.off > allowed or unrelated

    def __str__(self) -> str:
        related = "" if np.isnan(self.correlation) else f", correlation {self.correlation:.2f}"
        return (
            f"median difference {self.median_ua:.3g} uA (allowed {self.tolerance_ua:g}), {self.off:.1%} of"
            f" {self.still} cells off by more than that (allowed {MOST_OFF + self.noise_off:.1%}){related}"
        )


class Readings:
    """What every cell read last, and where it may read now.

    Attributes:
        last_ua: shape (cells,), uA; 0 where nothing was read yet.
    """

    def __init__(self, cells: int, pulsed: Callable[[FloatArray, FloatArray, bool], None] | None = None) -> None:
        """Nothing is known of so many cells.

        Args:
            cells: on all chips.
            pulsed: told what cells read before and after pulses of one kind (before, after, reset).
        """
        self.last_ua: npt.NDArray[np.float32] = np.zeros(cells, dtype=np.float32)
        self._low = np.full(cells, -np.inf, dtype=np.float32)
        self._high = np.full(cells, np.inf, dtype=np.float32)
        self._target = np.full(cells, np.nan, dtype=np.float32)
        self._tell, self._waiting = pulsed, np.zeros(-(-cells // CELLS), dtype=np.bool_)

    def keep(self, chip: int, currents_ua: FloatArray) -> None:
        """A reading of a chip, counted from 0, shape (4096,), to which it is held from now on."""
        part = slice(chip * CELLS, (chip + 1) * CELLS)
        if self._waiting[chip]:
            self._waiting[chip] = False
            self._tell_of(part, currents_ua)
        self.last_ua[part] = self._low[part] = self._high[part] = currents_ua
        self._target[part] = np.nan

    def pulsed(self, cells: list[int], reset: bool) -> None:
        """These cells of one chip may get, or have got, a pulse."""
        if reset:
            self._low[cells] = -np.inf
        else:
            self._high[cells] = np.inf
        self._waiting[cells[0] // CELLS] = True

    def _tell_of(self, part: slice, now_ua: FloatArray) -> None:
        """Tell of the cells of a chip that got pulses of one kind, and no write-verify, since they were read."""
        if self._tell is None:
            return
        up, down = np.isinf(self._high[part]), np.isinf(self._low[part])
        for where, reset in ((up & ~down, False), (down & ~up, True)):
            chosen = where & np.isnan(self._target[part])
            if chosen.any():
                self._tell(self.last_ua[part][chosen], now_ua[chosen], reset)

    def aimed(self, cells: IntArray, target_ua: FloatArray) -> None:
        """A write-verify job may bring these cells to their targets, uA."""
        self._target[cells] = target_ua

    def forget(self) -> tuple[npt.NDArray[np.float32], ...]:
        """Hold the cells to nothing any more; returns what :meth:`recall` takes back."""
        before = self._low.copy(), self._high.copy(), self._target.copy(), self.last_ua.copy()
        self._low[:], self._high[:], self._target[:] = -np.inf, np.inf, np.nan
        return before

    def recall(self, before: tuple[npt.NDArray[np.float32], ...]) -> None:
        """Undo :meth:`forget` and everything since."""
        self._low[:], self._high[:], self._target[:], self.last_ua[:] = before

    def compare(self, chip: int, reads_ua: FloatArray, n_cells: int, tolerance_ua: float) -> Comparison:
        """Reads of a chip beside what its cells may read.

        Args:
            chip: from 0.
            reads_ua: shape (reads, 4096), uA.
            n_cells: cells in use, over all chips; the others are not looked at.
            tolerance_ua: see :class:`Comparison`.
        """
        stop = min(max(n_cells - chip * CELLS, 0), CELLS)
        part = slice(chip * CELLS, chip * CELLS + stop)
        return _compare(self._low[part], self._high[part], self._target[part], reads_ua[:, :stop], tolerance_ua)


def compare_to(saved_ua: FloatArray, reads_ua: FloatArray, tolerance_ua: float) -> Comparison:
    """Reads, shape (reads, n), beside one saved reading (n,) of cells that nobody should have pulsed since; uA."""
    return _compare(saved_ua, saved_ua, np.full(saved_ua.shape, np.nan), reads_ua, tolerance_ua)


def _compare(
    low_ua: FloatArray, high_ua: FloatArray, target_ua: FloatArray, reads_ua: FloatArray, tolerance_ua: float
) -> Comparison:
    """All of shape (n,), the reads (reads, n)."""
    now = reads_ua.mean(axis=0)
    outside = np.maximum(np.maximum(low_ua - now, now - high_ua), 0.0)
    from_target = np.abs(now - target_ua)
    at_target = from_target < outside
    distance = np.where(at_target, from_target, outside)
    bounded = low_ua == high_ua
    groups = [bounded]
    if bounded.sum() < FEWEST_CELLS:  # hardly a cell that got no pulse: by what a SET or a RESET cannot do
        groups += [np.isfinite(low_ua) & ~bounded, np.isfinite(high_ua) & ~bounded]
    judged = np.logical_or.reduce(groups)
    if not judged.any():
        return Comparison(0, 0.0, 0, 0.0, 0.0, np.nan, 1.0, tolerance_ua)
    still, waiting = bounded & np.isnan(target_ua), bounded & ~at_target
    apart = np.abs(reads_ua[0] - reads_ua[-1])
    return Comparison(
        cells=int(judged.sum()),
        median_ua=max(float(np.median(distance[group])) for group in _large(groups, judged)),
        still=int(still.sum()),
        off=_share(distance[still] > tolerance_ua),
        noise_off=_share(apart[still] > tolerance_ua),
        correlation=_correlation(low_ua[waiting], now[waiting]),
        noise_correlation=1.0 if len(reads_ua) == 1 else _correlation(reads_ua[0][waiting], reads_ua[-1][waiting]),
        tolerance_ua=tolerance_ua,
    )


def _large(groups: list[npt.NDArray[np.bool_]], judged: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.bool_]]:
    """Those of the groups (n,) from which a median means something; all cells where there is none."""
    return [group for group in groups if group.sum() >= FEWEST_CELLS] or [judged]


def _share(where: npt.NDArray[np.bool_]) -> float:
    return float(where.mean()) if where.size else 0.0


def _correlation(a: FloatArray, b: FloatArray) -> float:
    """NaN for too few cells, or where one does not vary."""
    if a.size < FEWEST_CELLS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1])
