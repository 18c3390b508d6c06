"""Links near each other along the chain: their distance depends on two joints alone, so it is measured once.

The plane of two neighbouring joints is divided into squares. A square is safe if its links, measured in the middle, are
farther apart than the room asked for and the farthest that any of their points moves within the square. Squares are
measured by the engine when a path first comes to them.
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
Pairs = Sequence[tuple[int, int, float]]
Measure = Callable[[FloatArray, Pairs], bool]
"""Whether, in a configuration (dof,), every pair of links is at least so far (m) apart."""


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

    def travel(self, chain: Chain, turn: float) -> float:
        """How far (m) a point of the second moves against the first at most when each joint turns by an angle (rad)."""
        off_axis = np.linalg.norm(np.cross(self.points, chain.axes[self.joint]), axis=1).max()
        if self.between == 1:
            return float(turn * off_axis)
        # the last joint lies at one place in the frame before it, and no point is farther from it than this
        before = np.linalg.norm(np.cross(chain.origins[self.joint, :3, 3], chain.axes[self.joint - 1]))
        return float(turn * (off_axis + before + np.linalg.norm(self.points, axis=1).max()))


class Window:
    """Which squares of two neighbouring joints are safe for all relatives with no other joints between them.

    Args:
        chain: forward kinematics.
        joint: the first of the two joints.
        relatives: what to keep apart.
        low, high: limits of all joints, (dof,) rad.
        padding: room to keep, m.
        measure: asks the engine.
    """

    def __init__(
        self,
        chain: Chain,
        joint: int,
        relatives: Sequence[Relative],
        low: FloatArray,
        high: FloatArray,
        padding: float,
        measure: Measure,
    ) -> None:
        self._joint, self._middle, self._measure = joint, (low + high) / 2, measure
        self._low = low[joint : joint + 2]
        self._shape = np.ceil((high - low)[joint : joint + 2] / SIDE).astype(int) + 1
        self._relatives = [(r.first, r.second, padding + r.travel(chain, SIDE / 2)) for r in relatives]
        self._known, self._safe = np.zeros((2, int(self._shape.prod())), dtype=bool)

    def safe(self, path: FloatArray) -> BoolArray:
        """Which configurations (n, dof) lie in safe squares, (n,); those beyond the limits do not."""
        square = np.floor((path[:, self._joint : self._joint + 2] - self._low) / SIDE).astype(int)
        inside = ((square >= 0) & (square < self._shape)).all(axis=1)
        index = np.where(inside, square[:, 0] * self._shape[1] + square[:, 1], 0)
        for new in np.unique(index[inside & ~self._known[index]]):
            self._look(int(new))
        return inside & self._safe[index]

    def _look(self, index: int) -> None:
        q = self._middle.copy()
        q[self._joint : self._joint + 2] = self._low + SIDE * (np.array(divmod(index, int(self._shape[1]))) + 0.5)
        self._known[index] = True
        self._safe[index] = self._measure(q, self._relatives)
