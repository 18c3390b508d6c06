"""Bowl, cup and the cup's way as plain shapes, for RViz and Foxglove."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from transforms3d.quaternions import quat2mat

from memristor_bdnn.motion.shapes import Shape
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION, pour_path
from memristor_bdnn.skills.pouring.records import Snapshot

FloatArray = npt.NDArray[np.floating[Any]]


def scene(context: PourContext, now: Snapshot | None = None, bead_m: float = 0.0) -> list[Shape]:
    """The bowl where it stands on the table and, once a pour has begun, the cup and the beads where they are.

    Args:
        context: sizes of the vessels.
        now: where everything is; None before a pour.
        bead_m: diameter of the beads.
    """
    pose = np.eye(4)
    pose[:3, 3] = BOWL_POSITION
    pose[2, 3] += context.bowl_height / 2
    size = (context.bowl_diameter, context.bowl_diameter, context.bowl_height)
    bowl = Shape("bowl", "cylinder", pose, size, (0.85, 0.55, 0.3, 0.6))
    if now is None:
        return [bowl]
    held, (x, y, z, w) = np.eye(4), now.cup[1]
    held[:3, :3], held[:3, 3] = quat2mat((w, x, y, z)), now.cup[0]
    cup = Shape("held_cup", "cylinder", held, _cup(context), (0.2, 0.6, 0.75, 0.45))
    beads = Shape("beads", "spheres", np.eye(4), (bead_m,) * 3, (0.95, 0.8, 0.2, 1.0), now.beads)
    return [bowl, cup, beads]


def path(context: PourContext, parameters: FloatArray, yaw: float) -> list[Shape]:
    """The cup along a pour in the plane of yaw (rad): a line through its centres, then first, half-way and last."""
    poses = pour_path(context, PourParameters.from_array(parameters), yaw, 24)
    line = Shape("path", "line", np.eye(4), (0.004, 0.0, 0.0), (0.1, 0.5, 0.9, 1.0), poses[:, :3, 3])
    cups = [
        Shape("cup", "cylinder", poses[index], _cup(context), (0.2, 0.6, 0.75, opacity))
        for index, opacity in ((0, 0.25), (len(poses) // 2, 0.4), (-1, 0.8))
    ]
    return [line, *cups]


def axes(context: PourContext, parameters: FloatArray) -> FloatArray:
    """Tilt axes (n, 3) m of candidates (n, 5), all in the plane of yaw 0."""
    x = BOWL_POSITION[0] + parameters[:, 0] * context.bowl_diameter
    z = BOWL_POSITION[2] + context.bowl_height + parameters[:, 1]
    return np.stack([x, np.full(len(x), BOWL_POSITION[1]), z], axis=1)


def _cup(context: PourContext) -> tuple[float, float, float]:
    width = (context.cup_base_diameter + context.cup_diameter) / 2
    return width, width, context.cup_height
