"""Where the cells sit: consecutive over rows and chips, as on the board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import CapacityError, ConfigError

IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Site:
    """Chip, row (bit line) and column (source/word line) of cells, arrays of one shape, counted from 0."""

    chip: IntArray
    row: IntArray
    column: IntArray


@dataclass(frozen=True)
class Placement:
    """Cell k sits on chip k // (rows columns), row (k // columns) mod rows, column k mod columns."""

    chips: int
    rows: int
    columns: int
    channels: int
    """Cells that the converters read at once: this many neighbouring rows of one column."""
    chips_in_parallel: bool = False

    @classmethod
    def of(cls, preset: DevicePreset) -> Placement:
        """The geometry of a preset's board."""
        periphery = preset.periphery
        return cls(preset.chips, preset.rows, preset.columns, periphery.channels, periphery.chips_in_parallel)

    @property
    def capacity(self) -> int:
        """Cells on all chips."""
        return self.chips * self.rows * self.columns

    def require(self, n_cells: int) -> None:
        """Check that a network fits.

        Raises:
            CapacityError: says how many cells are missing, and how many chips would do.
        """
        if n_cells > self.capacity:
            per_chip = self.rows * self.columns
            raise CapacityError(
                f"the network needs {n_cells} cells but {self.chips} chips of {self.rows} x {self.columns} have"
                f" {self.capacity}: {n_cells - self.capacity} cells are missing. Use"
                f" {-(-n_cells // per_chip)} chips (preset field chips) or a smaller network"
            )

    def locate(self, cell: Any) -> Site:
        """Site of cells given by number (any shape).

        Raises:
            ConfigError: a number outside the chips.
        """
        cell = np.asarray(cell)
        if cell.size and (cell.min() < 0 or cell.max() >= self.capacity):
            raise ConfigError(f"cell {cell.min()}..{cell.max()}: allowed 0..{self.capacity - 1}")
        line, column = np.divmod(cell, self.columns)
        chip, row = np.divmod(line, self.rows)
        return Site(chip, row, column)

    def cell(self, site: Site) -> IntArray:
        """Numbers of the cells at these sites; inverse of :meth:`locate`."""
        return (np.asarray(site.chip) * self.rows + site.row) * self.columns + site.column

    def layer(self, start: int, shape: tuple[int, int, int]) -> IntArray:
        """Cell numbers of a layer that begins at ``start``, shape (inputs, outputs, devices)."""
        return start + np.arange(int(np.prod(shape))).reshape(shape)

    def maps(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values of cells 0..n-1 as chip images, shape (chips, rows, columns); NaN where there is no cell."""
        image = np.full(self.capacity, np.nan)
        image[: values.size] = values
        return image.reshape(self.chips, self.rows, self.columns)

    def accesses(self, start: int, stop: int) -> int:
        """How often the channels switch to read cells start..stop-1 once; each takes one read time.

        One access reads ``channels`` neighbouring rows of one column. With chips in parallel the slowest counts.
        """
        if stop <= start:
            return 0
        site = self.locate(np.arange(start, stop))
        bank = site.row // self.channels
        banks = -(-self.rows // self.channels)
        groups = np.unique((site.chip * banks + bank) * self.columns + site.column)
        if not self.chips_in_parallel:
            return int(groups.size)
        return int(np.bincount(groups // (banks * self.columns)).max())
