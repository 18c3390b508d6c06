"""Messages to library objects and back; every incoming number is checked here."""

from __future__ import annotations

import array
import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory as TrajectoryMessage
from trajectory_msgs.msg import JointTrajectoryPoint

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.trajectory import JointTrajectory
from memristor_bdnn.msg import FeatureMatrix, PourContext, PourOutcome, PourParameters
from memristor_bdnn.skills.pouring import context as pouring
from memristor_bdnn.skills.pouring.motion import PourPlan

FloatArray = npt.NDArray[np.floating[Any]]

_PLAN_NUMBERS = ("yaw", "grip_width", "tilt_rate", "tilt_time")


def floats(values: npt.ArrayLike) -> array.array[float]:
    """A float64 field of a message; assigning array.array is the fast path of rclpy."""
    return array.array("d", np.ascontiguousarray(values, dtype=np.float64).tobytes())


def features_to_message(x: FloatArray, names: tuple[str, ...]) -> FeatureMatrix:
    """Features of shape (n, d) as a message."""
    return FeatureMatrix(names=list(names), rows=x.shape[0], cols=x.shape[1], data=floats(x))


def features_from_message(message: FeatureMatrix, names: tuple[str, ...]) -> FloatArray:
    """Features of shape (n, d) from a message.

    Raises:
        ConfigError: sizes that do not fit, other column names, or a value that is not in [-1, 1].
    """
    if message.rows * message.cols != len(message.data):
        raise ConfigError(f"features: {message.rows} x {message.cols} does not fit {len(message.data)} values")
    if message.cols != len(names):
        raise ConfigError(f"features: {message.cols} columns, expected {len(names)} ({', '.join(names)})")
    if message.names and tuple(message.names) != names:
        wrong = next(i for i, pair in enumerate(zip(message.names, names, strict=False)) if pair[0] != pair[1])
        raise ConfigError(f"features: column {wrong} is {message.names[wrong]!r}, expected {names[wrong]!r}")
    x = np.array(message.data, dtype=np.float64).reshape(message.rows, message.cols)
    check_features(x, names)
    return x


def check_features(x: FloatArray, names: tuple[str, ...]) -> None:
    """Raise ConfigError naming row, feature, value and range unless every value is in [-1, 1]."""
    bad = ~(np.abs(x) <= 1.0 + 1e-6)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ConfigError(f"features: row {row}, {names[column]} = {x[row, column]}: allowed [-1, 1]")


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


def context_to_message(context: pouring.PourContext) -> PourContext:
    """The vessels as a message."""
    return PourContext(**dataclasses.asdict(context))


def context_from_message(message: PourContext) -> pouring.PourContext:
    """The vessels of a message. Raises ConfigError naming field, value and range."""
    return pouring.PourContext(**{f.name: getattr(message, f.name) for f in dataclasses.fields(pouring.PourContext)})


def parameters_to_message(parameters: pouring.PourParameters) -> PourParameters:
    """Control parameters as a message."""
    return PourParameters(**dataclasses.asdict(parameters))


def parameters_from_message(message: PourParameters) -> pouring.PourParameters:
    """Control parameters of a message. Raises ConfigError naming field, value and range."""
    names = [f.name for f in dataclasses.fields(pouring.PourParameters)]
    return pouring.PourParameters(**{name: getattr(message, name) for name in names})


def outcome_to_message(
    outcome: Any, trial_id: int, context: pouring.PourContext, parameters: pouring.PourParameters, header: Header
) -> PourOutcome:
    """A pouring outcome as a message."""
    return PourOutcome(
        header=header,
        trial_id=trial_id,
        context=context_to_message(context),
        parameters=parameters_to_message(parameters),
        fraction_in_bowl=float(outcome.fraction_in_bowl),
        fraction_in_cup=float(outcome.fraction_in_cup),
        fraction_spilled=float(outcome.fraction_spilled),
        score=float(outcome.score),
        success=bool(outcome.success),
        source=str(outcome.source),
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
        raise ConfigError(f"trajectory of joints {list(message.joint_names)}, expected {list(names)}")
    if not message.points:
        raise ConfigError("trajectory without points")
    order = [list(message.joint_names).index(name) for name in names]
    columns = []
    for kind in ("positions", "velocities", "accelerations"):
        rows = [getattr(p, kind) for p in message.points]
        if any(len(row) != len(names) for row in rows):
            raise ConfigError(f"trajectory: every point needs {len(names)} {kind}")
        columns.append(np.array(rows)[:, order])
    times = np.array([p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in message.points])
    return JointTrajectory(times, *columns)


def plan_to_message(plan: PourPlan, names: tuple[str, ...], message: Any) -> Any:
    """Fill the plan's fields of a PlanPour result or a Pour goal."""
    for part in ("approach", "pour", "retreat"):
        setattr(message, part, trajectory_to_message(getattr(plan, part), names))
    message.grasp, message.weld = pose_to_message(plan.grasp), bool(plan.weld)
    for name in _PLAN_NUMBERS:
        setattr(message, name, float(getattr(plan, name)))
    return message


def copy_plan(result: Any, goal: Any) -> Any:
    """Hand the plan of a PlanPour result on to a Pour goal."""
    for name in ("approach", "pour", "retreat", "grasp", "weld", *_PLAN_NUMBERS):
        setattr(goal, name, getattr(result, name))
    return goal


def plan_from_message(message: Any, names: tuple[str, ...]) -> PourPlan:
    """The plan in a Pour goal.

    Raises:
        ConfigError: a trajectory or the grasp is not usable, or a number is not finite.
    """
    numbers = {name: float(getattr(message, name)) for name in _PLAN_NUMBERS}
    for name, value in numbers.items():
        if not np.isfinite(value):
            raise ConfigError(f"plan: {name} = {value}, expected a finite number")
    return PourPlan(
        approach=trajectory_from_message(message.approach, names),
        pour=trajectory_from_message(message.pour, names),
        retreat=trajectory_from_message(message.retreat, names),
        grasp=pose_from_message(message.grasp).astype(np.float64),
        weld=bool(message.weld),
        planning_time_s=0.0,
        yaw=numbers["yaw"],
        grip_width=numbers["grip_width"],
        tilt_rate=numbers["tilt_rate"],
        tilt_time=numbers["tilt_time"],
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
        ConfigError: a quaternion that is not a rotation.
    """
    from transforms3d.quaternions import quat2mat

    quaternion = np.array([pose.orientation.w, pose.orientation.x, pose.orientation.y, pose.orientation.z])
    norm = float(np.linalg.norm(quaternion))
    if not abs(norm - 1.0) < 1e-3:
        raise ConfigError(f"pose: the quaternion has length {norm}, expected 1")
    matrix = np.eye(4)
    matrix[:3, :3] = quat2mat(quaternion)
    matrix[:3, 3] = pose.position.x, pose.position.y, pose.position.z
    return matrix


def joint_positions(state: JointState, names: tuple[str, ...]) -> FloatArray | None:
    """Positions in the order of ``names``, or None for an empty state.

    Raises:
        ConfigError: a joint is missing, or a position is not finite.
    """
    if not state.name and not state.position:
        return None
    known = dict(zip(state.name, state.position, strict=False))
    missing = [name for name in names if name not in known]
    if missing:
        raise ConfigError(f"joint state lacks {', '.join(missing)}; it has {', '.join(state.name) or 'no joints'}")
    q = np.array([known[name] for name in names], dtype=np.float64)
    if not np.isfinite(q).all():
        raise ConfigError(f"joint state has positions that are not finite: {q.tolist()}")
    return q
