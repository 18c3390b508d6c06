"""The planner node: whole pour motions for the arm, behind one action."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from rclpy.action.server import ServerGoalHandle
from rclpy.qos import DurabilityPolicy, QoSProfile
from visualization_msgs.msg import MarkerArray

from memristor_bdnn.action import PlanPour
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError, MemristorError, PlanningError
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.base import SkillNode

_CODES = {
    "no_ik": PlanPour.Result.NO_IK,
    "collision": PlanPour.Result.COLLISION,
    "joint_limits": PlanPour.Result.JOINT_LIMITS,
    "timeout": PlanPour.Result.TIMEOUT,
    "start_mismatch": PlanPour.Result.START_MISMATCH,
}

# Attempts and iterations, not the clock, end a search here: a busy machine must not change a plan.
PLANNER_DEFAULTS = {"budget": 30.0, "approach_budget": 30.0}


@dataclass(frozen=True)
class PlannerNodeConfig:
    """Parameters of the planner node; the planner's own are declared as ``planner.<field>``."""

    arm: str = option("panda", "arm description: a name or a YAML file")
    seed: int = option(0, "seed of a plan when the goal says -1", low=0)

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class PlannerNode(SkillNode):
    """Plans approach, pour and retreat; publishes the cup's path as markers."""

    config_type = PlannerNodeConfig

    def __init__(self) -> None:
        super().__init__("pour_planner")
        self._lock = threading.Lock()
        self._planner: Any = None
        self._arm: Any = None
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._markers = self.create_publisher(MarkerArray, "~/markers", latched)
        self._server = self.offer(PlanPour, "~/plan_pour", self._plan, PlanPour.Result.FAILED)

    def setup(self) -> None:
        """Load the arm and its collision model."""
        from memristor_bdnn.config import build
        from memristor_bdnn.motion import arms
        from memristor_bdnn.skills.pouring.motion import PlannerConfig, PourPlanner

        self._arm = arms.load(self.config.arm)
        self.declare_section(PlannerConfig, "planner", PLANNER_DEFAULTS)
        self._planner = PourPlanner(self._arm, build(PlannerConfig, self.read_section("planner")))

    def teardown(self) -> None:
        """Close the collision world."""
        with self._lock:
            if self._planner is not None:
                self._planner.close()
            self._planner = None

    def describe(self) -> str:
        """The arm by name."""
        return f"arm {self.config.arm}"

    def _plan(self, goal: ServerGoalHandle) -> Any:
        result, request = PlanPour.Result(), goal.request
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            context = convert.context_from_message(request.context)
            parameters = convert.parameters_from_message(request.parameters)
            start = convert.joint_positions(request.start, self._arm.joint_names)
        except MemristorError as error:
            return self._abort(goal, result, PlanPour.Result.BAD_INPUT, error)
        goal.publish_feedback(PlanPour.Feedback(phase="planning"))
        seed = self.config.seed if request.seed < 0 else request.seed
        try:
            with self._lock:
                plan = self._planner.plan(context, parameters, start=start, seed=seed)
        except PlanningError as error:
            return self._abort(goal, result, _CODES.get(error.reason, PlanPour.Result.FAILED), error)
        except MemristorError as error:
            return self._abort(goal, result, PlanPour.Result.FAILED, error)
        if goal.is_cancel_requested:
            result.error_code, result.error_msg = PlanPour.Result.CANCELED, "canceled"
            goal.canceled()
            return result
        convert.plan_to_message(plan, self._arm.joint_names, result)
        result.planning_time = float(plan.planning_time_s)
        self._publish_path(context, parameters, plan.yaw)
        goal.succeed()
        return result

    def _abort(self, goal: ServerGoalHandle, result: Any, code: int, error: Exception) -> Any:
        result.error_code, result.error_msg = code, str(error)
        goal.abort()
        return result

    def _publish_path(self, context: Any, parameters: Any, yaw: float) -> None:
        from memristor_bdnn.nodes.markers import path_markers
        from memristor_bdnn.skills.pouring.geometry import pour_path

        poses = pour_path(context, parameters, yaw, 24)
        self._markers.publish(path_markers(poses, context, self.get_clock().now().to_msg()))
