"""Bowl, cup and the cup's way as plain shapes, for RViz and Foxglove."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.shapes import Shape
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION, pour_path

FloatArray = npt.NDArray[np.floating[Any]]


def scene(context: PourContext) -> list[Shape]:
    """The bowl where it stands on the table; the cup's poses belong to the planned path."""
    pose = np.eye(4)
    pose[:3, 3] = BOWL_POSITION
    pose[2, 3] += context.bowl_height / 2
    size = (context.bowl_diameter, context.bowl_diameter, context.bowl_height)
    return [Shape("bowl", "cylinder", pose, size, (0.85, 0.55, 0.3, 0.6))]


def path(context: PourContext, parameters: FloatArray, yaw: float) -> list[Shape]:
    """The cup along a pour in the plane of yaw (rad): a line through its centres, then first, half-way and last."""
    poses = pour_path(context, PourParameters.from_array(parameters), yaw, 24)
    line = Shape("path", "line", np.eye(4), (0.004, 0.0, 0.0), (0.1, 0.5, 0.9, 1.0), poses[:, :3, 3])
    width = (context.cup_base_diameter + context.cup_diameter) / 2
    cups = [
        Shape("cup", "cylinder", poses[index], (width, width, context.cup_height), (0.2, 0.6, 0.75, opacity))
        for index, opacity in ((0, 0.25), (len(poses) // 2, 0.4), (-1, 0.8))
    ]
    return [line, *cups]
