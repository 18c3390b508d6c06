"""An executable motion: named phases of joint trajectories, and how the hand holds its object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.trajectory import JointTrajectory

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MotionPlan:
    """What a skill's motion plans and an arm executes, phase after phase.

    Attributes:
        phases: names in order; every trajectory starts where the one before it ends.
        trajectories: one per phase.
        object_in_tool: pose of the held object (or of the tool's tip) in the tool frame, (4, 4).
        attached: the object is fixed to the fingertips because the hand cannot close on it.
        grip_width: finger opening, m.
        details: numbers that only the skill's own world needs, by name.
        planning_time_s: wall-clock seconds.

    Raises:
        ConfigError: no phase, another number of trajectories, or a number that is not finite.
    """

    phases: tuple[str, ...]
    trajectories: tuple[JointTrajectory, ...]
    object_in_tool: FloatArray = field(default_factory=lambda: np.eye(4))
    attached: bool = False
    grip_width: float = 0.0
    details: Mapping[str, float] = field(default_factory=dict)
    planning_time_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no arm could execute."""
        if not self.phases or len(self.phases) != len(self.trajectories):
            raise ConfigError(
                f"plan: {len(self.phases)} phases and {len(self.trajectories)} trajectories, expected one for each"
            )
        if len(set(self.phases)) != len(self.phases):
            raise ConfigError(f"plan: a phase is named twice: {', '.join(self.phases)}")
        for name, value in (("grip_width", self.grip_width), *self.details.items()):
            if not math.isfinite(value):
                raise ConfigError(f"plan: {name} = {value}, expected a finite number")
        if np.shape(self.object_in_tool) != (4, 4) or not np.isfinite(self.object_in_tool).all():
            raise ConfigError("plan: object_in_tool is no finite (4, 4) transform")

    def part(self, phase: str) -> JointTrajectory:
        """The trajectory of one phase. Raises ConfigError listing the phases."""
        if phase not in self.phases:
            raise ConfigError(f"plan: no phase {phase!r}; it has {', '.join(self.phases)}")
        return self.trajectories[self.phases.index(phase)]

    def whole(self) -> JointTrajectory:
        """All phases as one trajectory."""
        return JointTrajectory.concatenate(self.trajectories)

    def as_sent(self) -> MotionPlan:
        """The plan as it arrives over ROS: times in whole nanoseconds, the pose by way of a quaternion.

        The rounding is enough to send a bead elsewhere, so whoever repeats a session's trial needs it.
        """
        from transforms3d.quaternions import mat2quat, quat2mat

        pose = np.eye(4)
        pose[:3, :3] = quat2mat(mat2quat(self.object_in_tool[:3, :3]))
        pose[:3, 3] = self.object_in_tool[:3, 3]
        return replace(
            self,
            trajectories=tuple(
                JointTrajectory(whole_nanoseconds(t.times), t.positions, t.velocities, t.accelerations)
                for t in self.trajectories
            ),
            object_in_tool=pose,
        )


def whole_nanoseconds(seconds: FloatArray) -> FloatArray:
    """Seconds as a duration message gives them back."""
    nanoseconds = [round(float(t) * 1e9) for t in seconds]
    return np.array([n // 1_000_000_000 + (n % 1_000_000_000) * 1e-9 for n in nanoseconds])
