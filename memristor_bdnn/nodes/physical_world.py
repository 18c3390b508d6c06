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
from memristor_bdnn.config import build, check, option
from memristor_bdnn.errors import ArmError, Cancelled, ConfigError, MemristorError
from memristor_bdnn.motion.plan import MotionPlan
from memristor_bdnn.motion.ports.base import PortConfig
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.base import SkillNode
from memristor_bdnn.nodes.goals import Callers
from memristor_bdnn.nodes.joint_states import LISTEN
from memristor_bdnn.nodes.robot_description import WHO, Known, RobotDescription
from memristor_bdnn.skills.protocol import Measured
from memristor_bdnn.srv import ResetWorld

SCALINGS = ("port.velocity_scaling", "port.acceleration_scaling")
"""May be lowered while the process runs, never raised above what it was started with."""
FEEDBACK_S = 0.1
"""How often feedback is published during a motion."""
RELEASE_S = 4.0
"""How long a running trial may take to see that the node is released."""


@dataclass(frozen=True)
class PhysicalWorldConfig:
    """Parameters of the physical world node, beside those of the skill's set-up.

    The safety checks are declared as ``port.<field>``.
    """

    skill: str = option(skills.DEFAULT, "skill by name", choices=skills.names)
    arm: str = option("panda", "arm description: a name or a YAML file", files=True)
    arm_output: str = option("auto", "how trajectories go out", choices=("auto", "action", "topic"), changes="start")
    controller: str = option("joint_trajectory_controller", "name of the joint trajectory controller", changes="start")
    enable_hardware: bool = option(
        False,
        "must be true before the arm is moved; true at start only, false at any time: it stops the arm at once",
        changes="live",
    )
    scale_topic: str = option(
        "", "std_msgs/Float64 topic of a scale, in grams; empty: the operator labels", changes="start"
    )
    settle_s: float = option(
        1.0, "wait for the scale to settle after a trial", low=0.0, high=60.0, unit="s", changes="live"
    )
    frames: str = option(
        "auto",
        "publish robot_description, /tf and /tf_static; auto: unless another node publishes robot_description",
        choices=WHO,
    )
    seed: int = option(0, "not used: what stands in the lab is not drawn", low=0)

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class PhysicalWorldNode(SkillNode):
    """Offers the same interfaces as the simulated world, for what stands in the lab."""

    config_type = PhysicalWorldConfig

    def __init__(self) -> None:
        super().__init__(skills.load(skills.DEFAULT).node_names[0])
        self._lock = threading.Lock()
        self._arm: Any = None
        self._port: Any = None
        self._display: RobotDescription | None = None
        self._skill: Any = None
        self._objects: Any = None
        self._found: Any = None
        self._grams: tuple[float, float] | None = None
        # The node's own enable_hardware counts: no second parameter of that name.
        self.declare_section(PortConfig, "port", {"enable_hardware": None})
        self._fastest = {name: self.get_parameter(name).value for name in SCALINGS}
        self.create_service(ResetWorld, "~/reset", self._reset, callback_group=self.group)
        self._server = self.offer(
            ExecuteTrial, "~/execute_trial", self._trial, ExecuteTrial.Result.FAILED, exclusive=True
        )

    def setup(self) -> None:
        """Load the arm and connect to its controller; nothing moves."""
        from memristor_bdnn.motion import arms
        from memristor_bdnn.motion.frames import Frames
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
        joints, checks = Frames(self._arm).joints, self._checks()
        self._port = ControllerPort(self, self._arm, checks, config.controller, config.arm_output, joints)
        self._display = RobotDescription(self, self._arm, checks.joint_prefix, config.frames, self._known)
        self._grams = None
        if config.scale_topic:
            self.create_subscription(Float64, config.scale_topic, self._on_weight, LISTEN, callback_group=self.group)
        self.announce(skill)

    def teardown(self) -> None:
        """Stop the arm, let a running trial see it, and leave the controller."""
        if self._display is not None:
            self._display.close()
            self._display = None
        port, self._port = self._port, None
        if port is None:
            return
        port.disable(f"{self.get_name()} was shut down or cleaned up")
        if not self._lock.acquire(timeout=RELEASE_S):
            self.get_logger().error("a trial has not ended: the arm is stopped all the same")
            port.close()
            return
        try:
            port.close()
        finally:
            self._lock.release()

    def _checks(self) -> PortConfig:
        """What guards the next motion, as the parameters say now."""
        return build(PortConfig, {**self.read_section("port"), "enable_hardware": self.config.enable_hardware})

    def review(self, changes: dict[str, Any]) -> str:
        """No peer may enable the arm or make it faster than it was started; stopping and slowing is always allowed."""
        if changes.get("enable_hardware") and not self.get_parameter("enable_hardware").value:
            return (
                "enable_hardware: true may only be given when the process starts, on the command line or in the "
                "parameter file; false stops the arm at any time"
            )
        for name, fastest in self._fastest.items():
            if changes.get(name, fastest) > fastest:
                return (
                    f"{name} = {changes[name]}: allowed up to {fastest}, which the process was started with; start it "
                    "anew to move faster"
                )
        return ""

    def changed(self, names: set[str]) -> None:
        """Stop at once when hardware is no longer enabled; other values are read when the next trial begins."""
        port = self._port
        if "enable_hardware" in names and not self.config.enable_hardware and port is not None:
            port.disable("enable_hardware was set to false")

    def describe(self) -> str:
        """Skill, arm and what stands there."""
        enabled = "enabled" if self.config.enable_hardware else "NOT enabled (enable_hardware:=true moves it)"
        who = f"physical {self.config.arm}, moved by {self.resolve_topic_name(self.config.controller)},"
        return f"skill {self.config.skill}, {who} {enabled}; {self._objects}"

    def _known(self) -> Known | None:
        """Where the joints are, for the frames."""
        port = self._port
        shown = None if port is None else port.states.shown()
        return None if shown is None else Known(*shown)

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
            with self.holding(self._lock, "another trial", lambda: bool(goal.is_cancel_requested)):
                measured = self._execute(goal, plan)
        except (ArmError, Cancelled, ConfigError) as error:
            return self._fail(goal, result, error)
        header = Header(frame_id="world", stamp=self.get_clock().now().to_msg())
        result.outcome = convert.outcome_to_message(
            self._skill, measured, request.trial_id, context, parameters, header
        )
        if measured.source == "":
            result.error_code, result.error_msg = ExecuteTrial.Result.NO_LABEL, "done; nobody has measured it yet"
        goal.succeed()
        return result

    def _fail(self, goal: Any, result: Any, error: MemristorError) -> Any:
        """End a goal with the reason why the arm did not carry it out."""
        self.get_logger().error(str(error))
        codes, reason = ExecuteTrial.Result, error.reason if isinstance(error, ArmError) else ""
        given_up = isinstance(error, Cancelled) or reason == "cancelled"
        result.error_code = codes.CANCELED if given_up else codes.ARM_FAILED
        result.error_msg = f"{reason}: {error}" if reason else str(error)
        goal.canceled() if goal.is_cancel_requested else goal.abort()
        return result

    def _given_up(self, goal: Any, callers: Callers) -> bool:
        """False while somebody wants the trial; afterwards raises ArmError ``cancelled`` with the reason."""
        if goal.is_cancel_requested:
            raise ArmError("cancelled", "cancelled by the caller; the arm holds its position")
        if not self.active:
            raise ArmError("cancelled", f"{self.get_name()} was deactivated; the arm holds its position")
        if callers.gone():
            raise ArmError("cancelled", "whoever sent the goal has left the graph; the arm holds its position")
        return False

    def _execute(self, goal: Any, plan: MotionPlan) -> Measured:
        """Move through the phases; the outcome has no source when nothing measured it."""
        nothing = Measured(np.full(len(self._skill.measure_space), np.nan), source="")
        port, callers = self._port, Callers(self, "~/execute_trial")
        port.config = self._checks()
        before, told = self._weigh(), 0.0
        for phase, trajectory in zip(plan.phases, plan.trajectories, strict=True):

            def progress(fraction: float, phase: str = phase) -> None:
                nonlocal told
                if (now := time.monotonic()) - told > FEEDBACK_S:
                    told = now
                    goal.publish_feedback(ExecuteTrial.Feedback(phase=phase, progress=float(fraction)))

            port.execute(trajectory, progress, lambda: self._given_up(goal, callers))
        if before is None:
            return nothing
        settled = time.monotonic() + self.config.settle_s
        while time.monotonic() < settled and not self._given_up(goal, callers):
            time.sleep(0.05)
        after = self._weigh()
        if after is None:
            return nothing
        return Measured(self._skill.weighed(before, after, self._objects), "scale")

    def _weigh(self) -> float | None:
        """The scale's weight in grams, or None when there is no scale or it has been silent for 2 s."""
        if self._grams is None or time.monotonic() - self._grams[0] > 2.0:
            return None
        return self._grams[1]
