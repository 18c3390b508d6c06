"""How the hand holds the cup: height along it, angle around it, fingers closed or welded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.kinematics import invert, rotation, transform
from memristor_bdnn.skills.pouring.vessels import Vessel

FloatArray = npt.NDArray[np.float64]

# Fingertips reach this far beyond the tool frame; a welded cup starts there.
TIP = 0.008


@dataclass(frozen=True, eq=False)
class Grasp:
    """A grasp of a round cup, the same for every angle around it.

    Attributes:
        cup_in_tool: pose of the cup's centre in the tool frame at angle 0, (4, 4).
        width: finger opening, m; 0 when welded.
        weld: the cup is wider than the hand and is fixed to the closed fingertips instead.
        height: where the hand holds, metres above the cup's centre.
    """

    cup_in_tool: FloatArray
    width: float
    weld: bool
    height: float

    def at(self, angle: float) -> FloatArray:
        """Pose of the cup in the tool frame (4, 4) with the hand turned about the cup's axis by angle (rad)."""
        return self.cup_in_tool @ transform(rotation((0, 0, 1), -angle))

    def hands(self, angles: FloatArray) -> FloatArray:
        """Poses of the tool frame in the cup (k, 4, 4) with the hand turned about the cup's axis by angles (k,) rad."""
        turned = np.tile(np.eye(4), (len(angles), 1, 1))
        turned[:, :3, :3] = rotation((0, 0, 1), angles)
        return turned @ invert(self.cup_in_tool)


def grasp(arm: ArmDescription, cup: Vessel, height: float = 0.0) -> Grasp:
    """Hold a cup at a height (m) above its centre; at angle 0 the hand is on the cup's +x side.

    The fingers close at the tool frame's origin; a cup too deep for the palm is held further out, and one wider
    than the hand is welded to the fingertips.
    """
    radius = float(cup.outer_radius(height - cup.bottom))
    widest = max(cup.base_diameter, cup.top_diameter) / 2
    weld = 2 * radius > arm.max_grasp_width
    reach = radius + TIP if weld else max(widest - arm.palm_clearance, 0.0)
    if weld and not arm.gripper_joints:
        reach = widest
    tool_in_cup = np.eye(4)
    z = np.array([-1.0, 0.0, 0.0])
    x = np.array([0.0, 0.0, float(arm.cup_axis)])
    tool_in_cup[:3, 0], tool_in_cup[:3, 1], tool_in_cup[:3, 2] = x, np.cross(z, x), z
    tool_in_cup[:3, 3] = (reach, 0.0, height)
    return Grasp(invert(tool_in_cup), 0.0 if weld else 2 * radius, weld, height)
