"""What every way of executing a trajectory has in common: checks before, judgement during, holding after.

No ROS here: a port for a controller's action or topic, the simulated arm and a mock all feed the same monitor.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ArmError
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.start import LIMIT_TOLERANCE
from memristor_bdnn.motion.trajectory import JointTrajectory

FloatArray = npt.NDArray[np.float64]

LAG_STEP_S = 0.02  # spacing of the lags at which a joint state is compared with the plan

# Every reason an ArmError of a port can have, and what it means.
REASONS: dict[str, str] = {
    "not_enabled": "hardware execution was not enabled explicitly",
    "invalid_joints": "the arm's joint state lacks a joint of the plan, or has other joints",
    "limits": "the trajectory leaves the arm's position, velocity or acceleration limits",
    "start_mismatch": "the arm is not where the trajectory starts",
    "rejected": "the controller refused the trajectory",
    "stale_state": "no joint state arrived for too long",
    "deviation": "a joint left the planned path by more than the path tolerance",
    "goal_tolerance": "the arm came to rest away from the goal",
    "timeout": "the goal was not reached in time",
    "cancelled": "the caller cancelled; the arm holds its position",
    "lost_connection": "the controller went away during the motion",
}

# Results of control_msgs/action/FollowJointTrajectory by error code.
FOLLOW_JOINT_TRAJECTORY = {-1: "rejected", -2: "invalid_joints", -3: "rejected", -4: "deviation", -5: "goal_tolerance"}


@dataclass(frozen=True)
class PortConfig:
    """Safety checks of a port; the parameters of the physical arm.

    What guards the arm is fixed while a process runs: any peer can set parameters, and none may loosen them. Speed may
    be lowered.
    """

    enable_hardware: bool = option(False, "must be set before a physical arm is moved", changes="start")
    joint_prefix: str = option("", "put before every joint name, for several arms on one bus", changes="start")
    velocity_scaling: float = option(0.3, "share of the planned speed", low=0.001, high=1.0, changes="live")
    acceleration_scaling: float = option(
        0.3, "share of the planned acceleration; the slower of both counts", low=0.001, high=1.0, changes="live"
    )
    start_tolerance: float = option(
        0.02, "how far a joint may be from where the trajectory starts", low=1e-6, high=1.0, unit="rad", changes="start"
    )
    path_tolerance: float = option(
        0.1, "how far a joint may be from the plan on the way", low=1e-6, high=10.0, unit="rad", changes="start"
    )
    latency: float = option(
        0.3,
        "how far execution may lag behind the plan's clock (transport, controller)",
        low=0.0,
        high=5.0,
        unit="s",
        changes="start",
    )
    goal_tolerance: float = option(
        0.02, "how far a joint may be from the goal at the end", low=1e-6, high=1.0, unit="rad", changes="start"
    )
    goal_time: float = option(1.0, "extra time to settle at the goal", low=0.0, high=60.0, unit="s", changes="start")
    stale_after: float = option(0.5, "longest gap between joint states", low=0.01, high=60.0, unit="s", changes="start")

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


class ArmPort(Protocol):
    """Executes trajectories on one arm."""

    def joint_positions(self) -> FloatArray:
        """Latest joint positions (dof,), rad; raises ArmError ``stale_state`` if they are too old."""

    def execute(
        self,
        trajectory: JointTrajectory,
        progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Move, and return when the goal is reached.

        Raises:
            ArmError: one of :data:`REASONS`; the arm was told to stop. Whatever else is raised on the way (by
                ``progress`` for one) stops it as well.
        """

    def stop(self) -> None:
        """Stop and hold the present position, whatever is known of it; never raises."""


class Verdict(enum.Enum):
    """What a monitor says about a motion."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Judgement(NamedTuple):
    """A verdict with, for FAILED, the reason (one of :data:`REASONS`) and a text for a person."""

    verdict: Verdict
    reason: str = ""
    text: str = ""

    def raise_if_failed(self) -> None:
        """Raise ArmError when the verdict is FAILED."""
        if self.verdict is Verdict.FAILED:
            raise ArmError(self.reason, self.text)


class TrajectoryMonitor:
    """Judges an execution from the joint states that arrive: path, goal, time and staleness.

    Call :meth:`sample` for every joint state and :meth:`tick` whenever time passes without one. The first verdict
    other than RUNNING is final.
    """

    def __init__(
        self,
        trajectory: JointTrajectory,
        joint_names: Sequence[str],
        begin: float,
        config: PortConfig | None = None,
        slack: float = 0.0,
    ) -> None:
        """Watch a trajectory.

        Args:
            trajectory: as it was sent (after scaling).
            joint_names: for messages.
            begin: clock time (s) at which execution starts, at the earliest.
            config: tolerances.
            slack: how much later (s) it may have started all the same: until a controller has answered, nobody knows.
        """
        self.trajectory, self.config, self._slack = trajectory, config or PortConfig(), slack
        self._names, self._begin, self._heard = tuple(joint_names), begin, begin
        self._final: Judgement | None = None
        self.worst = 0.0
        """Largest deviation from the planned path so far, rad."""

    @property
    def progress(self) -> float:
        """Share of the planned duration that had passed at the last sample, in [0, 1]."""
        duration = self.trajectory.duration
        return 1.0 if duration <= 0 else min(max((self._heard - self._begin) / duration, 0.0), 1.0)

    def sample(self, now: float, positions: npt.ArrayLike) -> Judgement:
        """Judge one joint state: clock time (s) of the measurement and positions (dof,) in the plan's order."""
        if self._final is not None:
            return self._final
        q = np.asarray(positions, dtype=float)
        if q.shape != (self.trajectory.dof,) or not np.isfinite(q).all():
            return self._fail(
                "invalid_joints",
                f"joint state of shape {q.shape} with {int((~np.isfinite(q)).sum())} "
                f"values not finite; expected {self.trajectory.dof} finite positions",
            )
        if now - self._heard > self.config.stale_after:
            return self.tick(now)
        self._heard = max(self._heard, now)
        elapsed = now - self._begin
        gap = self._gap(q, elapsed)
        self.worst = max(self.worst, float(gap.max()))
        if gap.max() > self.config.path_tolerance:
            return self._fail("deviation", self._describe(gap, "from its plan", self.config.path_tolerance, elapsed))
        if elapsed < self.trajectory.duration:
            return Judgement(Verdict.RUNNING)
        gap = np.abs(q - self.trajectory.end)
        if gap.max() <= self.config.goal_tolerance:
            self._final = Judgement(Verdict.SUCCEEDED)
            return self._final
        if elapsed > self.trajectory.duration + self.config.goal_time + self._slack:
            return self._fail(
                "goal_tolerance", self._describe(gap, "from its goal", self.config.goal_tolerance, elapsed)
            )
        return Judgement(Verdict.RUNNING)

    def _gap(self, q: FloatArray, elapsed: float) -> FloatArray:
        """Distance (dof,) from the plan, at the lag within the allowed latency where it is smallest."""
        latest = self.config.latency + self._slack
        lags = np.linspace(0.0, latest, 2 + int(latest / LAG_STEP_S))
        gaps = np.abs(q - self.trajectory.sample(np.maximum(elapsed - lags, 0.0))[0])
        nearest: FloatArray = gaps[gaps.max(axis=1).argmin()]
        return nearest

    def tick(self, now: float) -> Judgement:
        """Judge the silence until clock time now (s)."""
        if self._final is not None:
            return self._final
        silent = now - self._heard
        if silent > self.config.stale_after:
            return self._fail("stale_state", f"no joint state for {silent:.2f} s (allowed {self.config.stale_after} s)")
        late = now - self._begin - self.trajectory.duration - self.config.goal_time - self._slack
        if late > self.config.stale_after:
            return self._fail("timeout", f"the goal was not reached {late:.2f} s after it was due")
        return Judgement(Verdict.RUNNING)

    def _fail(self, reason: str, text: str) -> Judgement:
        self._final = Judgement(Verdict.FAILED, reason, text)
        return self._final

    def _describe(self, gap: FloatArray, what: str, allowed: float, elapsed: float) -> str:
        worst = int(gap.argmax())
        return (
            f"{self._names[worst]} is {gap[worst]:.4f} rad away {what} (allowed {allowed} rad) after "
            f"{elapsed:.2f} of {self.trajectory.duration:.2f} s"
        )


def prepare(trajectory: JointTrajectory, arm: ArmDescription, config: PortConfig) -> JointTrajectory:
    """The trajectory to send: slowed down as configured and checked against the arm's limits.

    Positions up to :data:`memristor_bdnn.motion.start.LIMIT_TOLERANCE` beyond a limit are put at the limit.

    Raises:
        ArmError: ``invalid_joints`` for another number of joints, ``limits`` naming joint, value and limit.
    """
    if trajectory.dof != arm.dof:
        raise ArmError("invalid_joints", f"trajectory for {trajectory.dof} joints, {arm.name} has {arm.dof}")
    scaled = trajectory.scaled(min(config.velocity_scaling, math.sqrt(config.acceleration_scaling)))
    low, high = arm.limits()
    outside = np.maximum(low - scaled.positions, scaled.positions - high)
    speed = np.abs(scaled.velocities) - np.asarray(arm.velocity)
    push = np.abs(scaled.accelerations) - np.asarray(arm.acceleration)
    for what, unit, over, values, allowed in (
        ("position", "rad", outside, scaled.positions, LIMIT_TOLERANCE),
        ("velocity", "rad/s", speed, scaled.velocities, 1e-6),
        ("acceleration", "rad/s^2", push, scaled.accelerations, 1e-6),
    ):
        if over.max() > allowed:
            i, j = np.unravel_index(int(over.argmax()), over.shape)
            raise ArmError(
                "limits",
                f"{arm.joint_names[j]}: {what} {values[i, j]:.4f} {unit} at "
                f"{scaled.times[i]:.3f} s is {over[i, j]:.4f} {unit} beyond its limit",
            )
    if outside.max() > 0.0:
        return dataclasses.replace(scaled, positions=np.clip(scaled.positions, low, high))
    return scaled


def check_start(
    trajectory: JointTrajectory, joint_names: Sequence[str], positions: npt.ArrayLike, age: float, config: PortConfig
) -> None:
    """Refuse to start from somewhere else.

    Args:
        trajectory: about to be sent.
        joint_names: for messages.
        positions: latest joint positions (dof,), rad.
        age: seconds since they were measured.
        config: tolerances.

    Raises:
        ArmError: ``stale_state`` or ``start_mismatch``, naming the joint and the distance.
    """
    if not age <= config.stale_after:
        raise ArmError("stale_state", f"the last joint state is {age:.2f} s old (allowed {config.stale_after} s)")
    gap = np.abs(np.asarray(positions, dtype=float) - trajectory.start)
    if not gap.max() <= config.start_tolerance:
        worst = int(np.nan_to_num(gap, nan=np.inf).argmax())
        raise ArmError(
            "start_mismatch",
            f"{joint_names[worst]} is {gap[worst]:.4f} rad away from where the "
            f"trajectory starts (allowed {config.start_tolerance} rad); plan again from the present state",
        )


def pick_joints(names: Sequence[str], values: Sequence[float], wanted: Sequence[str], prefix: str = "") -> FloatArray:
    """Values of the wanted joints (dof,), in order, from a joint state that may hold others in any order.

    Raises:
        ArmError: ``invalid_joints`` naming what is missing, doubled or not finite, and what there is.
    """
    if len(names) != len(values):
        raise ArmError("invalid_joints", f"the joint state has {len(values)} positions for {len(names)} joints")
    twice = [name for name in wanted if list(names).count(prefix + name) > 1]
    if twice:
        raise ArmError("invalid_joints", f"the joint state names {prefix}{twice[0]} twice")
    where = {name: i for i, name in enumerate(names)}
    missing = [prefix + name for name in wanted if prefix + name not in where]
    if missing:
        raise ArmError(
            "invalid_joints",
            f"the joint state lacks {', '.join(missing)}; it has "
            f"{', '.join(names) or 'no joints'}; check joint names and joint_prefix",
        )
    found = np.array([values[where[prefix + name]] for name in wanted], dtype=float)
    if not np.isfinite(found).all():
        bad = int((~np.isfinite(found)).argmax())
        raise ArmError("invalid_joints", f"the joint state is not finite: {prefix}{wanted[bad]} = {found[bad]}")
    return found


def hold_trajectory(positions: npt.ArrayLike) -> JointTrajectory:
    """A trajectory of one point at rest: what stops a controller that is driven over its topic."""
    q = np.asarray(positions, dtype=float)[None]
    return JointTrajectory(np.zeros(1), q, np.zeros_like(q), np.zeros_like(q))


def require_enabled(config: PortConfig) -> None:
    """Refuse a physical arm that was not enabled.

    Raises:
        ArmError: ``not_enabled``.
    """
    if not config.enable_hardware:
        raise ArmError("not_enabled", "moving a physical arm needs enable_hardware:=true")
