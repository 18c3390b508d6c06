"""Joint space with the held cup kept upright: where a full cup may travel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.ik.base import IKSolver
from memristor_bdnn.motion.ik.turns import towards
from memristor_bdnn.motion.kinematics import Chain
from memristor_bdnn.motion.rrt import JointSpace, straight

FloatArray = npt.NDArray[np.float64]

# Tilt that counts as upright, and tilt at which projection stops, rad.
TOLERANCE, CONVERGED = 1e-3, 1e-5
ITERATIONS = 4
# An edge whose neighbours end up this many times further apart than asked is no edge.
STRETCH = 2.5
BATCH = 64


def tilt_of(chain: Chain, cup_axis: int, q: npt.ArrayLike) -> FloatArray:
    """Angle (...) in rad between the cup's axis and the vertical at configurations (..., dof)."""
    axis = cup_axis * chain.fk(q)[..., :3, 0]
    return np.asarray(np.arctan2(np.hypot(axis[..., 0], axis[..., 1]), axis[..., 2]))


def project(chain: Chain, cup_axis: int, q: FloatArray) -> FloatArray:
    """Configurations (n, dof) moved as little as possible until the cup's axis is vertical (Newton's method).

    Those that do not get there within TOLERANCE after ITERATIONS steps become nan.
    """
    q = q.copy()
    for _ in range(ITERATIONS):
        frames = chain.frames(q)
        axis = cup_axis * frames[:, -1, :3, 0]
        error = np.hypot(axis[:, 0], axis[:, 1])
        if error.max() < CONVERGED:
            break
        turning = (
            frames[:, :-1, :3, 2]
            if (chain.axes[:, 2] == 1.0).all()
            else np.einsum("nkij,kj->nki", frames[:, :-1, :3, :3], chain.axes)
        )
        # d axis / d q_k = turning_k x axis; only its x and y count
        jx = turning[..., 1] * axis[:, 2:3] - turning[..., 2] * axis[:, 1:2]
        jy = turning[..., 2] * axis[:, 0:1] - turning[..., 0] * axis[:, 2:3]
        a, b, d = (jx * jx).sum(1) + 1e-9, (jx * jy).sum(1), (jy * jy).sum(1) + 1e-9
        determinant = a * d - b * b
        u = (d * axis[:, 0] - b * axis[:, 1]) / determinant
        v = (a * axis[:, 1] - b * axis[:, 0]) / determinant
        q -= jx * u[:, None] + jy * v[:, None]
    else:
        axis = cup_axis * chain.fk(q)[:, :3, 0]
        error = np.hypot(axis[:, 0], axis[:, 1])
    q[(error > TOLERANCE) | (axis[:, 2] < 0)] = np.nan
    return q


class UprightSpace(JointSpace):
    """Edges are straight lines projected until the cup is upright; samples come from inverse kinematics."""

    def __init__(
        self,
        model: CollisionModel,
        solver: IKSolver,
        low: npt.ArrayLike,
        high: npt.ArrayLike,
        around: FloatArray | None = None,
    ) -> None:
        """Plan with the tool inside a box.

        Args:
            model: collision model, holding the cup.
            solver: the arm's inverse kinematics.
            low: lowest tool position, (3,) m.
            high: highest tool position, (3,) m.
            around: see :class:`JointSpace`.
        """
        super().__init__(model, around)
        self._solver, self._box = solver, (np.asarray(low, dtype=float), np.asarray(high, dtype=float))
        self._sign = model.arm.cup_axis
        self.upright = np.array([float(self._sign), 0.0, 0.0])
        self._stock: list[FloatArray] = []

    def sample(self, rng: np.random.Generator) -> FloatArray:
        """A random upright configuration with the tool in the box."""
        if not self._stock:
            positions, headings = rng.uniform(*self._box, (BATCH, 3)), rng.uniform(-np.pi, np.pi, BATCH)
            poses = upright_pose(positions, headings, self._sign)
            q, valid = self._solver.solve(poses, rng.uniform(*self._solver.free_range, BATCH))
            found = q[valid]
            if self._around is not None:
                found = towards(found, self._around, *self.model.arm.limits())
            self._stock = list(rng.permutation(found)) or [super().sample(rng)]
        return self._stock.pop()

    def onto(self, path: FloatArray) -> FloatArray:
        """Configurations (n, dof) moved until the held body is upright; nan where that does not succeed."""
        return project(self._solver.chain, self._sign, path)

    def edge(self, start: FloatArray, end: FloatArray, resolution: float) -> FloatArray | None:
        """The projected line, or None where projection leaves the limits or tears the line apart.

        An end that is not upright is projected too.
        """
        line = straight(start, end, resolution)
        if len(line) > 1:
            line[1:] = project(self._solver.chain, self._sign, line[1:])
            if np.abs(line[-1] - end).max() < TOLERANCE:
                line[-1] = end
            if not np.abs(np.diff(line, axis=0)).max() <= STRETCH * resolution:  # nan does not pass either
                return None
            if not self.model.arm.within_limits(line, margin=-1e-9).all():
                return None
        return line


def upright_pose(position: npt.ArrayLike, heading: npt.ArrayLike, cup_axis: int) -> FloatArray:
    """Tool poses (..., 4, 4) at positions (..., 3), approach axes horizontal at headings (...) rad, the cup upright."""
    position, heading = np.asarray(position, dtype=float), np.asarray(heading, dtype=float)
    pose = np.zeros((*heading.shape, 4, 4))
    z = pose[..., :3, 2]
    z[..., 0], z[..., 1] = np.cos(heading), np.sin(heading)
    pose[..., 2, 0], pose[..., :3, 3], pose[..., 3, 3] = cup_axis, position, 1.0
    pose[..., 0, 1], pose[..., 1, 1] = cup_axis * z[..., 1], -cup_axis * z[..., 0]  # z cross x
    return pose
