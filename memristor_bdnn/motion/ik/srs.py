"""Closed-form inverse kinematics of arms with spherical shoulder, elbow and spherical wrist (KUKA iiwa and kin).

The free parameter is the arm angle: the turn of the elbow about the line from shoulder to wrist, 0 where the elbow
is highest. Branches: sign of q2, of q4 and of q6.
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


class SphericalIK:
    """Solver for seven-joint S-R-S arms; lengths and axis directions are read from the URDF.

    At zero all joints must be stacked along the base's z axis, odd joints turning about z, even ones about y
    (either sign): RotZ RotY RotZ RotY RotZ RotY RotZ.

    Attributes:
        free_range: (-pi, pi), the arm angle in rad.
        branches: 8.
        chain: forward kinematics of the same arm.
    """

    branches = 8
    free_range = (-np.pi, np.pi)

    def __init__(self, arm: ArmDescription, chain: Chain) -> None:
        """Read lengths and signs.

        Raises:
            ConfigError: the arm's joints are not arranged as above.
        """
        if arm.dof != 7:
            raise ConfigError(f"arm {arm.name!r}: ik srs needs 7 joints, the arm has {arm.dof}")
        self.chain = chain
        self._low, self._high = arm.limits()
        frames = chain.frames(np.zeros(7))
        axes = np.einsum("nij,nj->ni", frames[:7, :3, :3], chain.axes)
        points = frames[:7, :3, 3]
        expected = np.array([[0, 0, 1.0], [0, 1.0, 0]])[[0, 1, 0, 1, 0, 1, 0]]
        self._signs = np.round((axes * expected).sum(axis=1))
        crooked = np.abs(np.abs((axes * expected).sum(axis=1)) - 1).max()
        if crooked > 1e-9 or np.abs(points[:, :2]).max() > 1e-9:
            raise ConfigError(f"arm {arm.name!r}: ik srs needs joints stacked along z, turning about z, y, z ...")
        self._shoulder = points[1]
        self._upper, self._forearm = points[3, 2] - points[1, 2], points[5, 2] - points[3, 2]
        self._wrist = points[5, 2]
        # the tool seen from a frame at the wrist with the base's axes, all joints at zero
        at_zero = frames[7].copy()
        at_zero[2, 3] -= self._wrist
        self._from_tool = invert(at_zero)
        lengths = (self._upper, self._forearm)
        self._constants = packed(self._low, self._high, self._signs, self._shoulder, lengths, self._from_tool)

    def free_of(self, q: FloatArray) -> FloatArray:
        """Arm angle (n,) of configurations (n, 7)."""
        frames = self.chain.frames(q)
        _, first, second = _arm_plane(frames[..., 5, :3, 3] - self._shoulder)
        elbow = frames[..., 3, :3, 3] - self._shoulder
        return np.asarray(np.arctan2((elbow * second).sum(-1), (elbow * first).sum(-1)))

    def solve(self, poses: FloatArray, free: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Solutions of tool poses (n, 4, 4) at arm angles free (n,): q (n, 8, 7) and valid (n, 8)."""
        if kernels is None:
            return self.reference(poses, free)
        return solved(kernels.srs, self._constants, poses, free, 7)

    def reference(self, poses: FloatArray, free: FloatArray) -> tuple[FloatArray, BoolArray]:
        """:meth:`solve` in NumPy: what the compiled kernel does."""
        n = len(poses)
        wrist = poses @ self._from_tool
        turn, reach = wrist[:, :3, :3], wrist[:, :3, 3] - self._shoulder
        squared = (reach**2).sum(axis=1)
        cos4 = (squared - self._upper**2 - self._forearm**2) / (2 * self._upper * self._forearm)
        reachable = (np.abs(cos4) <= 1 + 1e-12) & (squared > 1e-12)
        angle4 = np.arccos(np.clip(cos4, -1.0, 1.0))
        along, first, second = _arm_plane(reach)
        distance = np.sqrt(np.maximum(squared, 1e-12))
        height = self._upper + self._forearm * np.cos(angle4)
        side = self._forearm * np.sin(angle4)
        outwards = first * np.cos(free)[:, None] + second * np.sin(free)[:, None]
        # axes of the upper arm: z3 along it, x3 in the arm's plane towards the wrist, y3 the elbow's axis
        z3 = (along * height[:, None] + outwards * side[:, None]) / distance[:, None]
        x3 = (along * side[:, None] - outwards * height[:, None]) / distance[:, None]
        q = np.empty((n, 2, 2, 2, 7))
        for k, sign in enumerate((1.0, -1.0)):
            upper = np.stack([sign * x3, sign * np.cross(z3, x3), z3], axis=2)
            q[:, :, k, :, 3] = (sign * angle4)[:, None, None]
            q[:, :, k, :, :3] = _zyz(upper)[:, :, None]
            elbow = np.zeros((n, 3, 3))
            elbow[:, 1, 1] = 1.0
            elbow[:, 0, 0] = elbow[:, 2, 2] = np.cos(angle4)
            elbow[:, 0, 2] = sign * np.sin(angle4)
            elbow[:, 2, 0] = -elbow[:, 0, 2]
            q[:, :, k, :, 4:] = _zyz(np.swapaxes(upper @ elbow, 1, 2) @ turn)[:, None]
        q = q.reshape(n, 8, 7) * self._signs
        inside = wrap_into_limits(q, self._low, self._high)
        return q, inside & reachable[:, None]


def _arm_plane(reach: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Unit vectors (n, 3): along the reach, upwards across it, and across both."""
    along = reach / np.maximum(np.linalg.norm(reach, axis=-1, keepdims=True), 1e-12)
    steep = np.abs(along[..., 2:]) > 1 - 1e-9
    upwards = np.where(steep, np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    first = upwards - along * (upwards * along).sum(-1, keepdims=True)
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    return along, first, np.cross(along, first)


def _zyz(r: FloatArray) -> FloatArray:
    """Both ZYZ triples (n, 2, 3) of rotations (n, 3, 3)."""
    first = np.arctan2(r[:, 1, 2], r[:, 0, 2])
    # with the middle angle 0 only the sum of the others is given: half for each keeps both within their limits
    straight = np.abs(r[:, 0, 2]) + np.abs(r[:, 1, 2]) < 1e-11
    first = np.where(straight, 0.5 * np.arctan2(r[:, 1, 0], r[:, 0, 0]), first)
    c, s = np.cos(first), np.sin(first)
    tilt = np.arctan2(c * r[:, 0, 2] + s * r[:, 1, 2], r[:, 2, 2])
    last = np.arctan2(c * r[:, 1, 0] - s * r[:, 0, 0], c * r[:, 1, 1] - s * r[:, 0, 1])
    return np.stack(
        [np.stack([first, tilt, last], axis=1), np.stack([first + np.pi, -tilt, last + np.pi], axis=1)], axis=1
    )
