"""Closed-form inverse kinematics of six-joint arms built like Universal Robots', all eight branches, vectorised.

Joints 2, 3 and 4 turn about parallel axes, joint 1 across them, and the axes of joints 5 and 6 meet at right angles
(UR3 to UR30, and cobots of the same build). With h the common axis: the height of the wrist's point along h gives q1
(2 branches), the last axis along h gives q5 (2), then q6 follows; what is left is a triangle in the plane across h,
which gives q3 (2), q2 and q4. After Hawkins, "Analytic inverse kinematics for the Universal Robots UR-5/UR-10 arms"
(2013), with the geometry read from the URDF, wherever its zero position and directions of turning are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.ik.base import solved, wrap_into_limits
from memristor_bdnn.motion.kinematics import Chain
from memristor_bdnn.native import kernels, packed

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# Beyond this the cosine of an angle is out of reach and not merely rounded.
COSINE_SLACK = 1e-12
# Axes that should be parallel, cross or meet may miss it by this much (rad, m): a nominal URDF's digits.
CROOKED = 1e-5
# Sine of the angle between the parallel axes and the last one below which q6 is arbitrary.
ALIGNED = 1e-9


class URIK:
    """Solver for arms with the joint arrangement of Universal Robots; it has no free parameter.

    Where the last axis is parallel to joints 2 to 4 (the wrist's singularity) q6 is arbitrary; of that family the
    member is given that folds the wrist towards the shoulder, which reaches whenever any does.

    Attributes:
        free_range: (0, 0).
        branches: 8.
        chain: forward kinematics of the same arm.
    """

    branches = 8
    free_range = (0.0, 0.0)

    def __init__(self, arm: ArmDescription, chain: Chain) -> None:
        """Read axes and lengths at the zero position.

        Raises:
            ConfigError: the arm's joints are not arranged as above; the text says which and by how much.
        """
        if arm.dof != 6:
            raise ConfigError(f"arm {arm.name!r}: ik ur needs 6 joints, the arm has {arm.dof}")
        self.chain = chain
        self._low, self._high = arm.limits()
        frames = chain.frames(np.zeros(6))
        axes = np.einsum("nij,nj->ni", frames[:6, :3, :3], chain.axes)
        points = frames[:6, :3, 3]
        _check(arm, axes, points)
        h = axes[1]
        self._first, self._base, self._h = axes[0], points[0], h
        self._signs = np.array([np.sign(axes[k] @ h) for k in (1, 2, 3)])
        meeting = _meeting(points[4], axes[4], points[5], axes[5])
        # across the last axis: (c, fifth, last) is right-handed
        fifth, last = axes[4], axes[5]
        across = np.cross(fifth, last)
        self._wrist = np.stack([across, fifth, last])
        self._offset5 = float(np.arctan2(h @ across, h @ last))
        # the plane across h: two unit vectors, the first along joint 5's axis
        self._plane = np.stack([fifth, np.cross(h, fifth), h])
        self._height = float(h @ (meeting - points[0]))
        self._shoulder = (self._plane @ (points[0] - points[1]))[:2]
        self._upper = (self._plane @ (points[2] - points[1]))[:2]
        self._fore = (self._plane @ (points[3] - points[2]))[:2]
        self._hand = (self._plane @ (meeting - points[3]))[:2]
        tool = frames[6]
        self._turn_back = tool[:3, :3].T
        self._to_meeting = tool[:3, :3].T @ (meeting - tool[:3, 3])
        self._constants = self._packed()

    def _packed(self) -> bytes:
        """As ur.c reads them."""
        axes = (self._signs, self._first, self._h, np.cross(self._first, self._h), self._base)
        sides = (self._shoulder, self._upper, self._fore, self._hand)
        frames = (self._turn_back, self._to_meeting)
        numbers = (self._offset5, self._height)
        return packed(self._low, self._high, *axes, self._wrist, self._plane, numbers, *sides, *frames)

    def free_of(self, q: FloatArray) -> FloatArray:
        """Zeros (n,) for configurations (n, 6): there is nothing to choose."""
        return np.zeros(np.shape(q)[:-1])

    def solve(self, poses: FloatArray, free: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Solutions of tool poses (n, 4, 4): q (n, 8, 6) and valid (n, 8); free (n,) is not looked at."""
        if kernels is None:
            return self.reference(poses, free)
        return solved(kernels.ur, self._constants, poses, free, 6)

    def reference(self, poses: FloatArray, free: FloatArray) -> tuple[FloatArray, BoolArray]:
        """:meth:`solve` in NumPy: what the compiled kernel does."""
        n = len(poses)
        turn = poses[:, :3, :3] @ self._turn_back
        reach = poses[:, :3, :3] @ self._to_meeting + poses[:, :3, 3] - self._base
        q = np.empty((6, n, 2, 2, 2))  # branches of q1, q5, q3
        reachable = np.ones((n, 2, 2, 2), dtype=bool)
        q1 = self._first_angles(reach, reachable)
        # the axes of the plane, turned by joint 1: (n, 2, 3, 3), one a row
        rows = _turned(self._plane, self._first, q1)
        # h as the last link sees it: components along (across, fifth, last)
        seen = np.einsum("kj,nij,nbi->knb", self._wrist, turn, rows[:, :, 2])
        sine = np.hypot(seen[0], seen[1])
        beta = np.arctan2(sine, seen[2])
        along = np.einsum("nbij,nj->inb", rows[:, :, :2], reach) + self._shoulder[:, None, None]
        aligned = sine < ALIGNED
        folded = self._folded(turn, rows, along) if aligned.any() else sine
        for k, sign in enumerate((1.0, -1.0)):
            q5 = self._offset5 + sign * beta
            # q6 turns what is seen of h to where joint 5 has it: -sign along `across`
            q6 = np.where(aligned, folded, -np.arctan2(-sign * seen[1], -sign * seen[0]))
            side = np.cos(q6)[..., None] * self._wrist[1] + np.sin(q6)[..., None] * self._wrist[0]
            side = np.einsum("nij,nbj->nbi", turn, side)  # joint 5's axis in the world
            phi = np.arctan2((side * rows[:, :, 1]).sum(-1), (side * rows[:, :, 0]).sum(-1))
            q[0, :, :, k], q[4, :, :, k], q[5, :, :, k] = q1[..., None], q5[..., None], q6[..., None]
            self._triangle(along, phi, q[:, :, :, k], reachable[:, :, k])
        flat = np.ascontiguousarray(q.reshape(6, n * 8).T).reshape(n, 8, 6)
        inside = wrap_into_limits(flat, self._low, self._high)
        return flat, inside & reachable.reshape(n, 8)

    def _first_angles(self, reach: FloatArray, reachable: BoolArray) -> FloatArray:
        """q1 (n, 2) such that the wrist's point has its height along h."""
        a = reach @ self._h
        b = reach @ np.cross(self._first, self._h)
        cosine = self._height / np.maximum(np.hypot(a, b), 1e-300)
        reachable &= (np.abs(cosine) <= 1 + COSINE_SLACK)[:, None, None, None]
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        middle = np.arctan2(b, a)
        return np.stack([middle + angle, middle - angle], axis=1)

    def _folded(self, turn: FloatArray, rows: FloatArray, along: FloatArray) -> FloatArray:
        """q6 (n, 2) that points from the wrist to the shoulder as far as it can, for aligned axes."""
        phi = np.arctan2(along[1], along[0]) - np.arctan2(self._hand[1], self._hand[0])
        side = np.cos(phi)[..., None] * rows[:, :, 0] + np.sin(phi)[..., None] * rows[:, :, 1]
        local = np.einsum("kj,nij,nbi->knb", self._wrist, turn, side)
        return np.asarray(np.arctan2(local[0], local[1]))

    def _triangle(self, along: FloatArray, phi: FloatArray, q: FloatArray, reachable: BoolArray) -> None:
        """q2 to q4 into q (6, n, 2, 2): the wrist's point in the plane (2, n, 2), all three turning by phi (n, 2)."""
        c, s = np.cos(phi), np.sin(phi)
        x = along[0] - (c * self._hand[0] - s * self._hand[1])
        y = along[1] - (s * self._hand[0] + c * self._hand[1])
        upper, fore = np.hypot(*self._upper), np.hypot(*self._fore)
        cosine = (x * x + y * y - upper**2 - fore**2) / (2 * upper * fore)
        reachable &= (np.abs(cosine) <= 1 + COSINE_SLACK)[..., None]
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        bent = np.arctan2(self._fore[1], self._fore[0]) - np.arctan2(self._upper[1], self._upper[0])
        for k, sign in enumerate((1.0, -1.0)):
            elbow = sign * angle - bent
            c, s = np.cos(elbow), np.sin(elbow)
            tip_x = self._upper[0] + c * self._fore[0] - s * self._fore[1]
            tip_y = self._upper[1] + s * self._fore[0] + c * self._fore[1]
            first = np.arctan2(tip_x * y - tip_y * x, tip_x * x + tip_y * y)
            q[1, ..., k] = self._signs[0] * first
            q[2, ..., k] = self._signs[1] * elbow
            q[3, ..., k] = self._signs[2] * (phi - first - elbow)


def _turned(vectors: FloatArray, axis: FloatArray, angles: FloatArray) -> FloatArray:
    """Vectors (m, 3) turned about an axis by angles (n, b): (n, b, m, 3)."""
    c, s = np.cos(angles)[..., None, None], np.sin(angles)[..., None, None]
    fixed = np.outer(vectors @ axis, axis)
    return np.asarray(fixed + c * (vectors - fixed) + s * np.cross(axis, vectors))


def _meeting(p: FloatArray, a: FloatArray, r: FloatArray, b: FloatArray) -> FloatArray:
    """Point of the line p + s b nearest to the line r + t a: middle of both feet, for lines that are not parallel."""
    s, t = np.linalg.lstsq(np.stack([a, -b], axis=1), r - p, rcond=None)[0]
    return np.asarray(0.5 * (p + s * a + r + t * b))


def _check(arm: ArmDescription, axes: FloatArray, points: FloatArray) -> None:
    """Whether the joints at zero are arranged as the solver needs them."""
    gap = points[5] - points[4]
    normal = np.cross(axes[4], axes[5])
    off = {
        f"{arm.joint_names[1]}, {arm.joint_names[2]} and {arm.joint_names[3]} must be parallel": max(
            float(np.linalg.norm(np.cross(axes[1], axes[k]))) for k in (2, 3)
        ),
        f"{arm.joint_names[0]} must cross them at a right angle": abs(float(axes[0] @ axes[1])),
        f"{arm.joint_names[4]} must cross them at a right angle": abs(float(axes[4] @ axes[1])),
        f"{arm.joint_names[5]} must cross {arm.joint_names[4]} at a right angle": abs(float(axes[4] @ axes[5])),
        f"{arm.joint_names[4]} and {arm.joint_names[5]} must meet": abs(float(gap @ normal)),
    }
    for what, value in off.items():
        if value > CROOKED:
            calibrated = "; use the nominal kinematics, not one robot's calibration" if value < 0.02 else ""
            raise ConfigError(f"arm {arm.name!r}: ik ur: the axes of {what}, and miss it by {value:.2g}{calibrated}")
