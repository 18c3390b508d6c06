"""A stand-in for a robot's joint trajectory controller: rehearse and test without an arm.

Follows trajectories from its topic (and from the FollowJointTrajectory action where control_msgs is
installed) and publishes joint_states. Parameter ``fault`` makes it misbehave in one named way.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory as TrajectoryMessage

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.trajectory import JointTrajectory
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.base import SkillNode
from memristor_bdnn.nodes.rehearsal import FAULTS

RATE_HZ = 50.0
ABSENT_S, CATCH_UP_S = 0.1, 0.25
LATE_S = 5.0
"""A trajectory that was on its way for longer than this begins when it comes."""


@dataclass(frozen=True)
class MockControllerConfig:
    """Parameters of the mock controller."""

    arm: str = option("panda", "arm description: a name or a YAML file", files=True)
    joint_prefix: str = option("", "prefix of every joint name, as in a multi-arm cell")
    speed: float = option(1.0, "how much faster than real time motions run", low=0.1, high=100.0, changes="live")
    fault: str = option("none", "misbehaviour to rehearse", choices=FAULTS, changes="live")
    fault_after_s: float = option(
        0.3, "when during a motion the fault sets in", low=0.0, high=60.0, unit="s", changes="live"
    )
    thinks_s: float = option(
        0.0, "how long the action takes to accept a goal", low=0.0, high=60.0, unit="s", changes="live"
    )

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class MockControllerNode(SkillNode):
    """Moves a pretended arm along the trajectories it is given.

    Faults: ``reject`` refuses goals; ``stale`` stops publishing joint_states during a motion;
    ``deviate`` drifts away from the trajectory; ``deaf`` ignores it; ``lost`` ends the process; ``broken`` publishes
    positions that are not finite.

    A controller runs in real time. This one is a process among others, so it keeps the time by what is written down: a
    trajectory begins when it was sent, however late this process gets to it, and a joint state is stamped with the
    time for which it was computed.
    """

    config_type = MockControllerConfig

    def __init__(self) -> None:
        super().__init__("joint_trajectory_controller")
        self._lock = threading.Lock()
        self._motion: tuple[JointTrajectory, float] | None = None
        self._q: Any = None
        self._names: tuple[str, ...] = ()
        self._hand: dict[str, float] = {}
        self._ended = threading.Event()
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self.create_subscription(
            TrajectoryMessage, "~/joint_trajectory", self._on_trajectory, 10, callback_group=self.group
        )
        self._server: Any = None

    def setup(self) -> None:
        """Stand at the arm's home position; offer the action where its type is installed."""
        from memristor_bdnn.motion import arms

        arm = arms.load(self.config.arm)
        self._names = tuple(self.config.joint_prefix + name for name in arm.joint_names)
        self._q = np.array(arm.home)
        # The hand is open: nothing here closes it.
        self._hand = dict(zip(arm.gripper_joints, arm.finger_positions(arm.max_grasp_width), strict=True))
        # A thread of its own that mostly sleeps is woken in time beside other work; the executor's timers are not.
        self._ended = threading.Event()
        threading.Thread(target=self._publish, args=(self._ended,), daemon=True).start()
        try:
            from control_msgs.action import FollowJointTrajectory
        except ImportError:
            self.get_logger().info("control_msgs is not installed: only the topic is offered")
            return
        self._server = ActionServer(
            self,
            FollowJointTrajectory,
            "~/follow_joint_trajectory",
            self._follow,
            callback_group=self.group,
            goal_callback=self._accept,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def teardown(self) -> None:
        """Stand still and take the action away."""
        self._ended.set()
        with self._lock:
            self._q = self._motion = None
        if self._server is not None:
            self._server.destroy()
            self._server = None

    def _accept(self, _: Any) -> GoalResponse:
        time.sleep(self.config.thinks_s)
        return GoalResponse.REJECT if self.config.fault == "reject" else GoalResponse.ACCEPT

    def describe(self) -> str:
        """Arm and fault."""
        return f"MOCK of {self.config.arm}: no arm moves; fault {self.config.fault}"

    def _on_trajectory(self, message: TrajectoryMessage, info: Any) -> None:
        if not self.active or self.config.fault in ("reject", "deaf"):
            return
        try:
            self._begin(message, time.time() - 1e-9 * info["source_timestamp"])
        except ConfigError as error:
            self.get_logger().error(f"refused: {error}")

    def _begin(self, message: TrajectoryMessage, late: float = 0.0) -> JointTrajectory:
        """Start a motion from where the arm is; a single point is moved to (a hold, as a controller does).

        The motion is dated back by what the message took (s).
        """
        if len(message.points) == 1:
            trajectory = self._hold(message)
        else:
            trajectory = convert.trajectory_from_message(message, self._names)
        with self._lock:
            self._motion = (trajectory, time.monotonic() - (late if 0.0 < late < LATE_S else 0.0))
        return trajectory

    def _hold(self, message: TrajectoryMessage) -> JointTrajectory:
        order = [list(message.joint_names).index(name) for name in self._names]
        goal = np.array(message.points[0].positions)[order]
        still = np.zeros((2, len(goal)))
        return JointTrajectory(np.array([0.0, 0.1]), np.stack([self._q, goal]), still, still)

    def _publish(self, ended: threading.Event) -> None:
        """Publish joint states until the end."""
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            if time.monotonic() - due > ABSENT_S:
                # Held up: a trajectory that waits for the executor comes first, as a controller would have heard it.
                ended.wait(CATCH_UP_S)
            due = max(due + 1.0 / RATE_HZ, time.monotonic())
            with self.only_logged("joint_states"), self._lock:
                if self.active and self._q is not None:
                    self._tick()

    def _tick(self) -> None:
        """Move on and say where the arm is; the lock is held."""
        now, stamp, velocity = time.monotonic(), self.get_clock().now().to_msg(), np.zeros(len(self._names))
        motion, elapsed = self._motion, 0.0
        if motion is not None:
            trajectory, began = motion
            elapsed = (now - began) * self.config.speed
            self._q, velocity = trajectory.sample(min(elapsed, trajectory.duration))
            if elapsed > trajectory.duration:
                self._motion = None
        if motion is not None and elapsed > self.config.fault_after_s:
            if self.config.fault == "stale":
                return
            if self.config.fault == "lost":
                os._exit(1)
            if self.config.fault == "deviate":
                self._q = self._q + 0.4 * (elapsed - self.config.fault_after_s)
        lost = motion is not None and elapsed > self.config.fault_after_s and self.config.fault == "broken"
        said = np.full(len(self._names), np.nan) if lost else self._q
        hand = {self.config.joint_prefix + name: q for name, q in self._hand.items()}
        message = JointState(
            name=[*self._names, *hand],
            position=convert.floats([*said, *hand.values()]),
            velocity=convert.floats([*velocity, *[0.0] * len(hand)]),
        )
        message.header.stamp = stamp
        self._states.publish(message)

    def _follow(self, goal: Any) -> Any:
        from control_msgs.action import FollowJointTrajectory

        result = FollowJointTrajectory.Result()
        try:
            trajectory = self._begin(goal.request.trajectory)
        except ConfigError as error:
            result.error_code, result.error_string = FollowJointTrajectory.Result.INVALID_GOAL, str(error)
            goal.abort()
            return result
        self.get_logger().info(f"follows a goal of {trajectory.duration:.2f} s")
        deadline = time.monotonic() + trajectory.duration / self.config.speed + 0.1
        while time.monotonic() < deadline:
            if goal.is_cancel_requested:
                with self._lock:
                    self._motion = None
                self.get_logger().info("the goal was cancelled")
                goal.canceled()
                return result
            if (motion := self._motion) is not None and motion[0] is not trajectory:
                result.error_code, result.error_string = FollowJointTrajectory.Result.INVALID_GOAL, "another one came"
                goal.abort()
                return result
            if (
                self.config.fault == "deviate"
                and time.monotonic() > deadline - trajectory.duration / self.config.speed / 2
            ):
                result.error_code = FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED
                result.error_string = f"{self._names[0]} left its path"
                goal.abort()
                return result
            time.sleep(0.01)
        goal.succeed()
        return result
