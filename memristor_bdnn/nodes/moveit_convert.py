"""Between our collision world and MoveIt's messages: the planning scene, the question, and the names of error codes.

All poses are sent in the frame of the arm's base link, which every robot model of MoveIt has: no TF is needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Point, Pose, Quaternion

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.engine import TABLE
from memristor_bdnn.motion.kinematics import invert, mounting, quaternions, transform
from memristor_bdnn.motion.scene import Body, Scene

FloatArray = npt.NDArray[np.float64]

OURS = "memristor_bdnn_"
"""Begins the ids of our objects in MoveIt's world, so that none of somebody else's is replaced."""
GOAL_TOLERANCE = 1e-4
"""Of the goal's joints, rad."""
CODES = {
    "PLANNING_FAILED": "timeout",
    "TIMED_OUT": "timeout",
    "INVALID_MOTION_PLAN": "collision",
    "MOTION_PLAN_INVALIDATED_BY_ENVIRONMENT_CHANGE": "collision",
    "GOAL_IN_COLLISION": "collision",
    "GOAL_STATE_INVALID": "joint_limits",
    "GOAL_VIOLATES_PATH_CONSTRAINTS": "failed",
    "GOAL_CONSTRAINTS_VIOLATED": "failed",
    "START_STATE_IN_COLLISION": "start_mismatch",
    "NO_IK_SOLUTION": "no_ik",
}
"""Our reason for each of MoveIt's codes after which another goal may be worth asking for; any other ends the search."""


class Types(NamedTuple):
    """Modules of generated messages."""

    msg: ModuleType
    srv: ModuleType
    shapes: ModuleType


def types() -> Types:
    """MoveIt's messages, imported when they are needed.

    Raises:
        ConfigError: they are not installed; says what to install.
    """
    try:
        return Types(*map(importlib.import_module, ("moveit_msgs.msg", "moveit_msgs.srv", "shape_msgs.msg")))
    except ImportError as error:
        raise ConfigError(
            f"planner:=moveit needs the ROS package moveit_msgs ({error}): apt install ros-$ROS_DISTRO-moveit (or "
            "ros-$ROS_DISTRO-moveit-msgs where move_group runs on another machine) and source that ROS, or use "
            "planner:=own"
        ) from None


def code_name(kinds: Types, value: int) -> str:
    """The name of one of MoveIt's error codes, or its number."""
    codes = kinds.msg.MoveItErrorCodes
    named = (name for name in dir(codes) if name.isupper() and getattr(codes, name) == value)
    return next(named, f"error code {value}")


# ---- the planning scene -----------------------------------------------------------------------------


def scene_diff(kinds: Types, scene: Scene, prefix: str, before: Iterable[str]) -> tuple[Any, set[str]]:
    """A PlanningScene that makes MoveIt's world what ours is, and leaves alone what is not ours.

    The boxes are those of our collision world: table and obstacles grown by the padding (an obstacle by no more than
    what is held may come near to it), what is held as it is, attached to the tool link.

    Args:
        kinds: the messages.
        scene: our world.
        prefix: of MoveIt's link names.
        before: ids that were sent before; those not among the new ones are removed.

    Returns:
        The message, and the ids that stand in MoveIt's world after it.
    """
    add, remove = kinds.msg.CollisionObject.ADD, kinds.msg.CollisionObject.REMOVE
    base, world = prefix + scene.arm.base_link, invert(mounting(scene.arm))
    message = kinds.msg.PlanningScene(is_diff=True)
    message.robot_state.is_diff = True
    solid = []
    for body in scene.fixed:
        grown = float(np.clip(body.room, 0.0, scene.padding))
        solid.append(_object(kinds, base, _id(body.name), world @ body.pose, body, grown))
    if scene.table:
        pose = world @ transform(position=(0.0, 0.0, scene.padding - TABLE[2]))
        solid.append(_object(kinds, base, _id("table"), pose, None, 0.0))
    now = {item.id for item in solid}
    tool = prefix + scene.arm.tool_link
    attached = []
    if scene.held is not None:
        pose = transform(position=scene.arm.tool_offset) @ scene.held.pose
        held = _object(kinds, tool, _id(scene.held.name), pose, scene.held, 0.0)
        touch = [prefix + link for link in scene.touching]
        attached.append(kinds.msg.AttachedCollisionObject(link_name=tool, object=held, touch_links=touch))
        now.add(held.id)
    for item in solid:
        item.operation = add
    for gone in sorted(set(before) - now):
        # What was in the hand becomes an object of the world when it is let go, and is removed there.
        letting_go = kinds.msg.CollisionObject(id=gone, operation=remove)
        attached.append(kinds.msg.AttachedCollisionObject(link_name=tool, object=letting_go))
        solid.append(kinds.msg.CollisionObject(id=gone, operation=remove))
    message.robot_state.attached_collision_objects = attached
    message.world.collision_objects = solid
    return message, now


def allowing_table(kinds: Types, matrix: Any, scene: Scene, prefix: str) -> Any:
    """MoveIt's allowed collisions with those of the links that stand on our table; None if they are in it already."""
    names, rows = list(matrix.entry_names), [list(entry.enabled) for entry in matrix.entry_values]
    if len(rows) != len(names) or any(len(row) != len(names) for row in rows):
        raise ValueError("move_group's matrix of allowed collisions is not square")
    table, links = _id("table"), [prefix + link for link in scene.on_table]
    for name in (table, *links):
        if name not in names:
            names.append(name)
            for row in rows:
                row.append(False)
            rows.append([False] * len(names))
    at = names.index(table)
    if len(names) == len(matrix.entry_names) and all(rows[at][names.index(link)] for link in links):
        return None
    for link in links:
        rows[at][names.index(link)] = rows[names.index(link)][at] = True
    return kinds.msg.AllowedCollisionMatrix(
        entry_names=names,
        entry_values=[kinds.msg.AllowedCollisionEntry(enabled=row) for row in rows],
        default_entry_names=matrix.default_entry_names,
        default_entry_values=matrix.default_entry_values,
    )


def _id(name: str) -> str:
    return OURS + name


def _object(kinds: Types, frame: str, name: str, pose: FloatArray, body: Body | None, grown: float) -> Any:
    """A CollisionObject of a body's boxes; of the table for None."""
    made = kinds.msg.CollisionObject(id=name, pose=_pose(pose))
    made.header.frame_id = frame
    if body is None:
        parts: list[tuple[Sequence[float], Pose]] = [(TABLE, Pose())]
    else:
        parts = [(box.half_extents, _box_pose(box)) for box in body.boxes]
    made.primitives = [
        kinds.shapes.SolidPrimitive(
            type=kinds.shapes.SolidPrimitive.BOX, dimensions=[2.0 * (float(half) + grown) for half in extents]
        )
        for extents, _ in parts
    ]
    made.primitive_poses = [placed for _, placed in parts]
    return made


def _box_pose(box: Any) -> Pose:
    x, y, z = map(float, box.position)
    qx, qy, qz, qw = map(float, box.quaternion)
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def _pose(pose: FloatArray) -> Pose:
    x, y, z = map(float, pose[:3, 3])
    return Pose(position=Point(x=x, y=y, z=z), orientation=_quaternion(pose[:3, :3]))


def _quaternion(turn: FloatArray) -> Quaternion:
    x, y, z, w = map(float, quaternions(turn[None])[0])
    return Quaternion(x=x, y=y, z=z, w=w)


# ---- the question -----------------------------------------------------------------------------------


def goal_constraints(kinds: Types, names: Sequence[str], goal: FloatArray) -> Any:
    """The goal (dof,), rad, as joint constraints."""
    return kinds.msg.Constraints(
        joint_constraints=[
            kinds.msg.JointConstraint(
                joint_name=name,
                position=float(value),
                tolerance_above=GOAL_TOLERANCE,
                tolerance_below=GOAL_TOLERANCE,
                weight=1.0,
            )
            for name, value in zip(names, goal, strict=True)
        ]
    )


def upright_constraints(
    kinds: Types, scene: Scene, prefix: str, upright: FloatArray, tool: FloatArray, tilt: float
) -> Any:
    """What is held stays upright on the way: free about one axis of the tool link, within a tilt about the others.

    Args:
        kinds: the messages.
        scene: our world.
        prefix: of MoveIt's link names.
        upright: axis (3,) of the tool link that stays vertical, one of its own axes.
        tool: pose (4, 4) of the tool in the world at the goal, where it is upright.
        tilt: allowed, rad.
    """
    free = int(np.abs(upright).argmax())
    limits = [tilt] * 3
    limits[free] = 2 * np.pi
    constraint = kinds.msg.OrientationConstraint(
        link_name=prefix + scene.arm.tool_link,
        orientation=_quaternion((invert(mounting(scene.arm)) @ tool)[:3, :3]),
        absolute_x_axis_tolerance=limits[0],
        absolute_y_axis_tolerance=limits[1],
        absolute_z_axis_tolerance=limits[2],
        weight=1.0,
    )
    constraint.header.frame_id = prefix + scene.arm.base_link
    return kinds.msg.Constraints(orientation_constraints=[constraint])
