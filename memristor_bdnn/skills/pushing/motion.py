"""From a context and control parameters to one executable motion: approach, push, retreat."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError, PlanningError
from memristor_bdnn.motion import arms, timing
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.free_space import FreeSpacePlanner, Own, PlannerFault
from memristor_bdnn.motion.ik import solvers as ik
from memristor_bdnn.motion.ik.base import free_values
from memristor_bdnn.motion.ik.turns import towards, unwrapped
from memristor_bdnn.motion.plan import MotionPlan
from memristor_bdnn.motion.rrt import JointSpace, RRTConfig
from memristor_bdnn.motion.start import checked_start
from memristor_bdnn.motion.trajectory import JointTrajectory
from memristor_bdnn.skills.pushing.geometry import ACCELERATION, OBJECT, ends, facing_of, is_valid, tip_height, yaw_of
from memristor_bdnn.skills.pushing.settings import PushPlannerConfig
from memristor_bdnn.skills.pushing.spaces import Context, Parameters, context_of, parameters_of

FloatArray = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating[Any]]

PHASES = ("approach", "push", "retreat")
TIP = 0.0073
"""The fingertips reach this far beyond the tool frame, m (Panda: URDF and collision mesh)."""
JUMP = 0.8
"""Largest step of a joint between neighbouring poses of a path that counts as the same branch, rad."""
PROMISING = 1.05
"""Share of the joints' limits, by a first estimate, up to which a push is worked out exactly."""


@dataclass(frozen=True)
class _Box:
    """One box of an obstacle; see :class:`memristor_bdnn.motion.collision.BoxLike`."""

    half_extents: tuple[float, float, float]
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    quaternion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)


def pushing_arm(arm: str | ArmDescription) -> ArmDescription:
    """An arm by name or YAML file, if it has fingers to push with.

    Raises:
        ConfigError: unknown, or without a gripper whose closed fingers can push.
    """
    description = arm if isinstance(arm, ArmDescription) else arms.load(arm)
    if not description.gripper_joints:
        raise ConfigError(
            f"arm {description.name!r} has no gripper_joints: pushing needs closed fingers; choose an arm with a "
            "gripper, such as panda"
        )
    return description


class PushPlanner:
    """Plans pushes for one arm; keeps its collision world between calls.

    Implements :class:`memristor_bdnn.skills.protocol.Motion`.

    Attributes:
        arm: the description.
        config: see :class:`PushPlannerConfig`.
        solver: the arm's inverse kinematics.
        model: the collision model, fingers closed.
        free_space: what plans the way to above the push and back; may be set.
    """

    def __init__(self, arm: str | ArmDescription, config: PushPlannerConfig | None = None) -> None:
        """Load the arm.

        Raises:
            ConfigError: the arm has no fingers, or its solver or URDF is unusable.
        """
        self.arm, self.config = pushing_arm(arm), config or PushPlannerConfig()
        self.solver = ik.create(self.arm)
        self.model = CollisionModel(self.arm, padding=self.config.padding)
        self.model.open_fingers(0.0)
        self.free_space: FreeSpacePlanner = Own()
        self._velocity, self._acceleration = np.array(self.arm.velocity), np.array(self.arm.acceleration)
        self._object: tuple[str, list[_Box], tuple[float, float, float], tuple[float, float, float, float]]

    def close(self) -> None:
        """Free the collision world; harmless to call twice."""
        if self.model is not None:
            self.model.close()
            self.model = None  # type: ignore[assignment]

    def plan(
        self, context: AnyFloats, parameters: AnyFloats, start: AnyFloats | None = None, seed: int = 0
    ) -> MotionPlan:
        """Find a motion for one push.

        Args:
            context: (8,), see :data:`memristor_bdnn.skills.pushing.spaces.CONTEXT`.
            parameters: (5,), see :data:`memristor_bdnn.skills.pushing.spaces.PARAMETERS`.
            start: joint state (dof,); the arm's home by default.
            seed: of everything random in the search.

        Raises:
            ConfigError: a value outside its range.
            PlanningError: ``collision``, ``no_ik``, ``joint_limits`` (the joints are too slow for the push, or jump),
                ``timeout``, or ``start_mismatch`` for a start of another arm, beyond its limits or touching something.
        """
        begun = time.perf_counter()
        c, p = context_of(context), parameters_of(parameters)
        q0 = checked_start(self.arm, self.arm.home if start is None else start)
        if not is_valid(c, p)[0]:
            raise PlanningError(
                "collision", "these control parameters make no sense for this object: the fingers miss it or go too far"
            )
        self._place_object(c)
        self._check_free(q0)
        rng = np.random.default_rng(seed)
        failures: Counter[tuple[str, str]] = Counter()
        for push in self._pushes(c, p, q0, failures):
            if time.perf_counter() - begun > self.config.budget:
                failures["timeout", f"{self.config.budget} s have passed"] += 1
                break
            try:
                parts = self._around(push, q0, rng, begun)
            except PlannerFault:
                raise
            except PlanningError as error:
                failures[error.reason, str(error)] += 1
                continue
            tip = np.eye(4)
            tip[2, 3] = TIP
            return MotionPlan(PHASES, parts, object_in_tool=tip, planning_time_s=time.perf_counter() - begun)
        reason = failures.most_common(1)[0][0][0]
        texts = "; ".join(f"{count} x {text}" for (_, text), count in failures.most_common(3))
        raise PlanningError(reason, f"no plan for this push: {texts}")

    # ---- private -------------------------------------------------------------------------------

    def _check_free(self, q0: FloatArray) -> None:
        touching = self.model.contacts(q0)
        if touching:
            first = touching[0]
            raise PlanningError("start_mismatch", f"the start touches something: {first.first} with {first.second}")

    def _place_object(self, c: Context) -> None:
        """Put the object where the push finds it, and remember it for the approach."""
        self.model.clear_obstacles()
        box = _Box((c.length / 2, c.width / 2, c.height / 2))
        turn = (0.0, 0.0, float(np.sin(yaw_of(c) / 2)), float(np.cos(yaw_of(c) / 2)))
        self._object = "object", [box], (*OBJECT, c.height / 2), turn
        self.model.add_obstacle(*self._object)

    def _pushes(
        self, c: Context, p: Parameters, q0: FloatArray, failures: Counter[tuple[str, str]]
    ) -> Iterator[JointTrajectory]:
        """Timed pushes, the one nearest to the start first.

        The hand faces either way (closed fingers look alike from both sides), the free joint keeps one value, and one
        branch of the inverse kinematics is followed from above the start to above the end.
        """
        config = self.config
        begin, end = (point[0] for point in ends(c, p))
        length = float(np.linalg.norm(end - begin))
        height = float(tip_height(c)) + TIP
        free = free_values(self.solver, config.free_samples)
        limits = self.arm.limits()
        found: list[tuple[float, FloatArray]] = []
        reached, smooth, least = 0, 0, np.inf
        for facing in (facing_of(c, p), facing_of(c, p) + np.pi):
            line = _line(begin, end, height, facing, config.waypoints)
            poses = np.concatenate([line[:1], line, line[-1:]])
            poses[[0, -1], 2, 3] += config.clearance
            q, valid = self.solver.solve(np.repeat(poses, len(free), axis=0), np.tile(free, len(poses)))
            q = q.reshape(len(poses), -1, self.arm.dof)
            q, inside = unwrapped(q, *limits, q0)
            whole = np.flatnonzero((valid.reshape(len(poses), -1) & inside).all(axis=0))
            reached += len(whole)
            over = self._over(q[1:-1, whole], length, p.speed)
            least = min(least, float(over.min(initial=np.inf)))
            jump = np.abs(np.diff(q[1:-1, whole], axis=0)).max(axis=(0, 2))
            whole = whole[(over < PROMISING) & (jump < JUMP)]
            smooth += len(whole)
            found += [(float(np.abs(q[0, k] - q0).max()), q[1:-1, k]) for k in whole]
        if not reached:
            failures["no_ik", "some pose of the hand cannot be reached within the joint limits"] += 1
        elif not smooth:
            failures[
                "joint_limits", f"the joints are too slow for {p.speed:.2f} m/s by a factor {least:.2f}, or jump"
            ] += 1
        order = sorted(range(len(found)), key=lambda k: found[k][0])
        for k in order[: config.attempts]:
            try:
                yield self._timed(found[k][1], begin, end, p.speed)
            except PlanningError as error:
                failures[error.reason, str(error)] += 1

    def _over(self, q: FloatArray, length: float, speed: float) -> FloatArray:
        """How far pushes q (n, k, dof) go to the joints' limits, (k,); above 1 breaks one. By finite differences."""
        ds = length / (len(q) - 1)
        s = np.linspace(0.0, length, len(q))
        squared = np.minimum(speed**2, 2 * ACCELERATION * np.minimum(s, length - s))[:, None, None]
        ramp = np.where(squared < speed**2, ACCELERATION, 0.0)
        first = np.abs(np.gradient(q, ds, axis=0))
        second = np.zeros_like(q)
        second[1:-1] = np.abs(np.diff(q, 2, axis=0)) / ds**2
        fast = (first * np.sqrt(squared)).max(axis=0) / self._velocity
        push = (first * ramp + second * squared).max(axis=0)
        return np.asarray(np.maximum(fast, np.sqrt(push / self._acceleration)).max(axis=1))

    def _bare(self) -> CollisionModel:
        """The collision model without the object: a push is meant to touch it."""
        self.model.clear_obstacles()
        return self.model

    def _nearest(self, poses: FloatArray, free: FloatArray, guide: FloatArray) -> FloatArray:
        """The solution (n, dof) at each pose that is nearest to a guide (n, dof)."""
        q, valid = self.solver.solve(poses, free)
        q = towards(q, guide[:, None], *self.arm.limits())
        distance = np.where(valid, np.abs(q - guide[:, None]).max(axis=2), np.inf)
        best = distance.argmin(axis=1)
        rows = np.arange(len(poses))
        if not (distance[rows, best] < JUMP).all():
            raise PlanningError("joint_limits", "the hand leaves the joint limits on its way")
        return np.asarray(q[rows, best])

    def _timed(self, rough: FloatArray, begin: FloatArray, end: FloatArray, speed: float) -> JointTrajectory:
        """The push in time: exact at fine poses, ramps and a constant speed of the hand, then a rest."""
        config = self.config
        poses = np.tile(self.solver.chain.fk(rough[0]), ((len(rough) - 1) * config.refine + 1, 1, 1))
        poses[:, :2, 3] = np.linspace(begin, end, len(poses))
        guide = timing.Spline(np.arange(len(rough)), rough)(np.linspace(0, len(rough) - 1, len(poses)))[0]
        free = np.full(len(poses), float(self.solver.free_of(rough[:1])[0]))
        length = float(np.linalg.norm(end - begin))
        spline = timing.Spline(np.linspace(0.0, length, len(poses)), self._nearest(poses, free, guide))
        push = timing.ramped(spline, speed, ACCELERATION, self.arm.dof, config.time_step)
        over = timing.excess(push, self._velocity, self._acceleration)
        if over > 1.0:
            raise PlanningError("joint_limits", f"the joints are too slow for {speed:.2f} m/s by a factor {over:.2f}")
        hit = self._bare().first_contact(push.fine(0.02))
        if hit is not None:
            raise PlanningError("collision", f"the push collides: {hit[1].first} with {hit[1].second}")
        rest = timing.still(push.end, config.dwell, config.time_step) if config.dwell > 0 else None
        return push if rest is None else JointTrajectory.concatenate([push, rest])

    def _around(
        self, push: JointTrajectory, q0: FloatArray, rng: np.random.Generator, begun: float
    ) -> tuple[JointTrajectory, JointTrajectory, JointTrajectory]:
        """Approach, push and retreat: down at the start of the push, up at its end."""
        down = self._vertical(push.start)
        lift = self._vertical(push.end)
        self.model.clear_obstacles()
        self.model.add_obstacle(*self._object)
        reach = self._travel(q0, down[-1], rng, begun)
        descent = self._along(down[::-1])
        hit = self.model.first_contact(descent.fine(0.02))
        if hit is not None:
            raise PlanningError("collision", f"coming down collides: {hit[1].first} with {hit[1].second}")
        approach = JointTrajectory.concatenate([reach, descent])
        self._bare()
        rise = self._along(lift)
        hit = self.model.first_contact(rise.fine(0.02))
        if hit is not None:
            raise PlanningError("collision", f"the lift collides: {hit[1].first} with {hit[1].second}")
        home = self._travel(lift[-1], q0, rng, begun)
        return approach, push, JointTrajectory.concatenate([rise, home])

    def _vertical(self, q: FloatArray) -> FloatArray:
        """Configurations (n, dof) of the hand going straight up by the clearance from a configuration (dof,)."""
        pose = self.solver.chain.fk(q)
        heights = np.linspace(0.0, self.config.clearance, 9)
        poses = np.tile(pose, (len(heights), 1, 1))
        poses[:, 2, 3] += heights
        free = np.full(len(heights), float(self.solver.free_of(q[None])[0]))
        path = np.array([q])
        for k in range(1, len(poses)):
            path = np.concatenate([path, self._nearest(poses[k : k + 1], free[k : k + 1], path[-1:])])
        return path

    def _travel(self, start: FloatArray, goal: FloatArray, rng: np.random.Generator, begun: float) -> JointTrajectory:
        """Between two configurations through free space, among the present obstacles."""
        config = self.config
        left = max(config.budget - (time.perf_counter() - begun), 0.05)
        # the timed motion is checked finely below, so the path need not be
        limits = RRTConfig(timeout=left, iterations=config.iterations, resolution=0.06, fine_resolution=0.06)
        path = self.free_space.plan(JointSpace(self.model, around=start), start, goal, rng, limits)
        for spacing in (0.4, 0.15, 0.05):
            timed = self._along(timing.thin(path, spacing))
            fine = timed.fine(0.02)
            if self.arm.within_limits(fine, margin=-1e-9).all() and self.model.first_contact(fine) is None:
                return timed
        raise PlanningError("collision", "the smoothed approach touches something that its corners avoid")

    def _along(self, points: FloatArray) -> JointTrajectory:
        """Rest to rest through configurations (n, dof), within the shares of the joint limits."""
        config = self.config
        speed, push = config.speed * self._velocity, config.acceleration * self._acceleration
        return timing.along(points, speed, push, self.arm.dof, 0.02)


def _line(begin: FloatArray, end: FloatArray, height: float, facing: float, n: int) -> FloatArray:
    """Tool poses (n, 4, 4) on a straight line at a height, tool z down and tool x along the facing (rad)."""
    c, s = np.cos(facing), np.sin(facing)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, :3] = np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])
    poses[:, :2, 3] = np.linspace(begin, end, n)
    poses[:, 2, 3] = height
    return poses
