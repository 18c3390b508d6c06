"""Reference-column mapping: weights as differences to one shared column per chip (error-aware update paper).

W = (I - I_reference) / scale with scale = I_max / W_max: a layer with n outputs needs n + 1 columns, not 2 n. The
reference column is written once and read with the others; drift that is common to all cells cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.crossbar.placement import Placement, Site
from memristor_bdnn.errors import CapacityError, ConfigError

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Tile:
    """A block of one layer on one chip: ``rows`` inputs by ``columns`` outputs; column 0 of a chip is the reference."""

    layer: int
    first_input: int
    first_output: int
    rows: int
    columns: int
    chip: int
    row: int
    column: int


class ReferenceColumnMapping:
    """Places layers of (inputs, outputs) weights on chips whose column 0 is the reference.

    A layer is cut into tiles of at most a whole chip; tiles are placed in order, side by side in shelves as high as
    their tallest tile. Weights are numbered layer after layer in order of (input, output).

    Attributes:
        tiles: where everything is.
        weight_cells: shape (weights,), cell of every weight.
        reference_cells: shape (weights,), cell of its reference: the same chip and row, column 0.
        n_cells: one more than the highest cell used: what has to be allocated.
    """

    def __init__(self, placement: Placement, layers: Sequence[tuple[int, int]], w_max: float, i_max_ua: float) -> None:
        """Place the layers.

        Args:
            placement: chips to place them on.
            layers: (inputs, outputs) of every layer, a bias row counted as an input.
            w_max: weight that the full current stands for.
            i_max_ua: that current, microampere.

        Raises:
            CapacityError: the tiles do not fit; says how many cells are missing at least.
            ConfigError: an empty layer, or a chip of one column.
        """
        if placement.columns < 2:
            raise ConfigError("reference-column mapping needs chips of at least 2 columns")
        if any(inputs < 1 or outputs < 1 for inputs, outputs in layers) or not layers:
            raise ConfigError(f"layers {list(layers)}: every layer needs at least one input and one output")
        if not (w_max > 0 and i_max_ua > 0):
            raise ConfigError(f"w_max {w_max!r} and i_max_ua {i_max_ua!r} must be positive")
        self.placement, self.layers = placement, tuple(layers)
        self.scale_ua = i_max_ua / w_max
        """Microampere per unit of weight."""
        self.tiles = _pack(placement, _cut(placement, layers))
        self.weight_cells, self.reference_cells = self._cells()
        self.n_cells = int(max(self.weight_cells.max(), self.reference_cells.max())) + 1

    @property
    def cells_used(self) -> int:
        """Cells that carry a weight or a reference."""
        return int(self.mask().sum())

    def weights(self, currents_ua: FloatArray) -> FloatArray:
        """Weights from read currents (..., n_cells), shape (..., weights)."""
        weights: FloatArray = (
            currents_ua[..., self.weight_cells] - currents_ua[..., self.reference_cells]
        ) / self.scale_ua
        return weights

    def targets(self, weights: FloatArray, reference_ua: float, low_ua: float, high_ua: float) -> FloatArray:
        """Currents to program for weights (weights,), shape (n_cells,); unused cells get ``low_ua``.

        Weights whose current would leave [low_ua, high_ua] are clipped.
        """
        targets = np.full(self.n_cells, low_ua)
        targets[self.reference_cells] = reference_ua
        targets[self.weight_cells] = np.clip(reference_ua + weights * self.scale_ua, low_ua, high_ua)
        return targets

    def mask(self, references: bool = True) -> npt.NDArray[np.bool_]:
        """Which of the cells 0..n_cells-1 are used, shape (n_cells,); without references only weights."""
        used = np.zeros(self.n_cells, dtype=np.bool_)
        used[self.weight_cells] = True
        if references:
            used[self.reference_cells] = True
        return used

    def _cells(self) -> tuple[IntArray, IntArray]:
        starts = np.cumsum([0] + [inputs * outputs for inputs, outputs in self.layers])
        cells = np.empty(int(starts[-1]), dtype=np.int64)
        references = np.empty_like(cells)
        for tile in self.tiles:
            outputs = self.layers[tile.layer][1]
            i, j = np.mgrid[: tile.rows, : tile.columns]
            number = starts[tile.layer] + (tile.first_input + i) * outputs + tile.first_output + j
            chip, row = np.full_like(i, tile.chip), tile.row + i
            cells[number] = self.placement.cell(Site(chip, row, tile.column + j))
            references[number] = self.placement.cell(Site(chip, row, np.zeros_like(i)))
        return cells, references


def _cut(placement: Placement, layers: Sequence[tuple[int, int]]) -> list[tuple[int, int, int, int, int]]:
    """(layer, first input, first output, rows, columns) of tiles of at most one chip without its reference."""
    tiles = []
    for layer, (inputs, outputs) in enumerate(layers):
        for first in range(0, inputs, placement.rows):
            for column in range(0, outputs, placement.columns - 1):
                rows = min(placement.rows, inputs - first)
                tiles.append((layer, first, column, rows, min(placement.columns - 1, outputs - column)))
    return tiles


def _pack(placement: Placement, pieces: list[tuple[int, int, int, int, int]]) -> tuple[Tile, ...]:
    """Place tiles in order on shelves; raises when the chips are full."""
    tiles: list[Tile] = []
    chip, shelf, height, column = 0, 0, 0, 1
    for layer, first_input, first_output, rows, columns in pieces:
        if column + columns > placement.columns:
            shelf, height, column = shelf + height, 0, 1
        if shelf + rows > placement.rows:
            chip, shelf, height, column = chip + 1, 0, 0, 1
        if chip >= placement.chips:
            missing = sum(r * c for _, _, _, r, c in pieces[len(tiles) :])
            raise CapacityError(
                f"reference-column mapping: {len(pieces) - len(tiles)} of {len(pieces)} tiles do not fit on"
                f" {placement.chips} chips of {placement.rows} x {placement.columns}: at least {missing} cells are"
                " missing"
            )
        tiles.append(Tile(layer, first_input, first_output, rows, columns, chip, shelf, column))
        column, height = column + columns, max(height, rows)
    return tuple(tiles)
