"""Links near each other along the chain: their distance depends on two joints alone, so it is measured once.

The plane of two neighbouring joints is divided into squares. A square is safe if its links, measured somewhere near,
are farther apart there than the room asked for and the way that any of their points moves from there to its corners.
The engine is asked in the middle of a square when a path first comes to it; one answer may do for squares around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.kinematics import Chain

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SIDE = 0.05
"""Of a square, rad."""
REACH = 0.1
"""Distances are measured up to here, m."""
Pairs = Sequence[tuple[int, int]]
Measure = Callable[[FloatArray, Pairs, float], Sequence[float]]
"""Distances (m) of pairs of links in a configuration (dof,), up to a reach (m)."""


class Relative(NamedTuple):
    """Two links with one or two joints between them.

    Attributes:
        first, second: links of the engine, the second farther along the chain.
        joint: the last joint between them.
        between: joints between them, 1 or 2.
        points: of the second, in the frame of its last joint, (n, 3) m.
    """

    first: int
    second: int
    joint: int
    between: int
    points: FloatArray

    def rates(self, chain: Chain) -> FloatArray:
        """How far (m) points of the second move against the first at most by 1 rad of each joint between, (1 or 2,)."""
        off_axis = np.linalg.norm(np.cross(self.points, chain.axes[self.joint]), axis=1).max()
        if self.between == 1:
            return np.array([off_axis])
        # the last joint lies at one place in the frame before it, and no point is farther from it than this
        before = np.linalg.norm(np.cross(chain.origins[self.joint, :3, 3], chain.axes[self.joint - 1]))
        return np.array([before + np.linalg.norm(self.points, axis=1).max(), off_axis])


class Window:
    """Which squares of one joint, or of two neighbouring ones, are safe for all relatives with just these between them.

    Args:
        chain: forward kinematics.
        relatives: what to keep apart, at least one; all with the same joints between them.
        low, high: limits of all joints, (dof,) rad.
        padding: room to keep, m.
        measure: asks the engine.
    """

    def __init__(
        self,
        chain: Chain,
        relatives: Sequence[Relative],
        low: FloatArray,
        high: FloatArray,
        padding: float,
        measure: Measure,
    ) -> None:
        last, between = relatives[0].joint, relatives[0].between
        self._joints = slice(last + 1 - between, last + 1)
        self._middle, self._low, self._measure = (low + high) / 2, low[self._joints], measure
        self._shape = np.ceil((high - low)[self._joints] / SIDE).astype(int) + 1
        self._pairs = [(relative.first, relative.second) for relative in relatives]
        self._rates = np.array([relative.rates(chain) for relative in relatives])
        self._padding = padding
        self._known: BoolArray = np.zeros(self._shape, dtype=bool)
        self._safe: BoolArray = np.zeros(self._shape, dtype=bool)

    def safe(self, path: FloatArray) -> BoolArray:
        """Which configurations (n, dof) lie in safe squares, (n,); those beyond the limits do not."""
        square = np.floor((path[:, self._joints] - self._low) / SIDE).astype(int)
        inside: BoolArray = np.asarray(((square >= 0) & (square < self._shape)).all(axis=1))
        index = tuple(np.where(inside[:, None], square, 0).T)
        known = self._known[index]
        for new in square[inside & ~known].tolist():
            if not self._known[tuple(new)]:
                self._look(tuple(new))
        return np.asarray(inside & self._safe[index])

    def _look(self, square: tuple[int, ...]) -> None:
        q = self._middle.copy()
        q[self._joints] = self._low + SIDE * (np.array(square) + 0.5)
        distance = np.minimum(self._measure(q, self._pairs, REACH), REACH)
        self._known[square] = True
        around = self._around(distance - self._padding)
        if around is not None:
            block = tuple(slice(max(k - n, 0), k + n + 1) for k, n in zip(square, around, strict=True))
            self._known[block] = self._safe[block] = True

    def _around(self, spare: FloatArray) -> tuple[int, ...] | None:
        """The largest block of squares, to each side, in which no pair uses up what it has to spare (pairs,) m."""

        def most(left: FloatArray) -> int:
            """Squares along the last joint."""
            return int(np.floor((left / self._rates[:, -1]).min() / SIDE - 0.5))

        if self._rates.shape[1] == 1:
            alone = most(spare)
            return None if alone < 0 else (alone,)
        best: tuple[int, ...] | None = None
        for first in range(self._shape[0]):
            last = most(spare - self._rates[:, 0] * SIDE * (first + 0.5))
            if last < 0:
                break
            if best is None or (2 * first + 1) * (2 * last + 1) > (2 * best[0] + 1) * (2 * best[1] + 1):
                best = first, last
        return best
