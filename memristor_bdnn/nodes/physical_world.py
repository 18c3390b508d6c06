"""The world node of a lab: a physical arm executes the pours; a scale or the operator measures them."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from std_msgs.msg import Float64, Header

from memristor_bdnn.action import Pour
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ArmError, ConfigError, MemristorError
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.base import SkillNode
from memristor_bdnn.srv import ResetWorld


@dataclass(frozen=True)
class PhysicalWorldConfig:
    """Parameters of the physical world node; the safety checks are declared as ``port.<field>``."""

    arm: str = option("panda", "arm description: a name or a YAML file")
    arm_output: str = option("auto", "how trajectories go out", choices=("auto", "action", "topic"))
    controller: str = option("joint_trajectory_controller", "name of the joint trajectory controller")
    enable_hardware: bool = option(False, "must be true before the arm is moved")
    bowl: str = option("white", "bowl on the table, by name (docs/pouring.md)")
    cup: str = option("teal", "cup in the hand, by name (docs/pouring.md)")
    scale_topic: str = option(
        "", "std_msgs/Float64 topic of a scale under the bowl, in grams; empty: the operator labels"
    )
    content_grams: float = option(50.0, "weight of what is in the cup before a pour", low=0.1, high=10000.0, unit="g")
    settle_s: float = option(1.0, "wait for the scale to settle after a pour", low=0.0, high=60.0, unit="s")

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class PhysicalWorldNode(SkillNode):
    """Offers the same interfaces as the simulated world, for the bowl and the cup that stand in the lab."""

    config_type = PhysicalWorldConfig

    def __init__(self) -> None:
        super().__init__("pouring_world")
        from memristor_bdnn.motion.ports.base import PortConfig

        self._lock = threading.Lock()
        self._arm: Any = None
        self._port: Any = None
        self._vessels: Any = None
        self._grams: tuple[float, float] | None = None
        self._scale: Any = None
        self.declare_section(PortConfig, "port")
        self.create_service(ResetWorld, "~/reset", self._reset, callback_group=self.group)
        self._server = self.offer(Pour, "~/pour", self._pour, Pour.Result.FAILED)

    def setup(self) -> None:
        """Load the arm and connect to its controller; nothing moves."""
        from memristor_bdnn.config import build
        from memristor_bdnn.motion import arms
        from memristor_bdnn.motion.ports.base import PortConfig
        from memristor_bdnn.nodes.arm_port import ControllerPort
        from memristor_bdnn.skills.pouring.vessels import context_of

        config = self.config
        self._arm = arms.load(config.arm)
        self._vessels = context_of(config.bowl, config.cup)
        port = build(PortConfig, {**self.read_section("port"), "enable_hardware": config.enable_hardware})
        self._port = ControllerPort(self, self._arm, port, config.controller, config.arm_output)
        if config.scale_topic and self._scale is None:
            self._scale = self.create_subscription(
                Float64, config.scale_topic, self._on_weight, 10, callback_group=self.group
            )

    def describe(self) -> str:
        """Arm, vessels and who measures."""
        enabled = "enabled" if self.config.enable_hardware else "NOT enabled (enable_hardware:=true moves it)"
        return f"physical {self.config.arm} {enabled}; bowl {self.config.bowl}, cup {self.config.cup}"

    def _on_weight(self, message: Float64) -> None:
        if math.isfinite(message.data):
            self._grams = (time.monotonic(), message.data)

    def _reset(self, request: Any, response: Any) -> Any:
        """The lab's vessels, whatever seed; a request for others is refused, since nobody can swap them here."""
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            if request.scene == "given":
                wanted = convert.context_from_message(request.requested)
                if not np.allclose(wanted.array(), self._vessels.array(), atol=1e-6):
                    raise ConfigError(
                        f"the table holds bowl {self.config.bowl} and cup {self.config.cup}, not {wanted}"
                    )
            response.context = convert.context_to_message(self._vessels)
            response.success = True
        except MemristorError as error:
            response.message = str(error)
        return response

    def _pour(self, goal: Any) -> Any:
        result, request = Pour.Result(), goal.request
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            context = convert.context_from_message(request.context)
            parameters = convert.parameters_from_message(request.parameters)
            plan = convert.plan_from_message(request, self._arm.joint_names)
            if not np.allclose(context.array(), self._vessels.array(), atol=1e-6):
                raise ConfigError("the goal's vessels are not those on the table")
        except MemristorError as error:
            result.error_code, result.error_msg = Pour.Result.BAD_INPUT, str(error)
            goal.abort()
            return result
        try:
            with self._lock:
                outcome = self._execute(goal, plan)
        except ArmError as error:
            code = Pour.Result.CANCELED if error.reason == "cancelled" else Pour.Result.ARM_FAILED
            result.error_code, result.error_msg = code, f"{error.reason}: {error}"
            goal.canceled() if goal.is_cancel_requested else goal.abort()
            return result
        header = Header(frame_id="world", stamp=self.get_clock().now().to_msg())
        result.outcome = convert.outcome_to_message(outcome, request.trial_id, context, parameters, header)
        if outcome.source == "":
            result.error_code, result.error_msg = Pour.Result.NO_LABEL, "poured; nobody has measured it yet"
        goal.succeed()
        return result

    def _execute(self, goal: Any, plan: Any) -> Any:
        """Move through the three parts; the outcome has no source when nothing measured it."""
        from memristor_bdnn.skills.pouring.context import score_of
        from memristor_bdnn.skills.pouring.world import PourOutcome

        before = self._weigh()
        for phase in ("approach", "pour", "retreat"):

            def progress(fraction: float, phase: str = phase) -> None:
                goal.publish_feedback(Pour.Feedback(phase=phase, progress=float(fraction)))

            self._port.execute(
                getattr(plan, phase), progress, lambda: bool(goal.is_cancel_requested) or not self.active
            )
        if before is None:
            return PourOutcome(0.0, 0.0, 0.0, 0.0, False, source="")
        time.sleep(self.config.settle_s)
        after = self._weigh()
        if after is None:
            return PourOutcome(0.0, 0.0, 0.0, 0.0, False, source="")
        fraction = float(np.clip((after - before) / self.config.content_grams, 0.0, 1.0))
        return PourOutcome(fraction, 0.0, 0.0, score_of(fraction), score_of(fraction) > 0, source="scale")

    def _weigh(self) -> float | None:
        """The scale's weight in grams, or None when there is no scale or it has been silent for 2 s."""
        if self._grams is None or time.monotonic() - self._grams[0] > 2.0:
            return None
        return self._grams[1]
