"""Splits a set of cells into the rectangles that the board's write-verify commands take."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.wire.layouts import Block


def rectangles(selected: npt.NDArray[np.bool_], chip: int) -> list[Block]:
    """Disjoint rectangles that cover exactly the selected cells of a chip.

    Runs of neighbouring columns are joined over the rows below that have the same run, so whole chips
    and consecutive layers give few rectangles.

    Args:
        selected: shape (128, 32).
        chip: chip number of the blocks.
    """
    blocks: list[Block] = []
    open_runs: dict[tuple[int, int], int] = {}
    for row in range(selected.shape[0] + 1):
        runs = _runs(selected[row]) if row < selected.shape[0] else set()
        for run in sorted(set(open_runs) - runs):
            start = open_runs.pop(run)
            blocks.append(Block(chip, start, row - start, run[0], run[1] - run[0]))
        for run in runs - set(open_runs):
            open_runs[run] = row
    return sorted(blocks, key=lambda block: (block.bl, block.sl))


def _runs(row: npt.NDArray[np.bool_]) -> set[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
    return {(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)}
