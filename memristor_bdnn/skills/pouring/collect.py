"""Pouring's own rows and pool file, for :mod:`memristor_bdnn.skills.collect`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.collect import Collector
from memristor_bdnn.skills.pouring import pool
from memristor_bdnn.skills.pouring.pool import Pool, PoolFile, RowArray
from memristor_bdnn.skills.pouring.world import PouringWorld


@dataclass(frozen=True)  # again, for __post_init__ to be called
class PouringCollector(Collector):
    """Pours with the cup alone; its rows count beads, and its file is older than the one that other skills use.

    Raises:
        ConfigError: the options name an arm.
    """

    def __post_init__(self) -> None:
        """Refuse an arm before any trial."""
        if self.options.arm:
            raise ConfigError(f"collect moves the cup alone: leave out arm = {self.options.arm!r}")

    def world(self) -> PouringWorld:
        """The PyBullet world."""
        return PouringWorld(self.options)

    def row(self, world: PouringWorld, seed: int) -> RowArray:
        """See :func:`memristor_bdnn.skills.pouring.pool.simulate`."""
        return pool.simulate(world, seed)

    def open(self, path: str | Path, readonly: bool = False) -> PoolFile:
        """See :class:`memristor_bdnn.skills.pouring.pool.PoolFile`."""
        return PoolFile(path, None if readonly else self.options, readonly)

    def labelled(self, rows: RowArray) -> Pool:
        """See :func:`memristor_bdnn.skills.pouring.pool.labelled`."""
        return pool.labelled(rows)

    def export(self, file: PoolFile, path: str | Path, command: str) -> str:
        """See :func:`memristor_bdnn.skills.pouring.pool.export`."""
        return pool.export(file, path, command)

    def summary(self, rows: RowArray) -> str:
        """Successes, where the beads are, and how many bowls tipped over."""
        beads = np.maximum(rows["beads"], 1)
        fraction = rows["in_bowl"] / beads
        return (
            f"{len(rows)} trials, {100 * (fraction >= 0.9).mean():.1f} % successes, "
            f"mean fraction in the bowl {fraction.mean():.3f}, left in the cup "
            f"{(rows['in_cup'] / beads).mean():.3f}, mean {rows['beads'].mean():.1f} beads, "
            f"{int(rows['tipped'].sum())} bowls tipped over"
        )
