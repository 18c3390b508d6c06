"""Where on the cup the hand can be at all: heights and angles at which it passes bowl and table during a pour.

This does not depend on the arm's configuration nor on the yaw of the pour, so it is settled before any search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import PlanningError
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.ik.base import IKSolver, free_values
from memristor_bdnn.motion.upright import upright_pose
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION, pour_path
from memristor_bdnn.skills.pouring.grasp import Grasp, grasp
from memristor_bdnn.skills.pouring.vessels import Vessel, bowl_of, cup_of

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ANGLES = np.linspace(-np.pi, np.pi, 48, endpoint=False)  # of the hand around the cup, rad
HEIGHTS = (0.0, -0.5, 0.5, -1.0, 1.0)  # where the hand holds the cup, as shares of its half height
FINGER = 0.012  # half of a fingertip's width, m
ENOUGH = 0.25  # share of free angles at which a height is taken without looking at the others
HOLLOW = 0.2  # weight of angles at which the hand dips into the bowl's hollow


@dataclass(frozen=True, eq=False)
class Hold:
    """A grasp at one height, and how promising each of ANGLES is; 0 where the hand would hit something."""

    grasp: Grasp
    weights: FloatArray


def aligned(solver: IKSolver, cup_axis: int) -> FloatArray | None:
    """Some configuration (dof,) whose tool axes lie along the world's axes, or None."""
    reach = np.stack(np.meshgrid((0.3, 0.45, 0.6), (0.0,), (0.3, 0.5)), axis=-1).reshape(-1, 3)
    turns = np.array([0.0, np.pi / 2, -np.pi / 2])
    poses = upright_pose(np.repeat(reach, len(turns), axis=0), np.tile(turns, len(reach)), cup_axis)
    free = free_values(solver, 24)
    q, valid = solver.solve(np.repeat(poses, len(free), axis=0), np.tile(free, len(poses)))
    return np.asarray(q[valid][0]) if valid.any() else None


def holds(
    model: CollisionModel,
    straight: FloatArray | None,
    context: PourContext,
    parameters: PourParameters,
    everywhere: bool,
) -> list[Hold]:
    """Possible holds, the middle of the cup first.

    Angles near the tilt axis weigh more: there the wrist's last joint can do most of the tilt.

    Args:
        model: knows the hand; its fingers are left at the last height's width.
        straight: a configuration whose tool axes lie along the world's; without it nothing is ruled out.
        context: bowl and cup.
        parameters: the pour.
        everywhere: all heights; else only the first at which ENOUGH angles are free, if there is one.

    Raises:
        PlanningError: ``collision`` if the hand hits bowl or table at every height and angle.
    """
    cup, bowl = cup_of(context), bowl_of(context)
    path = np.asarray(pour_path(context, parameters, 0.0, 10), dtype=np.float64)
    preference = 0.15 + np.exp(-((np.abs(np.sin(ANGLES)) - 1) ** 2) / 0.05)
    found: list[Hold] = []
    for height in np.array(HEIGHTS) * max(cup.height / 2 - FINGER, 0.0):
        held = grasp(model.arm, cup, float(height))
        if straight is None:
            return [Hold(held, preference)]
        model.open_fingers(held.width)
        outside, inside = clear_angles(path, held, model.hand_points(straight), bowl, model.padding)
        if outside.mean() >= ENOUGH and not everywhere:
            return [Hold(held, outside * preference)]
        if inside.any():
            found.append(Hold(held, np.where(outside, 1.0, HOLLOW * inside) * preference))
    if not found:
        raise PlanningError("collision", "the hand hits bowl or table at every angle around and height along the cup")
    return found


def clear_angles(
    path: FloatArray, held: Grasp, points: FloatArray, bowl: Vessel, padding: float
) -> tuple[BoolArray, BoolArray]:
    """At which of ANGLES points of the hand stay off bowl and table: with the bowl as a solid, and hollow.

    Args:
        path: cup poses (p, 4, 4).
        held: the grasp.
        points: of the hand, in the tool frame (m, 3).
        bowl: stands at BOWL_POSITION.
        padding: height above the table to keep, metres.
    """
    tools = path[:, None] @ held.hands(ANGLES)
    height = tools[..., 2, :3] @ points.T + (tools[..., 2, 3:] - BOWL_POSITION[2])
    # only points below the rim can hit anything
    pose, angle, point = np.nonzero(height < max(bowl.height, padding))
    z, low = height[pose, angle, point], tools[pose, angle]
    x, y = np.einsum("kij,kj->ik", low[:, :2, :3], points[point]) + low[:, :2, 3].T
    radius = np.hypot(x - BOWL_POSITION[0], y - BOWL_POSITION[1])
    table = z < padding
    solid = (z < bowl.height) & (radius < bowl.outer_radius(z))
    wall = solid & ((radius > bowl.inner_radius(z)) | (z < bowl.wall))
    free = np.ones((2, len(ANGLES)), dtype=bool)
    free[0, angle[solid | table]] = False
    free[1, angle[wall | table]] = False
    return free[0], free[1]
