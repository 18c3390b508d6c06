"""The world node of a lab: a physical arm executes the trials; a scale or the operator measures them."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from std_msgs.msg import Float64, Header

from memristor_bdnn import skills
from memristor_bdnn.action import ExecuteTrial
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ArmError, ConfigError, MemristorError
from memristor_bdnn.motion.plan import MotionPlan
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.base import SkillNode
from memristor_bdnn.skills.protocol import Measured
from memristor_bdnn.srv import ResetWorld


@dataclass(frozen=True)
class PhysicalWorldConfig:
    """Parameters of the physical world node, beside those of the skill's set-up.

    The safety checks are declared as ``port.<field>``.
    """

    skill: str = option(skills.DEFAULT, "skill by name", choices=skills.names)
    arm: str = option("panda", "arm description: a name or a YAML file", files=True)
    arm_output: str = option("auto", "how trajectories go out", choices=("auto", "action", "topic"))
    controller: str = option("joint_trajectory_controller", "name of the joint trajectory controller")
    enable_hardware: bool = option(False, "must be true before the arm is moved")
    scale_topic: str = option("", "std_msgs/Float64 topic of a scale, in grams; empty: the operator labels")
    settle_s: float = option(1.0, "wait for the scale to settle after a trial", low=0.0, high=60.0, unit="s")
    seed: int = option(0, "not used: what stands in the lab is not drawn", low=0)

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class PhysicalWorldNode(SkillNode):
    """Offers the same interfaces as the simulated world, for what stands in the lab."""

    config_type = PhysicalWorldConfig

    def __init__(self) -> None:
        super().__init__(skills.load(skills.DEFAULT).node_names[0])
        from memristor_bdnn.motion.ports.base import PortConfig

        self._lock = threading.Lock()
        self._arm: Any = None
        self._port: Any = None
        self._skill: Any = None
        self._objects: Any = None
        self._found: Any = None
        self._grams: tuple[float, float] | None = None
        self._scale: Any = None
        self.declare_section(PortConfig, "port")
        self.create_service(ResetWorld, "~/reset", self._reset, callback_group=self.group)
        self._server = self.offer(ExecuteTrial, "~/execute_trial", self._trial, ExecuteTrial.Result.FAILED)

    def setup(self) -> None:
        """Load the arm and connect to its controller; nothing moves."""
        from memristor_bdnn.config import build
        from memristor_bdnn.motion import arms
        from memristor_bdnn.motion.ports.base import PortConfig
        from memristor_bdnn.nodes.arm_port import ControllerPort

        config = self.config
        self._arm = arms.load(config.arm)
        skill = self._skill = skills.load(config.skill)
        if not skill.phases:
            raise ConfigError(f"skill {skill.name} plans no motion: a physical arm cannot execute it")
        self.declare_section(skill.physical_options, "", key="objects")
        self._objects = build(skill.physical_options, self.read_section("objects"))
        self._found = skill.context_space.check(skill.physical_context(self._objects))
        if config.scale_topic:
            skill.weighed(0.0, 0.0, self._objects)  # a skill that no scale can measure says so here
        port = build(PortConfig, {**self.read_section("port"), "enable_hardware": config.enable_hardware})
        self._port = ControllerPort(self, self._arm, port, config.controller, config.arm_output)
        if config.scale_topic and self._scale is None:
            self._scale = self.create_subscription(
                Float64, config.scale_topic, self._on_weight, 10, callback_group=self.group
            )
        self.announce(skill)

    def describe(self) -> str:
        """Skill, arm and what stands there."""
        enabled = "enabled" if self.config.enable_hardware else "NOT enabled (enable_hardware:=true moves it)"
        return f"skill {self.config.skill}, physical {self.config.arm} {enabled}; {self._objects}"

    def _on_weight(self, message: Float64) -> None:
        if math.isfinite(message.data):
            self._grams = (time.monotonic(), message.data)

    def _reset(self, request: Any, response: Any) -> Any:
        """What stands there, whatever seed; a request for another context is refused: nobody can swap it here."""
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            space = self._skill.context_space
            if request.given:
                self._check_context(convert.row_from_message(request.context, space))
            response.context = convert.table(space.names, self._found)
            response.success = True
        except MemristorError as error:
            response.message = str(error)
        return response

    def _check_context(self, wanted: Any) -> None:
        if not np.allclose(wanted, self._found, rtol=0.0, atol=1e-6):
            space = self._skill.context_space
            raise ConfigError(
                f"the lab holds {self._objects}, which is {space.named(self._found)}, not {space.named(wanted)}"
            )

    def _trial(self, goal: Any) -> Any:
        result, request = ExecuteTrial.Result(), goal.request
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            context = convert.row_from_message(request.context, self._skill.context_space)
            parameters = convert.row_from_message(request.parameters, self._skill.parameter_space)
            plan = convert.plan_from_message(request.plan, self._arm.joint_names, self._skill.phases)
            if plan is None:
                raise ConfigError(f"plan: no phases, expected {', '.join(self._skill.phases)}")
            self._check_context(context)
        except MemristorError as error:
            result.error_code, result.error_msg = ExecuteTrial.Result.BAD_INPUT, str(error)
            goal.abort()
            return result
        try:
            with self._lock:
                measured = self._execute(goal, plan)
        except ArmError as error:
            code = ExecuteTrial.Result.CANCELED if error.reason == "cancelled" else ExecuteTrial.Result.ARM_FAILED
            result.error_code, result.error_msg = code, f"{error.reason}: {error}"
            goal.canceled() if goal.is_cancel_requested else goal.abort()
            return result
        header = Header(frame_id="world", stamp=self.get_clock().now().to_msg())
        result.outcome = convert.outcome_to_message(
            self._skill, measured, request.trial_id, context, parameters, header
        )
        if measured.source == "":
            result.error_code, result.error_msg = ExecuteTrial.Result.NO_LABEL, "done; nobody has measured it yet"
        goal.succeed()
        return result

    def _execute(self, goal: Any, plan: MotionPlan) -> Measured:
        """Move through the phases; the outcome has no source when nothing measured it."""
        nothing = Measured(np.full(len(self._skill.measure_space), np.nan), source="")
        before = self._weigh()
        for phase, trajectory in zip(plan.phases, plan.trajectories, strict=True):

            def progress(fraction: float, phase: str = phase) -> None:
                goal.publish_feedback(ExecuteTrial.Feedback(phase=phase, progress=float(fraction)))

            self._port.execute(trajectory, progress, lambda: bool(goal.is_cancel_requested) or not self.active)
        if before is None:
            return nothing
        time.sleep(self.config.settle_s)
        after = self._weigh()
        if after is None:
            return nothing
        return Measured(self._skill.weighed(before, after, self._objects), "scale")

    def _weigh(self) -> float | None:
        """The scale's weight in grams, or None when there is no scale or it has been silent for 2 s."""
        if self._grams is None or time.monotonic() - self._grams[0] > 2.0:
            return None
        return self._grams[1]
