"""The planner node: a skill's whole motions for the arm, behind one action."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from rclpy.action.server import ServerGoalHandle
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from visualization_msgs.msg import MarkerArray

from memristor_bdnn import skills
from memristor_bdnn.action import PlanMotion
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ArmError, ConfigError, MemristorError, PlanningError
from memristor_bdnn.motion import free_space
from memristor_bdnn.motion.ports.base import pick_joints
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.base import SkillNode
from memristor_bdnn.nodes.markers import markers

_CODES = {
    "no_ik": PlanMotion.Result.NO_IK,
    "collision": PlanMotion.Result.COLLISION,
    "joint_limits": PlanMotion.Result.JOINT_LIMITS,
    "timeout": PlanMotion.Result.TIMEOUT,
    "start_mismatch": PlanMotion.Result.START_MISMATCH,
}


@dataclass(frozen=True)
class PlannerNodeConfig:
    """Parameters of the planner node.

    Those of the skill's motion are declared as ``planner.<field>``, those of the planner of free space by its name
    (``moveit.<field>``).
    """

    skill: str = option(skills.DEFAULT, "skill by name", choices=skills.names)
    arm: str = option("panda", "arm description: a name or a YAML file", files=True)
    planner: str = option(
        "own",
        "who plans approach and retreat: own, in this node, or moveit, a running move_group",
        choices=free_space.names,
    )
    seed: int = option(0, "seed of a plan when the goal says -1", low=0, changes="live")

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class PlannerNode(SkillNode):
    """Plans the motions of one skill; publishes the last plan as markers."""

    config_type = PlannerNodeConfig

    def __init__(self) -> None:
        super().__init__(skills.load(skills.DEFAULT).node_names[1])
        self._lock = threading.Lock()
        self._skill: Any = None
        self._planner: Any = None
        self._arm: Any = None
        self._free_space: Any = None
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._markers = self.create_publisher(MarkerArray, "~/markers", latched)
        # One at a time: there is one collision model, and goals that wait for it would take the executor's threads.
        self._server = self.offer(PlanMotion, "~/plan_motion", self._plan, PlanMotion.Result.FAILED, exclusive=True)

    def setup(self) -> None:
        """Load the arm and its collision model."""
        from memristor_bdnn.config import build
        from memristor_bdnn.motion import arms

        self._skill = skills.load(self.config.skill)
        self._arm = arms.load(self.config.arm)
        options = self._skill.motion_options
        self.declare_section(options, "planner", dict(self._skill.motion_defaults))
        if self._skill.phases:
            self._planner = self._skill.motion(self.config.arm, build(options, self.read_section("planner")))
            self._choose_free_space()
        self.announce(self._skill)

    def _choose_free_space(self) -> None:
        """Hand the planner of free space to the skill's motion."""
        from memristor_bdnn.config import build

        name = self.config.planner
        if not hasattr(self._planner, "free_space"):
            if name != "own":
                raise ConfigError(f"planner:={name}: skill {self.config.skill} plans its whole motion; use own")
            return
        kind = free_space.load(name)
        self.declare_section(kind.options, name)
        self._free_space = free_space.create(name, build(kind.options, self.read_section(name)), self)
        self._planner.free_space = self._free_space

    def teardown(self) -> None:
        """Close the collision world, and leave who plans outside."""
        with self._lock:
            if self._free_space is not None:
                self._free_space.close()
            self._free_space = None
            if self._planner is not None:
                self._planner.close()
            self._planner = None

    def describe(self) -> str:
        """The arm by name."""
        plans = "" if self._skill.phases else ", which plans nothing"
        return f"skill {self.config.skill}{plans}, arm {self.config.arm}, planner {self.config.planner}"

    def _plan(self, goal: ServerGoalHandle) -> Any:
        result, request = PlanMotion.Result(), goal.request
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            if self._planner is None:
                raise ConfigError(f"skill {self._skill.name} plans nothing: its trials are executed without a plan")
            context = convert.row_from_message(request.context, self._skill.context_space)
            parameters = convert.row_from_message(request.parameters, self._skill.parameter_space)
        except MemristorError as error:
            return self._abort(goal, result, PlanMotion.Result.BAD_INPUT, error)
        try:
            start = self._start(request.start)
        except ArmError as error:
            return self._abort(goal, result, PlanMotion.Result.START_MISMATCH, error)
        goal.publish_feedback(PlanMotion.Feedback(phase="planning"))
        seed = self.config.seed if request.seed < 0 else request.seed
        try:
            with self._lock:
                plan = self._planner.plan(context, parameters, start=start, seed=seed)
        except PlanningError as error:
            return self._abort(goal, result, _CODES.get(error.reason, PlanMotion.Result.FAILED), error)
        except MemristorError as error:
            return self._abort(goal, result, PlanMotion.Result.FAILED, error)
        if goal.is_cancel_requested:
            result.error_code, result.error_msg = PlanMotion.Result.CANCELED, "canceled"
            goal.canceled()
            return result
        result.plan = convert.plan_to_message(plan, self._arm.joint_names)
        shapes = self._skill.plan_shapes(context, parameters, plan)
        self._markers.publish(markers(shapes, self.get_clock().now().to_msg()))
        goal.succeed()
        return result

    def _start(self, state: JointState) -> Any:
        """Where the plan begins, (dof,) rad; None for the arm's home. Raises ArmError for a faulty joint state."""
        if not state.name and not state.position:
            return None
        return pick_joints(state.name, state.position, self._arm.joint_names)

    def _abort(self, goal: ServerGoalHandle, result: Any, code: int, error: Exception) -> Any:
        result.error_code, result.error_msg = code, str(error)
        goal.abort()
        return result
