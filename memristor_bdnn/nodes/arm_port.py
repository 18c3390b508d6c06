"""A physical arm behind a ros2_control joint trajectory controller: its action, or its topic."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from action_msgs.msg import GoalStatus
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from trajectory_msgs.msg import JointTrajectory as TrajectoryMessage

from memristor_bdnn.errors import ArmError, ConfigError
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.ports.base import (
    FOLLOW_JOINT_TRAJECTORY,
    Judgement,
    PortConfig,
    TrajectoryMonitor,
    Verdict,
    check_start,
    hold_trajectory,
    prepare,
    require_enabled,
)
from memristor_bdnn.motion.trajectory import JointTrajectory
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.goals import SentGoal, SpinSafeActionClient
from memristor_bdnn.nodes.joint_states import JointStates

FloatArray = npt.NDArray[np.float64]

OUTPUTS = ("auto", "action", "topic")
WAIT_S = 5.0
"""How long a controller may take to appear or to answer a goal."""
STOP_S = 1.0
"""How long a stop waits to hear that the goal is cancelled; everything is sent before."""
ACKNOWLEDGED_S = 3.5
"""A node that leaves stays so long for a lost message to be repeated: subscribers acknowledge every 3 s."""
HOLD_S = 0.1
"""Time that a hold gives the controller to come to rest."""
TICK_S = 0.01
ABSENT_S, GRACE_S, LONGEST_GRACE_S = 0.1, 0.25, 1.0
"""A watch that was held up for longer than the first is given the second, once a silence, to hear what waits for it: so
much of its own looking, at most the third on the clock, since whatever held it up may do so again in small pieces."""
# Reliable, and never kept for a controller that appears later: it would carry out a motion of long ago.
COMMAND_QOS = QoSProfile(depth=10)


class _Motion(NamedTuple):
    """What is being carried out: the trajectory as sent, when, and its goal where the action is used."""

    sent: JointTrajectory
    begin: float
    goal: SentGoal | None


class ControllerPort:
    """Implements :class:`memristor_bdnn.motion.ports.base.ArmPort` over ROS.

    Every motion is judged from joint_states here, on both routes: a controller that says nothing, or
    says success too early, is caught. Whatever ends a motion before its goal stops the arm.

    Attributes:
        config: safety checks of the next motion; the joint prefix is that of the beginning.
        states: where the joints are.
    """

    def __init__(
        self,
        node: Node,
        arm: ArmDescription,
        config: PortConfig,
        controller: str,
        output: str = "auto",
        shown: Sequence[str] = (),
    ) -> None:
        """
        Args:
            node: spins in a multi-threaded executor while :meth:`execute` is called.
            arm: joint names and limits.
            config: safety checks.
            controller: name of the controller; its action is ``<controller>/follow_joint_trajectory``,
                its topic ``<controller>/joint_trajectory``.
            output: action, topic, or auto (the action if it can be used and answers, else the topic).
            shown: other joints whose positions somebody displays: :meth:`JointStates.shown`.
        """
        if output not in OUTPUTS:
            raise ConfigError(f"arm_output = {output!r}: choose one of {', '.join(OUTPUTS)}")
        self._node, self._arm, self._output, self._controller = node, arm, output, controller
        self.config = config
        self._disabled = ""
        self._motion: _Motion | None = None
        self._stopping = threading.Lock()
        self._stopped = -np.inf
        self._unsettled: list[SentGoal] = []
        self._action: Any = self._make_client(ReentrantCallbackGroup()) if output != "topic" else None
        self._topic = node.create_publisher(TrajectoryMessage, f"{controller}/joint_trajectory", COMMAND_QOS)
        self.states = JointStates(node, arm.joint_names, config.joint_prefix, shown)

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

    def close(self) -> None:
        """Stop what moves and leave the controller; the port cannot be used again."""
        self.disable("the node was closed")
        if self._motion is not None:
            self.stop()
        if time.monotonic() - self._stopped < ACKNOWLEDGED_S and not self._acknowledged():
            self._node.get_logger().error("the controller has not acknowledged the hold")
        for goal in self._unsettled:
            goal.settle(WAIT_S)  # a controller that accepts late is cancelled then: not without our client
        self.states.close()
        self._node.destroy_publisher(self._topic)
        if self._action is not None:
            self._action.destroy()

    def joint_positions(self) -> FloatArray:
        """Latest joint positions (dof,), rad. Raises ArmError ``stale_state`` when they are too old."""
        return self.states.fresh(self.config.stale_after)

    def disable(self, why: str) -> None:
        """Let nothing move from now on: a running motion stops within a tick and fails with ``not_enabled``."""
        self._disabled = why

    # -- moving -------------------------------------------------------------------------------

    def execute(
        self,
        trajectory: JointTrajectory,
        progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Move, and return when the goal is reached.

        Raises:
            ArmError: a reason of :data:`memristor_bdnn.motion.ports.base.REASONS`; the arm was told to stop, and the
                text says what of it could not be sent.
        """
        config = self.config
        require_enabled(config)
        may_go_on = functools.partial(self._may_go_on, cancelled)
        may_go_on()
        sent = prepare(trajectory, self._arm, config)
        self._check_start(sent, config, may_go_on)
        route = self.route(may_go_on)
        may_go_on()
        try:
            answer = self._send(sent, route, may_go_on)
            self._watch(sent, config, progress, may_go_on, answer)
        except BaseException as error:
            problem = "" if self._motion is None else self._halt()
            if problem and isinstance(error, ArmError):
                raise ArmError(error.reason, f"{error}; STOPPING IS NOT CERTAIN: {problem}") from error
            if problem:
                self._node.get_logger().error(f"stopping is not certain: {problem}")
            raise
        finally:
            self._motion = None

    def _may_go_on(self, cancelled: Callable[[], bool] | None) -> None:
        if self._disabled:
            moved = "nothing moves" if self._motion is None else "the arm was told to stop"
            raise ArmError("not_enabled", f"{self._disabled}; {moved}")
        if cancelled is not None and cancelled():
            raise ArmError("cancelled", "cancelled by the caller; the arm holds its position")

    def _check_start(self, sent: JointTrajectory, config: PortConfig, may_go_on: Callable[[], None]) -> None:
        """Refuse to start from elsewhere; a driver that has just been started is given a moment."""
        deadline = time.monotonic() + WAIT_S
        while self.states.last() is None and time.monotonic() < deadline:
            may_go_on()
            time.sleep(TICK_S)
        q = self.states.fresh(config.stale_after)
        check_start(sent, self.states.names, q, 0.0, config)

    def route(self, may_go_on: Callable[[], None] = lambda: None) -> str:
        """``action`` or ``topic``: what a motion would use now.

        Raises:
            ArmError: ``lost_connection`` when neither has anybody on the other side; a QoS mismatch is named.
        """
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            may_go_on()
            if self._action is not None and self._action.server_is_ready():
                return "action"
            if self._output == "topic" or (self._output == "auto" and time.monotonic() > deadline - WAIT_S / 2):
                if self._topic.get_subscription_count() > 0:
                    return "topic"
            time.sleep(0.05)
        raise ArmError(
            "lost_connection",
            f"no controller {self._controller}: neither its action answers nor does anything subscribe to its topic"
            + self._mismatch(),
        )

    def _mismatch(self) -> str:
        """Who subscribes to the controller's topic and cannot hear us."""
        for info in self._node.get_subscriptions_info_by_topic(self._topic.topic_name):
            compatible, reason = qos_check_compatible(COMMAND_QOS, info.qos_profile)
            if compatible == QoSCompatibility.ERROR:
                return f" (QoS mismatch: {info.node_name} subscribes, but {reason})"
        return ""

    def _send(self, sent: JointTrajectory, route: str, may_go_on: Callable[[], None]) -> Callable[[], None]:
        """Send a trajectory; returns what raises ArmError once the controller has said that it failed."""
        message = convert.trajectory_to_message(sent, self.states.names)
        self._motion = _Motion(sent, time.monotonic(), None)
        if route == "topic":
            self._topic.publish(message)
            return lambda: None
        from control_msgs.action import FollowJointTrajectory

        goal = SentGoal(self._action, FollowJointTrajectory.Goal(trajectory=message))
        self._motion = _Motion(sent, time.monotonic(), goal)
        deadline = time.monotonic() + WAIT_S
        while not goal.acceptance.done():
            may_go_on()
            if time.monotonic() > deadline:
                raise ArmError("lost_connection", f"the controller did not answer the goal within {WAIT_S:.0f} s")
            time.sleep(TICK_S)
        if not goal.acceptance.result().accepted:
            self._motion = None  # nothing of ours moves: leave the controller as it is
            raise ArmError("rejected", f"{self._controller} rejected the trajectory")
        goal.request_result()
        return functools.partial(self._read_outcome, goal)

    def _read_outcome(self, goal: SentGoal) -> None:
        response = goal.outcome
        if response is None:
            return
        if code := response.result.error_code:
            text = response.result.error_string or f"error code {code}"
            raise ArmError(FOLLOW_JOINT_TRAJECTORY.get(code, "rejected"), f"{self._controller}: {text}")
        if response.status != GoalStatus.STATUS_SUCCEEDED:
            raise ArmError("rejected", f"{self._controller} ended the motion (goal status {response.status})")

    def _watch(
        self,
        sent: JointTrajectory,
        config: PortConfig,
        progress: Callable[[float], None] | None,
        may_go_on: Callable[[], None],
        answer: Callable[[], None],
    ) -> None:
        """Watch joint_states until the monitor has a verdict."""
        assert self._motion is not None
        begin, seen = self._motion.begin, 0
        looked, back, heard, excused = begin, -np.inf, 0.0, False
        # A controller begins some time between the sending of a goal and its answer.
        monitor = TrajectoryMonitor(sent, self.states.names, begin, config, slack=time.monotonic() - begin)
        while True:
            may_go_on()
            answer()
            now = time.monotonic()
            heard += min(now - looked, 2 * TICK_S)
            if now - looked > ABSENT_S and not excused:
                back, heard, excused = now, 0.0, True
            looked = now
            self.states.catch_up()
            if fault := self.states.fault_since(begin):
                raise ArmError("invalid_joints", fault)
            judgement = Judgement(Verdict.RUNNING)
            for state in self.states.track(seen):
                seen, excused = state.number, False
                if state.measured <= begin:
                    continue
                judgement = monitor.sample(state.measured, state.positions)
                if judgement.verdict is not Verdict.RUNNING:
                    break
            else:
                if now - back > LONGEST_GRACE_S or (heard > GRACE_S and now - back > GRACE_S):
                    judgement = monitor.tick(now)
            if judgement.verdict is Verdict.SUCCEEDED:
                return
            judgement.raise_if_failed()
            if self._topic.get_subscription_count() == 0 and (
                self._action is None or not self._action.server_is_ready()
            ):
                raise ArmError("lost_connection", f"{self._controller} went away during the motion")
            if progress is not None:
                progress(monitor.progress)
            time.sleep(TICK_S)

    # -- stopping -----------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop and hold, whatever is known of the arm; never raises. What could not be sent is in the log."""
        if problem := self._halt():
            self._node.get_logger().error(f"stopping is not certain: {problem}")

    def _halt(self) -> str:
        """Cancel the goal and send a hold, each whatever becomes of the other.

        Returns:
            What may not have reached the controller; empty when one of the two certainly did.
        """
        with self._stopping:
            motion, self._stopped = self._motion, time.monotonic()
            goal = None if motion is None else motion.goal
            cancel = "" if goal is None else goal.abandon()
            hold = self._hold(motion)
            if goal is not None and not cancel and (cancel := goal.settle(STOP_S)):
                self._unsettled.append(goal)
            if goal is None:
                return hold
            # A cancelled goal stops a controller by itself; a hold does so where the goal was never accepted.
            return f"cancel: {cancel}" + (f"; hold: {hold}" if hold else "") if cancel else ""

    def _hold(self, motion: _Motion | None) -> str:
        """Publish where to stay; returns what went wrong."""
        try:
            message = TrajectoryMessage(joint_names=list(self.states.names))
            where = self.states.last()
            if where is None and motion is not None:
                where = motion.sent.sample(time.monotonic() - motion.begin)[0]
            if where is not None:
                message = convert.trajectory_to_message(hold_trajectory(where), self.states.names)
                message.points[0].time_from_start = convert.duration(HOLD_S)
            # Without points: all that is left to say. Controllers before 2023 stop at it, later ones ignore it.
            self._topic.publish(message)
            unheard = self._topic.get_subscription_count() == 0
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "nothing subscribes to the controller's topic" if unheard else ""

    def _acknowledged(self) -> bool:
        """Whether everything that was published has arrived; waits for it."""
        try:
            return bool(self._topic.wait_for_all_acked(Duration(seconds=ACKNOWLEDGED_S)))
        except Exception:
            return False
