"""How a cup sits in an arm's hand, and the orientations of a tilt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]


def default_grasp(description: Any) -> FloatArray:
    """The cup in the tool frame (4, 4) when it is held at its middle: cup axis along tool x."""
    sign = float(description.cup_axis)
    grasp = np.eye(4)
    # Columns: the cup's x, y and z axes in the tool frame.
    grasp[:3, :3] = np.array([[0, 0, sign], [0, 1, 0], [-sign, 0, 0]])
    return grasp


def grasp_height(grasp: FloatArray) -> float:
    """Where along the cup's axis, above its centre, the tool frame holds it; metres."""
    return float(-(grasp[:3, 2] @ grasp[:3, 3]))


def link_pose(bullet: Any, arm: Any) -> FloatArray:
    """Centre-of-mass pose of the tool link in the world, (4, 4): constraints are given in that frame."""
    position, quaternion = bullet.getLinkState(arm.body, arm.tool_index, computeForwardKinematics=True)[:2]
    pose = np.eye(4)
    pose[:3, :3] = np.reshape(bullet.getMatrixFromQuaternion(quaternion), (3, 3))
    pose[:3, 3] = position
    return pose


def tilts(yaw: float, pitches: FloatArray) -> list[list[float]]:
    """Quaternions xyzw of RotZ(yaw) * RotY(pitch)."""
    cy, sy, cp, sp = math.cos(yaw / 2), math.sin(yaw / 2), np.cos(pitches / 2), np.sin(pitches / 2)
    quaternions: list[list[float]] = np.stack([-sy * sp, cy * sp, sy * cp, cy * cp], axis=1).tolist()
    return quaternions
