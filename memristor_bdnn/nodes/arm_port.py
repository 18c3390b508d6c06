"""A physical arm behind a ros2_control joint trajectory controller: its action, or its topic."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory as TrajectoryMessage

from memristor_bdnn.errors import ArmError, ConfigError
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.ports.base import (
    FOLLOW_JOINT_TRAJECTORY,
    PortConfig,
    TrajectoryMonitor,
    Verdict,
    check_start,
    hold_trajectory,
    pick_joints,
    prepare,
    require_enabled,
)
from memristor_bdnn.motion.trajectory import JointTrajectory
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.peers import SpinSafeActionClient

FloatArray = npt.NDArray[np.float64]

OUTPUTS = ("auto", "action", "topic")
WAIT_S = 5.0
"""How long a controller may take to appear or to answer a goal."""


class ControllerPort:
    """Implements :class:`memristor_bdnn.motion.ports.base.ArmPort` over ROS.

    Every motion is judged from joint_states here, on both routes: a controller that says nothing, or
    says success too early, is caught. On any failure the arm is told to stop.
    """

    def __init__(
        self, node: Node, arm: ArmDescription, config: PortConfig, controller: str, output: str = "auto"
    ) -> None:
        """
        Args:
            node: spins in a multi-threaded executor while :meth:`execute` is called.
            arm: joint names and limits.
            config: safety checks.
            controller: name of the controller; its action is ``<controller>/follow_joint_trajectory``,
                its topic ``<controller>/joint_trajectory``.
            output: action, topic, or auto (the action if it can be used and answers, else the topic).
        """
        if output not in OUTPUTS:
            raise ConfigError(f"arm_output = {output!r}: choose one of {', '.join(OUTPUTS)}")
        self._node, self._arm, self._config, self._output = node, arm, config, output
        self._controller = controller
        self._names = tuple(config.joint_prefix + name for name in arm.joint_names)
        self._state_lock = threading.Lock()
        self._state: tuple[float, FloatArray] | None = None
        self._state_error: ArmError | None = None
        group = ReentrantCallbackGroup()
        self._topic = node.create_publisher(TrajectoryMessage, f"{controller}/joint_trajectory", 10)
        node.create_subscription(JointState, "joint_states", self._on_state, 50, callback_group=group)
        self._action: Any = self._make_client(group) if output != "topic" else None

    def _make_client(self, group: Any) -> Any:
        try:
            from control_msgs.action import FollowJointTrajectory
        except ImportError:
            if self._output == "action":
                raise ConfigError(
                    "arm_output:=action needs the package control_msgs; install it, or use topic"
                ) from None
            return None
        return SpinSafeActionClient(
            self._node, FollowJointTrajectory, f"{self._controller}/follow_joint_trajectory", callback_group=group
        )

    def _on_state(self, message: JointState) -> None:
        try:
            q = pick_joints(message.name, message.position, self._arm.joint_names, self._config.joint_prefix)
        except ArmError as error:
            # Other publishers (a gripper) share the topic: only remember it while nothing better came.
            self._state_error = error
            return
        with self._state_lock:
            self._state = (time.monotonic(), q)

    def _latest(self) -> tuple[float, FloatArray]:
        with self._state_lock:
            if self._state is None:
                raise self._state_error or ArmError(
                    "stale_state", "no joint state has arrived: is the arm's driver running?"
                )
            return self._state

    def joint_positions(self) -> FloatArray:
        """Latest joint positions (dof,), rad. Raises ArmError ``stale_state`` when they are too old."""
        measured, q = self._latest()
        age = time.monotonic() - measured
        if age > self._config.stale_after:
            raise ArmError(
                "stale_state", f"the last joint state is {age:.2f} s old (allowed {self._config.stale_after} s)"
            )
        return q

    def route(self) -> str:
        """``action`` or ``topic``: what a motion would use now.

        Raises:
            ArmError: ``lost_connection`` when neither has anybody on the other side.
        """
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if self._action is not None and self._action.server_is_ready():
                return "action"
            if self._output == "topic" or (self._output == "auto" and time.monotonic() > deadline - WAIT_S / 2):
                if self._topic.get_subscription_count() > 0:
                    return "topic"
            time.sleep(0.05)
        raise ArmError(
            "lost_connection",
            f"no controller {self._controller}: neither its action answers nor does anything subscribe to its topic",
        )

    def execute(
        self,
        trajectory: JointTrajectory,
        progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Move, and return when the goal is reached.

        Raises:
            ArmError: a reason of :data:`memristor_bdnn.motion.ports.base.REASONS`; the arm was told to stop.
        """
        require_enabled(self._config)
        sent = prepare(trajectory, self._arm, self._config)
        self._await_first_state(cancelled)
        measured, q = self._latest()
        check_start(sent, self._names, q, time.monotonic() - measured, self._config)
        if self.route() == "action":
            self._execute_action(sent, progress, cancelled)
        else:
            self._topic.publish(convert.trajectory_to_message(sent, self._names))
            self._judge(sent, progress, cancelled, lambda: None)

    def _await_first_state(self, cancelled: Callable[[], bool] | None) -> None:
        """Give a driver that has just been started a moment to publish where the arm is."""
        deadline = time.monotonic() + WAIT_S
        while self._state is None and time.monotonic() < deadline and not (cancelled is not None and cancelled()):
            time.sleep(0.02)

    def _execute_action(self, sent: JointTrajectory, progress: Any, cancelled: Any) -> None:
        from control_msgs.action import FollowJointTrajectory

        goal = FollowJointTrajectory.Goal(trajectory=convert.trajectory_to_message(sent, self._names))
        handle = _await(self._action.send_goal_async(goal), WAIT_S, "the controller did not answer the goal")
        if not handle.accepted:
            raise ArmError("rejected", f"{self._controller} rejected the trajectory")
        outcome = handle.get_result_async()

        def answer() -> None:
            if outcome.done() and (code := outcome.result().result.error_code):
                text = outcome.result().result.error_string or f"error code {code}"
                raise ArmError(FOLLOW_JOINT_TRAJECTORY.get(code, "rejected"), f"{self._controller}: {text}")

        try:
            self._judge(sent, progress, cancelled, answer)
        except ArmError:
            handle.cancel_goal_async()
            raise

    def _judge(self, sent: JointTrajectory, progress: Any, cancelled: Any, answer: Callable[[], None]) -> None:
        """Watch joint_states until the monitor has a verdict; stops the arm on failure."""
        monitor = TrajectoryMonitor(sent, self._names, time.monotonic(), self._config)
        seen = 0.0
        try:
            while True:
                if cancelled is not None and cancelled():
                    raise ArmError("cancelled", "cancelled by the caller; the arm holds its position")
                answer()
                measured, q = self._latest()
                judgement = monitor.tick(time.monotonic()) if measured <= seen else monitor.sample(measured, q)
                seen = measured
                if judgement.verdict is Verdict.SUCCEEDED:
                    return
                judgement.raise_if_failed()
                if self._topic.get_subscription_count() == 0 and (
                    self._action is None or not self._action.server_is_ready()
                ):
                    raise ArmError("lost_connection", f"{self._controller} went away during the motion")
                if progress is not None:
                    progress(monitor.progress)
                time.sleep(0.01)
        except ArmError:
            self.stop()
            raise

    def stop(self) -> None:
        """Tell the controller to hold the last measured position."""
        if self._state is None:
            return
        message = convert.trajectory_to_message(hold_trajectory(self._state[1]), self._names)
        message.points[0].time_from_start = convert.duration(0.1)
        self._topic.publish(message)


def _await(future: Any, timeout_s: float, problem: str) -> Any:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(timeout_s):
        raise ArmError("lost_connection", f"{problem} within {timeout_s:.0f} s")
    return future.result()
