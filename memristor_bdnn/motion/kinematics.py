"""Forward kinematics of an arm straight from its URDF, for many configurations at once."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms import urdf
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.native import kernels, packed

FloatArray = npt.NDArray[np.float64]


def rotation(axis: npt.ArrayLike, angle: npt.ArrayLike) -> FloatArray:
    """Rotation matrices (..., 3, 3) about one unit axis (3,) by angles (...) in rad (Rodrigues' formula)."""
    x, y, z = np.asarray(axis, dtype=float)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.asarray(angle, dtype=float)[..., None, None]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def transform(matrix: npt.ArrayLike | None = None, position: npt.ArrayLike = (0.0, 0.0, 0.0)) -> FloatArray:
    """A homogeneous transform (4, 4) from a rotation (3, 3) and a position (3,)."""
    result = np.eye(4)
    if matrix is not None:
        result[:3, :3] = matrix
    result[:3, 3] = position
    return result


def invert(pose: FloatArray) -> FloatArray:
    """Inverse of rigid transforms (..., 4, 4)."""
    turned = np.swapaxes(pose[..., :3, :3], -1, -2)
    result = np.zeros_like(pose)
    result[..., :3, :3] = turned
    result[..., :3, 3] = -(turned @ pose[..., :3, 3:])[..., 0]
    result[..., 3, 3] = 1.0
    return result


def quaternions(turns: FloatArray) -> FloatArray:
    """Quaternions xyzw (n, 4) of rotations (n, 3, 3), by the largest of the four components."""
    m = turns
    xx, yy, zz = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    squares = np.stack([1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz], axis=1)
    products = np.empty((len(m), 4, 4))
    for i in range(4):
        products[:, i, i] = squares[:, i]
    for (i, j), value in {
        (0, 1): m[:, 0, 1] + m[:, 1, 0],
        (0, 2): m[:, 0, 2] + m[:, 2, 0],
        (1, 2): m[:, 1, 2] + m[:, 2, 1],
        (0, 3): m[:, 2, 1] - m[:, 1, 2],
        (1, 3): m[:, 0, 2] - m[:, 2, 0],
        (2, 3): m[:, 1, 0] - m[:, 0, 1],
    }.items():
        products[:, i, j] = products[:, j, i] = value
    best = products[np.arange(len(m)), squares.argmax(axis=1)]
    return np.asarray(best / np.linalg.norm(best, axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Chain:
    """The joints from an arm's base to its tool frame.

    Attributes:
        origins: (dof, 4, 4) fixed transform from the joint before (its moved frame) to this joint.
        axes: (dof, 3) unit axes in the joint's own frame.
        tool: (4, 4) from the last joint's moved frame to the tool frame.
    """

    origins: FloatArray
    axes: FloatArray
    tool: FloatArray

    def fk(self, q: npt.ArrayLike) -> FloatArray:
        """Poses of the tool frame (..., 4, 4) at configurations (..., dof)."""
        q = np.asarray(q, dtype=float, order="C")
        if kernels is None or q.shape[-1] != len(self.axes):
            return self.reference_frames(q)[..., -1, :, :]
        result = np.empty((*q.shape[:-1], 4, 4))
        kernels.frames(self._constants, len(self.axes), q, result)
        return result

    def frames(self, q: npt.ArrayLike) -> FloatArray:
        """Poses of every joint's moved frame and, last, of the tool: (..., dof + 1, 4, 4)."""
        q = np.asarray(q, dtype=float, order="C")
        n = len(self.axes)
        if kernels is None or q.shape[-1] != n:
            return self.reference_frames(q)
        result = np.empty((*q.shape[:-1], n + 1, 4, 4))
        kernels.frames(self._constants, n, q, result)
        return result

    @cached_property
    def _constants(self) -> bytes:
        return packed(self.origins, self.axes, self.tool)

    def reference_frames(self, q: FloatArray) -> FloatArray:
        """:meth:`frames` in NumPy, for configurations of float64: what the compiled kernel does."""
        n = len(self.axes)
        result = np.zeros((*q.shape[:-1], n + 1, 4, 4))
        result[..., 3, 3] = 1.0
        cosine, sine = np.cos(q)[..., None], np.sin(q)[..., None]
        turn, position = np.eye(3), np.zeros(3)
        for i in range(n):
            position = position + turn @ self.origins[i, :3, 3]
            still = turn @ self.origins[i, :3, :3]
            turn = result[..., i, :3, :3]
            if self.axes[i, 2] == 1.0:  # about z: two columns turn, nothing else
                c, s, x, y = cosine[..., i, :], sine[..., i, :], still[..., 0], still[..., 1]
                turn[..., 0], turn[..., 1], turn[..., 2] = x * c + y * s, y * c - x * s, still[..., 2]
            else:
                turn[...] = still @ rotation(self.axes[i], q[..., i])
            result[..., i, :3, 3] = position
        result[..., n, :3, 3] = position + turn @ self.tool[:3, 3]
        result[..., n, :3, :3] = turn @ self.tool[:3, :3]
        return result


def mounting(arm: ArmDescription) -> FloatArray:
    """Pose (4, 4) of the arm's base link in the world."""
    return transform(_turn(*arm.mount_rotation), (*arm.mount_position, arm.mount_height))


def chain(arm: ArmDescription) -> Chain:
    """Read the chain of an arm, from the world to its tool, from its URDF and where it is mounted.

    Raises:
        ConfigError: the URDF is unreadable, or its joints between base and tool are not the description's.
    """
    path = urdf.loadable(arm)  # every part has been looked at, with its name in the errors
    root = ET.parse(path).getroot()
    path = arm.urdf_path()
    by_child = {j.find("child").get("link"): j for j in root.iter("joint") if j.find("child") is not None}  # type: ignore[union-attr]
    joints: list[ET.Element] = []
    link = arm.tool_link
    while link != arm.base_link:
        if link not in by_child:
            raise ConfigError(f"arm {arm.name!r}: {path} has no path from {arm.base_link} to {arm.tool_link}")
        if by_child[link] in joints:
            raise ConfigError(f"arm {arm.name!r}: {path}: the joints above {arm.tool_link} go round in a circle")
        joints.insert(0, by_child[link])
        link = joints[0].find("parent").get("link")  # type: ignore[union-attr, assignment]
    moving = tuple(str(j.get("name")) for j in joints if j.get("type") != "fixed")
    if moving != arm.joint_names:
        raise ConfigError(f"arm {arm.name!r}: joints of the URDF are {moving}, description says {arm.joint_names}")
    origins, axes, fixed = [], [], mounting(arm)
    for joint in joints:
        fixed = fixed @ joint_origin(joint)
        if joint.get("type") != "fixed":
            origins.append(fixed)
            axes.append(joint_axis(joint))
            fixed = np.eye(4)
    return Chain(np.array(origins), np.array(axes), fixed @ transform(position=arm.tool_offset))


def _numbers(text: str | None, default: tuple[float, float, float]) -> FloatArray:
    return np.array(default if text is None else [float(v) for v in text.split()])


def joint_axis(joint: ET.Element) -> FloatArray:
    """Unit axis (3,) of a <joint> in its own frame."""
    element = joint.find("axis")
    axis = _numbers(element.get("xyz") if element is not None else None, (1.0, 0.0, 0.0))
    return np.asarray(axis / np.linalg.norm(axis))


def joint_origin(joint: ET.Element) -> FloatArray:
    """Pose (4, 4) of a <joint> in its parent link; angles that mean a multiple of 90 degrees are made exact."""
    element = joint.find("origin")
    if element is None:
        return np.eye(4)
    turn = _turn(*_numbers(element.get("rpy"), (0.0, 0.0, 0.0)))
    return transform(turn, _numbers(element.get("xyz"), (0.0, 0.0, 0.0)))


def _turn(roll: float, pitch: float, yaw: float) -> FloatArray:
    turn = rotation((0, 0, 1), yaw) @ rotation((0, 1, 0), pitch) @ rotation((1, 0, 0), roll)
    rounded = np.round(turn)
    return rounded if np.abs(turn - rounded).max() < 1e-9 else turn
