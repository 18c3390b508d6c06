"""Ways through free space from a running move_group: planner:=moveit.

Of MoveIt only its services are used: get_planning_scene, apply_planning_scene and plan_kinematic_path. Nothing is
executed by it. Its answer is looked at like any input from outside (motion/free_space.py) and timed by ourselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from rclpy.callback_groups import ReentrantCallbackGroup

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError, PlanningError
from memristor_bdnn.motion.free_space import Answer, PlannerFault, admitted
from memristor_bdnn.motion.rrt import JointSpace, RRTConfig
from memristor_bdnn.nodes import moveit_convert as convert
from memristor_bdnn.nodes.peers import Patience

FloatArray = npt.NDArray[np.float64]

TICK_S = 0.005
LEAVE_S = 1.0
"""How long it is waited for when the planner takes its objects away."""


@dataclass(frozen=True)
class MoveItConfig:
    """How move_group is asked."""

    group: str = option("", "planning group of the arm in the robot's SRDF: panda_arm, ur_manipulator, ...")
    pipeline: str = option("", "planning pipeline; empty: move_group's default")
    algorithm: str = option("", "planner of the pipeline; empty: its default")
    attempts: int = option(1, "plans that move_group makes for one question, to give the shortest", low=1, high=100)
    planning_time: float = option(2.0, "time that move_group may plan", low=0.05, high=300.0, unit="s")
    answer_time: float = option(
        5.0,
        "time beyond it, and for all else, until a missing answer means that move_group is dead",
        low=0.1,
        high=300.0,
        unit="s",
    )
    appear: float = option(10.0, "time in which move_group must be there", low=0.1, high=300.0, unit="s")
    tilt: float = option(
        0.1, "tilt of what is held that move_group may plan; it is put upright here", low=0.001, high=0.5, unit="rad"
    )
    namespace: str = option("", "namespace of move_group; empty: that of this node")
    prefix: str = option("", "prefix of joint and link names in MoveIt's robot model")

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


class MoveIt:
    """A planner of free space (:class:`memristor_bdnn.motion.free_space.FreeSpacePlanner`) that asks move_group."""

    options: ClassVar[type[Any]] = MoveItConfig

    def __init__(self, options: MoveItConfig, node: Any = None) -> None:
        """
        Args:
            options: how to ask.
            node: spins in a multi-threaded executor while :meth:`plan` is called.

        Raises:
            ConfigError: no node, no group, or moveit_msgs is not installed.
        """
        if node is None:
            raise ConfigError("planner:=moveit talks over ROS: it works in the planner node only; use own here")
        if not options.group:
            raise ConfigError(
                "planner:=moveit needs moveit.group, the planning group of the arm as the robot's SRDF names it "
                "(moveit_group:=panda_arm, moveit_group:=ur_manipulator, ...)"
            )
        self.config, self._node, self._types = options, node, convert.types()
        self._ours: set[str] = set()
        group, srv = ReentrantCallbackGroup(), self._types.srv
        place = f"{options.namespace.rstrip('/')}/" if options.namespace else ""
        self._get = node.create_client(srv.GetPlanningScene, f"{place}get_planning_scene", callback_group=group)
        self._apply = node.create_client(srv.ApplyPlanningScene, f"{place}apply_planning_scene", callback_group=group)
        self._plan = node.create_client(srv.GetMotionPlan, f"{place}plan_kinematic_path", callback_group=group)

    def plan(
        self, space: JointSpace, start: FloatArray, goal: FloatArray, rng: np.random.Generator, config: RRTConfig
    ) -> FloatArray:
        """A path of move_group, admitted (:func:`memristor_bdnn.motion.free_space.admitted`).

        Raises:
            PlanningError: MoveIt's own failure, its error code named; or its path is none for us.
            PlannerFault: move_group is not there, dies, stays silent, or answers what means nothing.
        """
        self._wait_for_services()
        scene = space.model.scene()
        self._send_scene(scene)
        seconds = min(self.config.planning_time, config.timeout)
        request = self._types.srv.GetMotionPlan.Request(
            motion_plan_request=self._question(space, scene, start, goal, seconds)
        )
        patience = seconds * self.config.attempts + self.config.answer_time
        response = self._call(self._plan, request, patience, f"a plan of at most {seconds:g} s").motion_plan_response
        self._judge(response.error_code)
        trajectory = response.trajectory.joint_trajectory
        answer = Answer(
            "move_group",
            [self._without_prefix(name) for name in trajectory.joint_names],
            [list(point.positions) for point in trajectory.points],
        )
        return admitted(answer, space, start, goal, config)

    def close(self) -> None:
        """Take our objects out of MoveIt's world, if it is there to hear it; safe to call twice."""
        if not self._ours or not self._apply.service_is_ready():
            return
        remove = self._types.msg.CollisionObject.REMOVE
        scene = self._types.msg.PlanningScene(is_diff=True)
        scene.robot_state.is_diff = True
        for name in sorted(self._ours):
            item = self._types.msg.CollisionObject(id=name, operation=remove)
            scene.robot_state.attached_collision_objects.append(self._types.msg.AttachedCollisionObject(object=item))
            scene.world.collision_objects.append(item)
        self._ours = set()
        try:
            self._call(self._apply, self._types.srv.ApplyPlanningScene.Request(scene=scene), LEAVE_S, "a clean scene")
        except PlannerFault as error:
            self._node.get_logger().warning(f"whether our objects have left MoveIt's world is not known: {error}")

    # -- private ------------------------------------------------------------------------------

    def _question(self, space: JointSpace, scene: Any, start: FloatArray, goal: FloatArray, seconds: float) -> Any:
        """The MotionPlanRequest."""
        config, kinds = self.config, self._types
        names = [config.prefix + name for name in scene.arm.joint_names]
        request = kinds.msg.MotionPlanRequest(
            group_name=config.group,
            pipeline_id=config.pipeline,
            planner_id=config.algorithm,
            num_planning_attempts=config.attempts,
            allowed_planning_time=float(seconds),
            max_velocity_scaling_factor=1.0,
            max_acceleration_scaling_factor=1.0,
            goal_constraints=[convert.goal_constraints(kinds, names, goal)],
        )
        request.start_state.is_diff = True
        request.start_state.joint_state.name = names
        request.start_state.joint_state.position = [float(value) for value in start]
        request.workspace_parameters.header.frame_id = config.prefix + scene.arm.base_link
        reach = request.workspace_parameters
        reach.min_corner.x = reach.min_corner.y = reach.min_corner.z = -2.0
        reach.max_corner.x = reach.max_corner.y = reach.max_corner.z = 2.0
        if space.upright is not None:
            request.path_constraints = convert.upright_constraints(
                kinds, scene, config.prefix, space.upright, space.model.chain.fk(goal), config.tilt
            )
        return request

    def _send_scene(self, scene: Any) -> None:
        """Every time anew: a move_group that was started again knows nothing of us."""
        kinds = self._types
        message, ours = convert.scene_diff(kinds, scene, self.config.prefix, self._ours)
        if scene.table:
            request = kinds.srv.GetPlanningScene.Request()
            request.components.components = kinds.msg.PlanningSceneComponents.ALLOWED_COLLISION_MATRIX
            matrix = self._call(
                self._get, request, self.config.answer_time, "its allowed collisions"
            ).scene.allowed_collision_matrix
            try:
                allowed = convert.allowing_table(kinds, matrix, scene, self.config.prefix)
            except ValueError as error:
                raise PlannerFault("failed", str(error)) from error
            if allowed is not None:
                message.allowed_collision_matrix = allowed
        self._ours |= ours
        done = self._call(
            self._apply,
            kinds.srv.ApplyPlanningScene.Request(scene=message),
            self.config.answer_time,
            "a planning scene",
        )
        if not done.success:
            raise PlannerFault("failed", "move_group refused our planning scene; its log says why")
        self._ours = ours

    def _judge(self, code: Any) -> None:
        """Raise what MoveIt's error code means to us."""
        if code.val == self._types.msg.MoveItErrorCodes.SUCCESS:
            return
        name = convert.code_name(self._types, code.val)
        said = str(getattr(code, "message", ""))[:300]
        text = f"move_group found no plan: {name} ({code.val})" + (f", {said}" if said else "")
        if name in convert.CODES:
            raise PlanningError(convert.CODES[name], text)
        raise PlannerFault("failed", text)

    def _without_prefix(self, name: str) -> str:
        """Our name of one of MoveIt's joints; unchanged if it does not begin with the prefix, to be refused by name."""
        return str(name).removeprefix(self.config.prefix)

    def _wait_for_services(self) -> None:
        patience = Patience(self.config.appear)
        missing = self._missing()
        while missing:
            if patience.over():
                raise PlannerFault(
                    "failed",
                    f"no move_group: the services {', '.join(missing)} have not appeared in {self.config.appear:g} s; "
                    "start it, set moveit.namespace, or use planner:=own",
                )
            time.sleep(0.05)
            missing = self._missing()

    def _missing(self) -> list[str]:
        return [c.srv_name for c in (self._get, self._apply, self._plan) if not c.service_is_ready()]

    def _call(self, client: Any, request: Any, seconds: float, what: str) -> Any:
        """The response of move_group.

        Raises:
            PlannerFault: ``timeout`` when none comes in time, ``failed`` when move_group goes away.
        """
        future = client.call_async(request)
        patience = Patience(seconds)
        try:
            while not future.done():
                self._still_there(client, future.done, what)
                if patience.over():
                    raise PlannerFault(
                        "timeout", f"move_group was asked for {what} and has not answered in {seconds:g} s"
                    )
                time.sleep(TICK_S)
            return future.result()
        finally:
            client.remove_pending_request(future)

    def _still_there(self, client: Any, answered: Callable[[], bool], what: str) -> None:
        if not client.service_is_ready() and not answered():
            raise PlannerFault("failed", f"move_group went away while it was asked for {what}")
