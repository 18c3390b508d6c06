"""A move_group for tests, in a process of its own: MoveIt's services with our RRT-Connect behind them.

    move_group.py ARM GROUP FILE [PREFIX]

It knows the arm's URDF (all names with PREFIX), and of everything else only what it is sent: it plans in the received
scene, under the received constraints, as MoveIt documents them (a diff adds to the scene, a matrix of allowed contacts
replaces the old one, what is let go stays in the world). The fault named in FILE makes it fail; one line of JSON on
stdout for every scene.
It is not MoveIt: nothing here tests MoveIt's planners, its robot models or its own reading of the messages.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transforms3d.euler import mat2euler
from transforms3d.quaternions import quat2mat

from memristor_bdnn.errors import PlanningError
from memristor_bdnn.motion import arms, timing
from memristor_bdnn.motion.arms.pairs import may_touch
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.ik import solvers
from memristor_bdnn.motion.ik.base import free_values
from memristor_bdnn.motion.kinematics import invert, mounting, quaternions, transform
from memristor_bdnn.motion.rrt import JointSpace, RRTConfig, plan
from memristor_bdnn.motion.upright import UprightSpace, upright_pose

WORKSPACE = ((-0.2, -0.7, 0.05), (0.8, 0.7, 0.7))


class Box(NamedTuple):
    half_extents: Any
    position: Any
    quaternion: Any


def pose_of(message: Any) -> Any:
    p, q = message.position, message.orientation
    return transform(quat2mat((q.w, q.x, q.y, q.z)), (p.x, p.y, p.z))


def boxes_of(item: Any) -> list[Box]:
    assert len(item.primitives) == len(item.primitive_poses)
    found = []
    for solid, placed in zip(item.primitives, item.primitive_poses, strict=True):
        assert solid.type == solid.BOX and len(solid.dimensions) == 3
        p, q = placed.position, placed.orientation
        found.append(Box(tuple(d / 2 for d in solid.dimensions), (p.x, p.y, p.z), (q.x, q.y, q.z, q.w)))
    return found


class World:
    """What the scenes that were received say, and the arm in it."""

    def __init__(self, arm: Any, prefix: str = "") -> None:
        self.arm, self.prefix = arm, prefix
        self.base, self.tool = prefix + arm.base_link, prefix + arm.tool_link
        links = list(CollisionModel(arm, table=False)._link_index)
        self.links = [prefix + link for link in links]
        self.objects: dict[str, Any] = {}
        self.attached: dict[str, Any] = {}
        allowed = {frozenset(pair) for pair in may_touch(arm)}
        self.names = list(self.links)
        self.matrix = [[frozenset((a, b)) in allowed for b in links] for a in links]

    def bare(self, name: str) -> str:
        """The name without the prefix that all names have here."""
        assert name.startswith(self.prefix), name
        return name[len(self.prefix) :]

    def apply(self, scene: Any) -> str:
        """Make a diff true; returns what is wrong with it."""
        if not scene.is_diff or not scene.robot_state.is_diff:
            return "a whole scene was sent: it would remove everything that is not ours"
        if scene.allowed_collision_matrix.entry_names:
            self.names = list(scene.allowed_collision_matrix.entry_names)
            self.matrix = [list(row.enabled) for row in scene.allowed_collision_matrix.entry_values]
            if any(len(row) != len(self.names) for row in (self.matrix, *self.matrix)):
                return "the matrix is not square"
        for held in scene.robot_state.attached_collision_objects:
            if held.object.operation == held.object.REMOVE:
                if held.object.id in self.attached:
                    self.objects[held.object.id] = self.attached.pop(held.object.id).object
            elif held.link_name not in self.links or held.object.header.frame_id not in self.links:
                return f"no link {held.link_name}"
            else:
                self.attached[held.object.id] = held
        for item in scene.world.collision_objects:
            if item.operation == item.REMOVE:
                self.objects.pop(item.id, None)
            elif item.header.frame_id not in self.links:
                return f"no frame {item.header.frame_id}"
            else:
                self.objects[item.id] = item
        return ""

    def touches(self, name: str) -> list[str]:
        """Links that the matrix lets touch an object."""
        if name not in self.names:
            return []
        row = self.matrix[self.names.index(name)]
        return [other for other, may in zip(self.names, row, strict=True) if may]

    def model(self) -> CollisionModel:
        """The arm among all objects."""
        (held,) = self.attached.values() or (None,)
        touching = tuple(map(self.bare, held.touch_links)) if held else ()
        touching = tuple(link for link in touching if link != self.arm.tool_link)
        model = CollisionModel(replace(self.arm, gripper_links=touching), table=False)
        base = mounting(self.arm)
        for name, item in self.objects.items():
            assert item.header.frame_id == self.base
            pose = base @ pose_of(item.pose)
            model.add_obstacle(name, boxes_of(item), pose[:3, 3], quaternions(pose[None, :3, :3])[0])
            for link in self.touches(name):
                model._engine.allow(model._link_index[self.bare(link)], model._obstacle(name))
        if held:
            assert held.link_name == held.object.header.frame_id == self.tool
            tool = invert(transform(position=self.arm.tool_offset)) @ pose_of(held.object.pose)
            model.hold(boxes_of(held.object), tool, name=held.object.id)
        return model


def broken_constraint(world: World, chain: Any, constraints: Any, path: Any) -> str:
    """Which orientation constraint a path breaks, by MoveIt's definition: Euler angles of the error, intrinsic xyz."""
    for c in constraints.orientation_constraints:
        assert c.header.frame_id == world.base and c.link_name == world.tool
        assert c.parameterization == c.XYZ_EULER_ANGLES
        q = c.orientation
        wanted = mounting(world.arm)[:3, :3] @ quat2mat((q.w, q.x, q.y, q.z))
        allowed = (c.absolute_x_axis_tolerance, c.absolute_y_axis_tolerance, c.absolute_z_axis_tolerance)
        for i, tool in enumerate(chain.fk(path)):
            error = np.abs(mat2euler(wanted.T @ tool[:3, :3], "rxyz"))
            if (error > allowed).any():
                return f"point {i} is off by {error.round(3).tolist()} rad, allowed {np.round(allowed, 3).tolist()}"
    return ""


class Planner:
    """Answers questions in the world."""

    def __init__(self, arm: Any, group: str, prefix: str) -> None:
        self.arm, self.group, self.world = arm, group, World(arm, prefix)
        self.names = [prefix + name for name in arm.joint_names]
        self.solver = solvers.create(arm)

    def solve(self, request: Any, codes: Any) -> tuple[int, str, Any]:
        """Error code, message, and a path (n, dof) in the arm's order."""
        names = self.names
        if request.group_name != self.group:
            return codes.INVALID_GROUP_NAME, f"no group {request.group_name}", None
        state = request.start_state
        if not state.is_diff or sorted(state.joint_state.name) != sorted(names):
            return codes.INVALID_ROBOT_STATE, f"joints {list(state.joint_state.name)}", None
        (goals,) = request.goal_constraints
        if any(not 0 < c.tolerance_above < 0.01 or not 0 < c.tolerance_below < 0.01 for c in goals.joint_constraints):
            return codes.INVALID_GOAL_CONSTRAINTS, "tolerances", None
        start = np.array([state.joint_state.position[list(state.joint_state.name).index(n)] for n in names])
        wanted = {c.joint_name: c.position for c in goals.joint_constraints}
        goal = np.array([wanted[n] for n in names])
        model = self.world.model()
        try:
            for q, code in ((start, codes.START_STATE_IN_COLLISION), (goal, codes.GOAL_IN_COLLISION)):
                if hit := model.contacts(q):
                    return code, f"{hit[0].first} with {hit[0].second}", None
            upright = bool(request.path_constraints.orientation_constraints)
            space: Any = (
                UprightSpace(model, self.solver, *WORKSPACE, around=start) if upright else JointSpace(model, start)
            )
            limits = RRTConfig(timeout=request.allowed_planning_time, resolution=0.03, fine_resolution=0.03)
            path = plan(space, start, goal, np.random.default_rng(7), limits)
        except PlanningError as error:
            return codes.PLANNING_FAILED, str(error), None
        finally:
            model.close()
        if wrong := broken_constraint(self.world, self.solver.chain, request.path_constraints, path):
            return codes.INVALID_MOTION_PLAN, wrong, None
        return codes.SUCCESS, "", timing.thin(path, 0.1)

    def in_the_way(self, near: Any) -> Any:
        """An upright configuration (dof,) in the middle of the first object that is no table."""
        item = next(item for name, item in self.world.objects.items() if not name.endswith("table"))
        where = (mounting(self.arm) @ pose_of(item.pose))[:3, 3] + (0.0, 0.0, 0.06)
        headings = np.linspace(-np.pi, np.pi, 24)
        poses = np.array([upright_pose(where, heading, self.arm.cup_axis) for heading in headings])
        free = free_values(self.solver, 16)
        q, valid = self.solver.solve(np.repeat(poses, len(free), axis=0), np.tile(free, len(poses)))
        return min(q[valid], key=lambda found: np.abs(found - near).max())


def spoilt(fault: str, names: list[str], path: Any) -> tuple[list[str], list[list[float]]]:
    """An answer with a fault in it."""
    rows = [row.tolist() for row in path]
    if fault == "other_joints":
        names = [f"other_{name}" for name in names]
    elif fault == "joint_missing":
        names, rows = names[1:], [row[1:] for row in rows]
    elif fault == "nan":
        rows[len(rows) // 2][1] = float("nan")
    elif fault == "ragged":
        rows[-1] = rows[-1][:-1]
    elif fault == "empty":
        rows = []
    elif fault == "elsewhere":
        rows[0][0] += 0.1
    elif fault == "short":
        rows = rows[:-1]
    elif fault == "limits":
        rows.insert(1, [7.5, *rows[0][1:]])
    return names, rows


def main(arm_name: str, group: str, file: Path, prefix: str) -> None:
    import rclpy
    from moveit_msgs.msg import AllowedCollisionEntry, MoveItErrorCodes
    from moveit_msgs.srv import ApplyPlanningScene, GetMotionPlan, GetPlanningScene
    from rclpy.callback_groups import ReentrantCallbackGroup
    from rclpy.executors import MultiThreadedExecutor
    from trajectory_msgs.msg import JointTrajectoryPoint

    rclpy.init(args=[])
    node = rclpy.create_node("move_group")
    planner = Planner(arms.load(arm_name), group, prefix)
    world = planner.world

    def get(request: Any, response: Any) -> Any:
        assert request.components.components & request.components.ALLOWED_COLLISION_MATRIX
        matrix = response.scene.allowed_collision_matrix
        matrix.entry_names = world.names
        matrix.entry_values = [AllowedCollisionEntry(enabled=row) for row in world.matrix]
        return response

    def apply(request: Any, response: Any) -> Any:
        fault = file.read_text()
        wrong = "told to refuse" if fault == "scene" else world.apply(request.scene)
        touch = {name: list(held.touch_links) for name, held in world.attached.items()}
        table = world.touches("memristor_bdnn_table")
        print(json.dumps({"objects": sorted(world.objects), "held": touch, "table": table, "wrong": wrong}), flush=True)
        response.success = not wrong
        return response

    def solve(request: Any, response: Any) -> Any:
        fault, question, answer = file.read_text(), request.motion_plan_request, response.motion_plan_response
        print(json.dumps({"asked": fault}), flush=True)
        if fault == "silence":
            time.sleep(question.allowed_planning_time + 4.0)
        if fault == "dies":
            os._exit(1)
        if fault.startswith("code "):
            answer.error_code.val, answer.error_code.message = int(fault.split()[1]), "as told"
            return response
        code, answer.error_code.message, path = planner.solve(question, MoveItErrorCodes)
        answer.error_code.val = code
        if path is None:
            return response
        if fault == "through":
            path = np.insert(path, 1, planner.in_the_way(path[0]), axis=0)
        # MoveIt's order of joints need not be ours.
        names, rows = spoilt(fault, planner.names[::-1], path[:, ::-1])
        answer.group_name, answer.trajectory.joint_trajectory.joint_names = group, names
        answer.trajectory.joint_trajectory.points = [JointTrajectoryPoint(positions=row) for row in rows]
        return response

    together = ReentrantCallbackGroup()
    node.create_service(GetPlanningScene, "get_planning_scene", get, callback_group=together)
    node.create_service(ApplyPlanningScene, "apply_planning_scene", apply, callback_group=together)
    node.create_service(GetMotionPlan, "plan_kinematic_path", solve, callback_group=together)
    executor = MultiThreadedExecutor(4)
    executor.add_node(node)
    print(json.dumps({"ready": arm_name}), flush=True)
    executor.spin()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), "".join(sys.argv[4:]))
