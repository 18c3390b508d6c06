"""A first test of real cells: SET and RESET trains, their transition statistics, a table for `device fit`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.accelerator.watching import sends_nothing
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import write_atomic

FloatArray = npt.NDArray[np.float64]
MOVING_UA = 0.1
"""A cell whose whole range is below this did not respond."""


@dataclass(frozen=True)
class SelfTest:
    """What the cells did.

    Attributes:
        set_ua: (state before, state after) of every SET pulse, shape (n, 2), means over the reads.
        reset_ua: the same of every RESET pulse.
        read_ua: (state, single read) pairs, shape (m, 2).
        range_ua: lowest and highest state of each cell, shape (cells, 2).
    """

    set_ua: FloatArray
    reset_ua: FloatArray
    read_ua: FloatArray
    range_ua: FloatArray

    @property
    def mean_set_ua(self) -> float:
        """Mean change by one SET pulse."""
        return float((self.set_ua[:, 1] - self.set_ua[:, 0]).mean())

    @property
    def mean_reset_ua(self) -> float:
        """Mean change by one RESET pulse."""
        return float((self.reset_ua[:, 1] - self.reset_ua[:, 0]).mean())

    @property
    def silent(self) -> int:
        """Cells that did not respond (stuck, not formed, or not connected)."""
        return int((np.ptp(self.range_ua, axis=1) < MOVING_UA).sum())

    @property
    def passed(self) -> bool:
        """SETs raise, RESETs lower, and at least half of the cells respond."""
        return self.mean_set_ua > 0 > self.mean_reset_ua and 2 * self.silent <= len(self.range_ua)

    def table(self, width_ua: float = 0.5) -> list[tuple[str, int, float, float, float]]:
        """Rows (range of states, pulses, mean change, SD of the change, share upwards) for each operation."""
        rows = []
        for name, pairs in (("SET", self.set_ua), ("RESET", self.reset_ua)):
            bins = np.floor(pairs[:, 0] / width_ua).astype(int)
            for index in np.unique(bins):
                change = np.diff(pairs[bins == index], axis=1)[:, 0]
                label = f"{name} {index * width_ua:.1f}-{(index + 1) * width_ua:.1f} uA"
                rows.append((label, change.size, float(change.mean()), float(change.std()), float((change > 0).mean())))
        return rows

    def write_csv(self, path: str | Path) -> None:
        """Write ``operation,state_ua,next_ua`` rows, as `memristor-bdnn device fit` reads them.

        Raises:
            StoreError: it cannot be written; an older content is as it was.
        """
        lines = ["operation,state_ua,next_ua"]
        for name, pairs in (("set", self.set_ua), ("reset", self.reset_ua), ("read", self.read_ua)):
            lines += [f"{name},{state:.5f},{value:.5f}" for state, value in pairs]
        write_atomic(path, ("\n".join(lines) + "\n").encode())


def run(
    accelerator: Accelerator,
    cells: npt.NDArray[np.integer],
    *,
    pulses: int = 8,
    cycles: int = 2,
    reads: int = 10,
    progress: Callable[[int, int], None] | None = None,
    keep: Callable[[SelfTest], None] | None = None,
) -> SelfTest:
    """Pulse cells up and down and read after every pulse.

    A dry run is none: what cells read after a pulse that was not given is no transition. See :func:`rehearse`.

    Args:
        accelerator: with these cells allocated.
        cells: cell numbers.
        pulses: SETs, then as many RESETs, in a cycle.
        cycles: repetitions.
        reads: reads averaged for a state.
        progress: called with (pulses done, pulses).
        keep: called after every pulse with what is known so far, so that it can be saved before the next.

    Raises:
        ConfigError: no cells, or not allocated; or the accelerator is in a dry run.
        AcceleratorError: from the hardware.
    """
    if sends_nothing(accelerator):
        raise ConfigError("selftest in a dry run: no pulse is sent, so no transition can be measured; use rehearse()")
    cells = _checked(accelerator, cells)
    span = slice(int(cells[0]), int(cells[-1]) + 1)
    chosen = cells - span.start
    samples = accelerator.read(reads, span)[:, chosen].astype(np.float64)
    state, lowest, highest = samples.mean(axis=0), samples.mean(axis=0), samples.mean(axis=0)
    pairs: dict[int, list[FloatArray]] = {1: [], -1: []}
    noise = [np.stack([np.broadcast_to(state, samples.shape), samples], axis=-1).reshape(-1, 2)]
    train = _train(pulses, cycles)

    def known() -> SelfTest:
        empty = [np.empty((0, 2))]
        up, down = (np.concatenate(pairs[step] or empty) for step in (1, -1))
        return SelfTest(up, down, np.concatenate(noise), np.stack([lowest, highest], axis=1))

    for number, step in enumerate(train):
        _step(accelerator, cells, step)
        samples = accelerator.read(reads, span)[:, chosen].astype(np.float64)
        after = samples.mean(axis=0)
        pairs[step].append(np.stack([state, after], axis=1))
        noise.append(np.stack([np.broadcast_to(after, samples.shape), samples], axis=-1).reshape(-1, 2))
        lowest, highest, state = np.minimum(lowest, after), np.maximum(highest, after), after
        if keep is not None:
            keep(known())
        if progress is not None:
            progress(number + 1, len(train))
    return known()


def rehearse(accelerator: Accelerator, cells: npt.NDArray[np.integer], *, pulses: int = 8, cycles: int = 2) -> int:
    """Ask for the pulses of :func:`run` without reading what becomes of them, for a dry run.

    Returns:
        Pulses asked for, of all cells.

    Raises:
        ConfigError: no cells, or not allocated.
        AcceleratorError: a limit refuses them.
    """
    cells = _checked(accelerator, cells)
    train = _train(pulses, cycles)
    for step in train:
        _step(accelerator, cells, step)
    return len(train) * cells.size


def _checked(accelerator: Accelerator, cells: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    cells = np.unique(np.asarray(cells))
    if not cells.size or cells[0] < 0 or cells[-1] >= accelerator.n_cells:
        raise ConfigError(f"selftest cells {cells[:3].tolist()}...: expected numbers in 0..{accelerator.n_cells - 1}")
    return cells


def _train(pulses: int, cycles: int) -> list[int]:
    return ([1] * pulses + [-1] * pulses) * cycles


def _step(accelerator: Accelerator, cells: npt.NDArray[np.integer], step: int) -> None:
    direction = np.zeros(accelerator.n_cells, dtype=np.int8)
    direction[cells] = step
    accelerator.pulse(direction)
