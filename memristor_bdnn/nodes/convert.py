"""Messages to library objects and back; every incoming number is checked here."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory as TrajectoryMessage
from trajectory_msgs.msg import JointTrajectoryPoint

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.plan import MotionPlan
from memristor_bdnn.motion.trajectory import JointTrajectory
from memristor_bdnn.msg import Dimension, SkillDescription, TrialOutcome, ValueTable
from memristor_bdnn.msg import MotionPlan as PlanMessage
from memristor_bdnn.skills.protocol import Measured, Skill
from memristor_bdnn.spaces import Space, check_features

FloatArray = npt.NDArray[np.floating[Any]]

MAX_POINTS, MAX_DURATION_S = 100_000, 600.0
"""Points and length of one trajectory: more than any arm needs, less than keeps a node busy for good."""
_LISTED = 24


def floats(values: npt.ArrayLike) -> array.array[float]:
    """A float64 field of a message; assigning array.array is the fast path of rclpy."""
    return array.array("d", np.ascontiguousarray(values, dtype=np.float64).tobytes())


def table(names: Sequence[str], values: npt.ArrayLike) -> ValueTable:
    """Rows of named values, shape (n, columns) or (columns,), as a message."""
    return ValueTable(names=list(names), values=floats(values))


def rows_from_table(message: ValueTable, names: Sequence[str], what: str) -> FloatArray:
    """Values of shape (n, len(names)) from a message; no value gives no row.

    Raises:
        ConfigError: other column names, or a number of values that is no multiple of their number.
    """
    if tuple(message.names) != tuple(names):
        raise ConfigError(f"{what}: columns {_listed(message.names)}, expected {_listed(names)}")
    values = np.array(message.values, dtype=np.float64)
    if len(values) % len(names):
        raise ConfigError(f"{what}: {len(values)} values are no whole rows of {len(names)} columns")
    return values.reshape(-1, len(names))


def features_from_message(message: ValueTable, names: Sequence[str], most: int) -> FloatArray:
    """Features of shape (n, d) from a message, n at most ``most``.

    Raises:
        ConfigError: other column names, no whole rows, too many rows, or a value that is not in [-1, 1].
    """
    x = rows_from_table(message, names, "features")
    if len(x) > most:
        raise ConfigError(f"features: {len(x)} rows, at most {most}")
    check_features(x, names)
    return x


def seed_from_message(seed: int, own: int) -> int:
    """The seed that a request means: -1 is the node's own. Raises ConfigError for any other negative one."""
    if seed < -1:
        raise ConfigError(f"seed = {seed}: allowed [0, 2^63 - 1], or -1 for the node's own ({own})")
    return own if seed == -1 else seed


def row_from_message(message: ValueTable, space: Space) -> FloatArray:
    """One row of a space, shape (len(space),). Raises ConfigError naming the value and its range."""
    rows = rows_from_table(message, space.names, space.what)
    if len(rows) != 1:
        raise ConfigError(f"{space.what}: {len(rows)} rows, expected one")
    return space.check(rows[0])


def measures_from_message(message: ValueTable, space: Space) -> FloatArray:
    """Measures (m,) given by a person or a scale, NaN where nothing was given.

    A value without a name is the first measure, which must be there.

    Raises:
        ConfigError: unknown or repeated names, values out of their range, or no first measure.
    """
    names = list(message.names) or [space.names[0]]
    unknown = [n for n in names if n not in space.names]
    if unknown or len(set(names)) != len(names) or len(names) != len(message.values):
        raise ConfigError(
            f"measures: {_listed(names)} with {len(message.values)} values; expected one value for each of "
            f"{_listed(space.names)}, at least {space.names[0]}"
        )
    if space.names[0] not in names:
        raise ConfigError(f"measures: {space.names[0]} is missing; it decides the score")
    result = np.full(len(space), np.nan)
    for name, value in zip(names, message.values, strict=True):
        d = space.dimensions[space.names.index(name)]
        if not d.low <= value <= d.high:  # NaN is refused too
            raise ConfigError(f"{name} = {value}: allowed [{d.low:g}, {d.high:g}]{' ' + d.unit if d.unit else ''}")
        result[space.names.index(name)] = value
    return result


def describe_skill(skill: Skill) -> SkillDescription:
    """A skill's spaces, inputs and phases as a message."""

    def dimensions(space: Space) -> list[Dimension]:
        return [
            Dimension(name=d.name, unit=d.unit, low=d.low, high=d.high, description=d.description)
            for d in space.dimensions
        ]

    return SkillDescription(
        name=skill.name,
        context=dimensions(skill.context_space),
        parameters=dimensions(skill.parameter_space),
        measures=dimensions(skill.measure_space),
        features=list(skill.feature_names),
        phases=list(skill.phases),
    )


def labels_from_message(values: Any, rows: int) -> FloatArray:
    """Labels of shape (rows,).

    Raises:
        ConfigError: another number of labels, or one that is not in [0, 1].
    """
    y = np.array(values, dtype=np.float64)
    if len(y) != rows:
        raise ConfigError(f"labels: {len(y)} values for {rows} rows of features")
    bad = ~((y >= 0.0) & (y <= 1.0))
    if bad.any():
        where = int(np.argmax(bad))
        raise ConfigError(f"labels: y[{where}] = {y[where]}: allowed [0, 1]")
    return y


def outcome_to_message(
    skill: Skill, measured: Measured, trial_id: int, context: FloatArray, parameters: FloatArray, header: Header
) -> TrialOutcome:
    """What a world measured of a trial, with its score; no score where nobody has measured it yet."""
    known = measured.source != ""
    score = float(skill.score(measured.measures)) if known else 0.0
    return TrialOutcome(
        header=header,
        skill=skill.name,
        trial_id=trial_id,
        context=table(skill.context_space.names, context),
        parameters=table(skill.parameter_space.names, parameters),
        measures=table(skill.measure_space.names, measured.measures),
        score=score,
        success=known and score > 0.0,
        source=measured.source,
    )


def trajectory_to_message(trajectory: JointTrajectory, names: tuple[str, ...]) -> TrajectoryMessage:
    """A joint trajectory with positions, velocities, accelerations and times."""
    message = TrajectoryMessage(joint_names=list(names))
    for t, q, v, a in zip(
        trajectory.times, trajectory.positions, trajectory.velocities, trajectory.accelerations, strict=True
    ):
        message.points.append(
            JointTrajectoryPoint(
                positions=floats(q), velocities=floats(v), accelerations=floats(a), time_from_start=duration(float(t))
            )
        )
    return message


def trajectory_from_message(message: TrajectoryMessage, names: tuple[str, ...]) -> JointTrajectory:
    """A joint trajectory whose columns are in the order of ``names``.

    Raises:
        ConfigError: no points, other joints, wrong lengths, times that do not increase.
    """
    if sorted(message.joint_names) != sorted(names):
        raise ConfigError(f"trajectory of joints {_listed(message.joint_names)}, expected {_listed(names)}")
    if not 1 <= len(message.points) <= MAX_POINTS:
        raise ConfigError(f"trajectory of {len(message.points)} points: allowed [1, {MAX_POINTS}]")
    order = [list(message.joint_names).index(name) for name in names]
    columns = []
    for kind in ("positions", "velocities", "accelerations"):
        rows = [getattr(p, kind) for p in message.points]
        if any(len(row) != len(names) for row in rows):
            raise ConfigError(f"trajectory: every point needs {len(names)} {kind}")
        columns.append(np.array(rows)[:, order])
    times = np.array([p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in message.points])
    if times[-1] > MAX_DURATION_S:
        raise ConfigError(f"trajectory of {times[-1]:.1f} s: at most {MAX_DURATION_S:.0f} s")
    return JointTrajectory(times, *columns)


def plan_to_message(plan: MotionPlan, names: tuple[str, ...]) -> PlanMessage:
    """A motion plan of joints ``names`` as a message."""
    return PlanMessage(
        phases=list(plan.phases),
        trajectories=[trajectory_to_message(t, names) for t in plan.trajectories],
        object_in_tool=pose_to_message(plan.object_in_tool),
        attached=bool(plan.attached),
        grip_width=float(plan.grip_width),
        details=table(list(plan.details), list(plan.details.values())),
        planning_time=float(plan.planning_time_s),
    )


def plan_from_message(message: PlanMessage, names: tuple[str, ...], phases: Sequence[str]) -> MotionPlan | None:
    """The plan of a goal, or None for one without phases.

    Args:
        message: the plan.
        names: joints, in the order of the result's columns.
        phases: of the skill; another order or other names are refused.

    Raises:
        ConfigError: other phases, a trajectory or the pose is not usable, or a number is not finite.
    """
    if not message.phases and not message.trajectories:
        return None
    if tuple(message.phases) != tuple(phases):
        raise ConfigError(f"plan: phases {_listed(message.phases)}, expected {_listed(phases)}")
    if len(message.details.names) != len(message.details.values):
        raise ConfigError(f"plan: {len(message.details.values)} details for {_listed(message.details.names)}")
    if len(message.trajectories) != len(phases):
        raise ConfigError(f"plan: {len(message.trajectories)} trajectories for the {len(phases)} phases")
    return MotionPlan(
        phases=tuple(message.phases),
        trajectories=tuple(trajectory_from_message(t, names) for t in message.trajectories),
        object_in_tool=pose_from_message(message.object_in_tool).astype(np.float64),
        attached=bool(message.attached),
        grip_width=float(message.grip_width),
        details=dict(zip(message.details.names, message.details.values, strict=True)),
    )


def duration(seconds: float) -> Duration:
    """Seconds as a duration message, rounded to nanoseconds."""
    nanoseconds = round(seconds * 1e9)
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def pose_to_message(matrix: FloatArray) -> Pose:
    """A homogeneous transform (4, 4) as a pose."""
    from transforms3d.quaternions import mat2quat

    w, x, y, z = mat2quat(matrix[:3, :3])
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = (float(v) for v in matrix[:3, 3])
    pose.orientation.w, pose.orientation.x = float(w), float(x)
    pose.orientation.y, pose.orientation.z = float(y), float(z)
    return pose


def pose_from_message(pose: Pose) -> FloatArray:
    """A pose as a homogeneous transform (4, 4).

    Raises:
        ConfigError: a quaternion that is not a rotation, or a position that is not finite.
    """
    from transforms3d.quaternions import quat2mat

    quaternion = np.array([pose.orientation.w, pose.orientation.x, pose.orientation.y, pose.orientation.z])
    norm = float(np.linalg.norm(quaternion))
    if not abs(norm - 1.0) < 1e-3:
        raise ConfigError(f"pose: the quaternion has length {norm}, expected 1")
    matrix = np.eye(4)
    matrix[:3, :3] = quat2mat(quaternion)
    matrix[:3, 3] = pose.position.x, pose.position.y, pose.position.z
    if not np.isfinite(matrix).all():
        raise ConfigError(f"pose: the position {matrix[:3, 3].tolist()} is not finite")
    return matrix


def _listed(names: Sequence[str]) -> str:
    """Names for a reason, not more and not longer than a person reads."""
    if not len(names):
        return "none"
    more = f", ... ({len(names)} in all)" if len(names) > _LISTED else ""
    return ", ".join(name[:80] for name in names[:_LISTED]) + more
