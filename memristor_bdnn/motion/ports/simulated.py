"""An arm in PyBullet that follows trajectories under position control with the limits of the real one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ArmError, ConfigError
from memristor_bdnn.motion.arms import urdf
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.ports.base import PortConfig, TrajectoryMonitor, Verdict, check_start, prepare
from memristor_bdnn.motion.trajectory import JointTrajectory

FloatArray = npt.NDArray[np.float64]


class SimulatedArm:
    """One arm loaded into a PyBullet client, its base fixed where it is mounted.

    Every simulation step the world calls :meth:`update` with its clock, then steps. Joint motors follow the
    trajectory with at most the torque and speed of the description: their speed is what the coming step needs,
    plus half of the present position error, so a motion within the limits is followed without lag.

    Attributes:
        body: PyBullet body id.
        joints: PyBullet indices of the moving joints, in the description's order.
        fingers: indices of the finger joints.
        tool_index: index of the link that carries the tool frame.
    """

    def __init__(
        self,
        bullet_client: Any,
        description: ArmDescription,
        *,
        start_tolerance: float = 0.02,
        time_step: float = 1 / 240,
        seen: bool = True,
    ) -> None:
        """Load the arm at its home configuration.

        Args:
            bullet_client: a connected `pybullet_utils.bullet_client.BulletClient`.
            description: the arm.
            start_tolerance: how far (rad) a joint may be from a trajectory's start.
            time_step: the simulation's step in seconds.
            seen: False leaves out the meshes that are only looked at, most of the time that loading takes.

        Raises:
            ConfigError: the URDF lacks a joint or link that the description names.
        """
        self.description = description
        self._bullet = bullet_client
        self._tolerance, self._step = start_tolerance, time_step
        self.body: int = urdf.load(bullet_client, description, bullet_client.URDF_USE_INERTIA_FROM_FILE, seen=seen)
        links: dict[str, int] = {bullet_client.getBodyInfo(self.body)[0].decode(): -1}
        joints: dict[str, int] = {}
        for index in range(bullet_client.getNumJoints(self.body)):
            info = bullet_client.getJointInfo(self.body, index)
            joints[info[1].decode()], links[info[12].decode()] = index, index
        wanted = [*description.joint_names, *description.gripper_joints]
        missing = [n for n in wanted if n not in joints]
        missing += [n for n in (description.tool_link, *description.gripper_links) if n not in links]
        if missing:
            raise ConfigError(f"arm {description.name!r}: {description.urdf} has no {', '.join(missing)}")
        self.links = links
        self.joints = [joints[n] for n in description.joint_names]
        self.fingers = [joints[n] for n in description.gripper_joints]
        self.tool_index = links[description.tool_link]
        self._offset = np.asarray(description.tool_offset)
        self._width = description.max_grasp_width
        self._trajectory: JointTrajectory | None = None
        self._targets: list[tuple[list[float], list[float]]] = []
        self._start_time = 0.0
        self._commanded: Sequence[float] | FloatArray = description.home
        self.set_joints(np.asarray(description.home))

    def set_joints(self, q: npt.ArrayLike) -> None:
        """Put the joints (dof,) there at once, without dynamics, and hold them."""
        for index, value in zip(self.joints, np.asarray(q, dtype=float), strict=True):
            self._bullet.resetJointState(self.body, index, float(value), 0.0)
        self.set_grasp_width(self._width, at_once=True)
        self.hold()

    def set_grasp_width(self, width: float, at_once: bool = False) -> None:
        """Close or open the fingers to an object's width (m); at_once moves them without dynamics."""
        self._width = width
        for index, value in zip(self.fingers, self.description.finger_positions(width), strict=True):
            if at_once:
                self._bullet.resetJointState(self.body, index, value, 0.0)
            self._bullet.setJointMotorControl2(
                self.body, index, self._bullet.POSITION_CONTROL, targetPosition=value, force=20.0
            )

    def tool_pose(self) -> FloatArray:
        """Pose of the tool frame in the world, (4, 4)."""
        state = self._bullet.getLinkState(self.body, self.tool_index, computeForwardKinematics=True)
        pose = np.eye(4)
        pose[:3, :3] = np.reshape(self._bullet.getMatrixFromQuaternion(state[5]), (3, 3))
        pose[:3, 3] = np.asarray(state[4]) + pose[:3, :3] @ self._offset
        return pose

    def joint_positions(self) -> FloatArray:
        """Present joint positions, (dof,) rad."""
        return np.array([s[0] for s in self._bullet.getJointStates(self.body, self.joints)])

    def finger_states(self) -> FloatArray:
        """Present positions and velocities of the finger joints, (2, gripper joints), m or rad, and per second."""
        states = [self._bullet.getJointState(self.body, index)[:2] for index in self.fingers]
        return np.reshape(states, (-1, 2)).T

    def joint_velocities(self) -> FloatArray:
        """Present joint velocities, (dof,) rad/s."""
        return np.array([s[1] for s in self._bullet.getJointStates(self.body, self.joints)])

    def joint_efforts(self) -> FloatArray:
        """Torques the motors applied in the last step, (dof,) N m."""
        return np.array([s[3] for s in self._bullet.getJointStates(self.body, self.joints)])

    def start(self, trajectory: JointTrajectory, now: float = 0.0) -> None:
        """Follow a trajectory from the clock time `now` on.

        Raises:
            ArmError: ``start_mismatch`` if the arm is not where the trajectory starts, ``rejected`` if the
                trajectory is for another number of joints. The arm holds its position.
        """
        if trajectory.dof != self.description.dof:
            self.hold()
            raise ArmError("rejected", f"trajectory for {trajectory.dof} joints, arm has {self.description.dof}")
        gap = np.abs(self.joint_positions() - trajectory.start)
        if not gap.max() <= self._tolerance:
            self.hold()
            worst = int(np.nan_to_num(gap, nan=np.inf).argmax())
            raise ArmError(
                "start_mismatch",
                f"{self.description.joint_names[worst]} is {gap[worst]:.3f} rad away "
                f"from where the trajectory starts (allowed {self._tolerance} rad)",
            )
        self._trajectory, self._start_time = trajectory, now
        # The clock ticks in whole steps: every target is known now.
        ticks = np.arange(int(trajectory.duration / self._step) + 4) * self._step
        q = trajectory.sample(ticks)[0]
        self._targets = list(zip(q[:-1].tolist(), (np.diff(q, axis=0) / self._step).tolist(), strict=True))

    def update(self, t: float) -> bool:
        """Command the motors for the coming step at clock time t; returns True while the trajectory runs."""
        if self._trajectory is None:
            return False
        elapsed = t - self._start_time
        tick = round(elapsed / self._step)
        if 0 <= tick < len(self._targets) and abs(elapsed - tick * self._step) < 1e-6:
            self._command(*self._targets[tick])
        else:
            q = self._trajectory.sample(np.array([elapsed, elapsed + self._step]))[0]
            self._command(q[0], (q[1] - q[0]) / self._step)
        return elapsed < self._trajectory.duration

    def tracking_error(self, t: float) -> FloatArray:
        """Present minus planned joint positions at clock time t, (dof,) rad; zeros when holding."""
        if self._trajectory is None:
            return np.zeros(self.description.dof)
        return self.joint_positions() - self._trajectory.sample(t - self._start_time)[0]

    def hold(self) -> None:
        """Drop the trajectory and stay at the present position; where that is not known, at the last commanded one."""
        self._trajectory = None
        present = self.joint_positions()
        self._command(present if np.isfinite(present).all() else self._commanded, np.zeros(self.description.dof))

    def _command(self, position: Sequence[float] | FloatArray, velocity: Sequence[float] | FloatArray) -> None:
        arm, control, mode = self.description, self._bullet.setJointMotorControl2, self._bullet.POSITION_CONTROL
        self._commanded = position
        rows = zip(self.joints, position, velocity, arm.effort, arm.velocity, strict=True)
        for index, q, v, force, fastest in rows:
            control(
                self.body,
                index,
                mode,
                targetPosition=float(q),
                targetVelocity=float(v),
                force=force,
                positionGain=0.5,
                velocityGain=1.0,
                maxVelocity=1.5 * fastest,
            )


class SimulatedPort:
    """Executes whole trajectories on a :class:`SimulatedArm`, judged like a physical arm."""

    def __init__(
        self, arm: SimulatedArm, step: Callable[[], None], time_step: float = 1 / 240, config: PortConfig | None = None
    ) -> None:
        """Drive an arm whose world moves on by time_step seconds at every call of step."""
        self.arm, self.config = arm, config or PortConfig(velocity_scaling=1.0, acceleration_scaling=1.0)
        self._step, self._time_step, self._now = step, time_step, 0.0

    def joint_positions(self) -> FloatArray:
        """Present joint positions, (dof,) rad."""
        return self.arm.joint_positions()

    def stop(self) -> None:
        """Stop and hold the present position; never raises."""
        with contextlib.suppress(Exception):  # a simulator that was closed: nothing moves any more
            self.arm.hold()

    def execute(
        self,
        trajectory: JointTrajectory,
        progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Move, and return when the goal is reached.

        Raises:
            ArmError: see :data:`memristor_bdnn.motion.ports.base.REASONS`; the arm holds its position, as it does
                whatever else is raised on the way.
        """
        names = self.arm.description.joint_names
        try:
            sent = prepare(trajectory, self.arm.description, self.config)
            check_start(sent, names, self.joint_positions(), 0.0, self.config)
            self.arm.start(sent, self._now)
            monitor = TrajectoryMonitor(sent, names, self._now, self.config)
            verdict = Verdict.RUNNING
            while verdict is Verdict.RUNNING:
                if cancelled is not None and cancelled():
                    raise ArmError("cancelled", "the motion was cancelled; the arm holds its position")
                self.arm.update(self._now)
                self._step()
                self._now += self._time_step
                judgement = monitor.sample(self._now, self.joint_positions())
                judgement.raise_if_failed()
                verdict = judgement.verdict
                if progress is not None:
                    progress(monitor.progress)
        except BaseException:
            self.stop()
            raise
