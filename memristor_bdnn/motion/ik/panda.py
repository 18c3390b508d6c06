"""Closed-form inverse kinematics of the Franka Panda, all branches, for many poses at once.

Joint 7 is the free parameter (the IKFast convention for this arm). The shoulder-elbow-wrist triangle gives q4
(2 branches), the forearm axis q6 (2), then q5 follows, and q1 to q3 are the ZYZ angles of what is left (2).
The geometric idea is that of He and Liu, "Analytical inverse kinematics for Franka Emika Panda" (2021).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.ik.base import solved, wrap_into_limits
from memristor_bdnn.motion.kinematics import Chain, invert
from memristor_bdnn.native import kernels, packed

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Columns = tuple[FloatArray, FloatArray, FloatArray]

# Beyond this the cosine of an angle is out of reach and not merely rounded.
COSINE_SLACK = 1e-12
STRAIGHT = 1e-11  # sine of q2 below which q1 is arbitrary


class PandaIK:
    """Solver for arms with the Panda's joint arrangement; lengths are read from the URDF.

    Attributes:
        free_range: limits of joint 7, rad.
        branches: 8.
        chain: forward kinematics of the same arm.
    """

    branches = 8

    def __init__(self, arm: ArmDescription, chain: Chain) -> None:
        """Read the lengths.

        Raises:
            ConfigError: the arm has not seven joints.
        """
        if arm.dof != 7:
            raise ConfigError(f"arm {arm.name!r}: ik panda needs 7 joints, the arm has {arm.dof}")
        self.chain = chain
        self._low, self._high = arm.limits()
        self.free_range = (float(self._low[6]), float(self._high[6]))
        origin = chain.origins[:, :3, 3]
        self._shoulder = origin[0] + origin[1]
        self._upper, self._elbow = -origin[2, 1], origin[3, 0]
        self._forearm, self._wrist = origin[4, 1], origin[6, 0]
        self._from_tool = invert(chain.tool)
        lengths = (self._upper, self._elbow, self._forearm, self._wrist)
        self._constants = packed(self._low, self._high, self._shoulder, lengths, self._from_tool)

    def free_of(self, q: FloatArray) -> FloatArray:
        """Joint 7 of configurations (n, 7)."""
        return np.asarray(q)[..., 6]

    def solve(self, poses: FloatArray, free: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Solutions of tool poses (n, 4, 4) with joint 7 at free (n,): q (n, 8, 7) and valid (n, 8)."""
        if kernels is None:
            return self.reference(poses, free)
        return solved(kernels.panda, self._constants, poses, free, 7)

    def reference(self, poses: FloatArray, free: FloatArray) -> tuple[FloatArray, BoolArray]:
        """:meth:`solve` in NumPy: what the compiled kernel does."""
        n = len(poses)
        to7 = poses @ self._from_tool
        # component first: (3, n), so that every operation below runs over contiguous memory
        r7 = np.ascontiguousarray(to7[:, :3, :3].transpose(2, 1, 0))
        cos7, sin7 = np.cos(free), np.sin(free)
        x6 = r7[0] * cos7 - r7[1] * sin7
        z6 = r7[0] * sin7 + r7[1] * cos7
        y6 = -r7[2]
        to_shoulder = self._shoulder[:, None] - to7[:, :3, 3].T + self._wrist * x6
        a, b, e = ((to_shoulder * axis).sum(axis=0)[:, None, None] for axis in (x6, y6, z6))

        q = np.empty((7, n, 2, 2, 2))
        reachable = np.ones((n, 2, 2), dtype=bool)
        q4 = self._elbow_angles((to_shoulder**2).sum(axis=0), reachable)[:, :, None]
        # shoulder seen from the wrist, in the plane of the forearm (link 4's x and y)
        c4, s4 = np.cos(q4), np.sin(q4)
        ux = self._elbow - self._elbow * c4 - self._upper * s4
        uy = -self._forearm + self._elbow * s4 - self._upper * c4
        q6 = self._wrist_angles(a, b, uy, reachable)
        c6, s6 = np.cos(q6), np.sin(q6)
        side = np.where(ux < 0.0, -1.0, 1.0)
        q5 = np.arctan2(side * e, side * (a * c6 - b * s6))

        columns = _turn_back((x6, y6, z6), c6, s6)
        columns = (columns[0], -columns[2], columns[1])
        c5, s5 = np.cos(q5), np.sin(q5)
        columns = (columns[0] * c5 - columns[1] * s5, columns[2], -(columns[0] * s5 + columns[1] * c5))
        r3 = (columns[0] * c4 - columns[1] * s4, -columns[2], columns[0] * s4 + columns[1] * c4)
        _zyz(r3, q)
        q[3], q[4], q[5], q[6] = q4[..., None], q5[..., None], q6[..., None], free[:, None, None, None]
        flat = np.ascontiguousarray(q.reshape(7, n * 8).T).reshape(n, 8, 7)
        inside = wrap_into_limits(flat, self._low, self._high)
        return flat, inside & np.repeat(reachable.reshape(n, 4), 2, axis=1)

    def _elbow_angles(self, squared: FloatArray, reachable: BoolArray) -> FloatArray:
        """q4 (n, 2) from the squared distance shoulder to wrist."""
        upper2, forearm2 = self._upper**2 + self._elbow**2, self._forearm**2 + self._elbow**2
        cosine = (upper2 + forearm2 - squared) / (2 * np.sqrt(upper2 * forearm2))
        reachable &= (np.abs(cosine) <= 1 + COSINE_SLACK)[:, None, None]
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        fixed = np.arctan2(self._upper, self._elbow) + np.arctan2(self._forearm, self._elbow)
        return np.stack([fixed + angle, fixed - angle], axis=1)

    @staticmethod
    def _wrist_angles(a: FloatArray, b: FloatArray, along: FloatArray, reachable: BoolArray) -> FloatArray:
        """q6 (n, 2, 2) such that the forearm axis sees the shoulder at the height `along` of the triangle."""
        reach = np.hypot(a, b)
        cosine = along / np.maximum(reach, 1e-300)
        reachable &= np.abs(cosine) <= 1 + COSINE_SLACK
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        middle = np.arctan2(a, b)
        return np.concatenate([middle + angle, middle - angle], axis=2)


def _turn_back(axes: Columns, cosine: FloatArray, sine: FloatArray) -> Columns:
    """Columns (3, n) of a rotation times RotZ(-angle), with angles of shape (n, 2, 2): columns (3, n, 2, 2)."""
    x, y, z = (axis[:, :, None, None] for axis in axes)
    return x * cosine - y * sine, x * sine + y * cosine, z


def _zyz(r3: Columns, q: FloatArray) -> None:
    """Both triples q1, q2, q3 with RotZ RotY RotZ = r3, written to q[:3] (3, n, 2, 2, 2).

    q2 and q3 are taken after turning by -q1, which must cancel exactly when q2 is near 0. At 0 only q1 + q3 is
    given: half for each keeps both within their limits.
    """
    x3, y3, z3 = r3
    first = np.arctan2(z3[1], z3[0])
    straight = np.abs(z3[0]) + np.abs(z3[1]) < STRAIGHT
    if straight.any():
        first = np.where(straight, 0.5 * np.arctan2(x3[1], x3[0]), first)
    c1, s1 = np.cos(first), np.sin(first)
    tilt = np.arctan2(c1 * z3[0] + s1 * z3[1], z3[2])
    last = np.arctan2(c1 * x3[1] - s1 * x3[0], c1 * y3[1] - s1 * y3[0])
    q[0, ..., 0], q[1, ..., 0], q[2, ..., 0] = first, tilt, last
    q[0, ..., 1], q[1, ..., 1], q[2, ..., 1] = first + np.pi, -tilt, last + np.pi
