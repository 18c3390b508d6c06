"""From a bowl, a cup and control parameters to one executable motion: approach, pour, retreat."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import PlanningError
from memristor_bdnn.motion import timing
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.free_space import FreeSpacePlanner, Own, PlannerFault
from memristor_bdnn.motion.ik import solvers as ik
from memristor_bdnn.motion.ik.base import free_values
from memristor_bdnn.motion.ik.turns import towards
from memristor_bdnn.motion.kinematics import invert
from memristor_bdnn.motion.ladder import Ladder, climb
from memristor_bdnn.motion.plan import MotionPlan
from memristor_bdnn.motion.rrt import RRTConfig
from memristor_bdnn.motion.start import checked_start
from memristor_bdnn.motion.trajectory import JointTrajectory
from memristor_bdnn.motion.upright import UprightSpace, tilt_of
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION, MARGIN, arm_clearance, is_valid, pour_path, pour_paths
from memristor_bdnn.skills.pouring.grasp import Grasp
from memristor_bdnn.skills.pouring.holds import ANGLES, Hold, aligned, holds
from memristor_bdnn.skills.pouring.vessels import bowl_of, cup_of, slats

FloatArray = npt.NDArray[np.float64]

# polynomial degrees that smooth the free joint along the pour
DEGREES = (3, 5, 8)
WORKSPACE = ((-0.2, -0.7, 0.05), (0.8, 0.7, 0.7))  # of the tool between start and pour, m
NODE_DEFAULTS = {"budget": 30.0, "approach_budget": 30.0}
"""Attempts and iterations, not the clock, end a search in a node: a busy machine must not change a plan."""
PHASES = ("approach", "pour", "retreat")
"""Of a plan: to the upright cup at the bowl, cup upright throughout; tilt, wait, tilt back; back to the start."""
BATCHES = 20
"""Batches of candidates drawn before a search is called hopeless."""


@dataclass(frozen=True)
class PlannerConfig:
    """How pours are planned and how fast they are."""

    tilt_rate: float = option(
        1.6,
        "speed of the tilt; learned labels depend on it",
        low=0.05,
        high=5.0,
        unit="rad/s",
        source="the simulated world's tilt_speed, fitted to the published labels",
    )
    tilt_acceleration: float = option(
        8.0, "of the tilt at both ends", low=0.1, high=100.0, unit="rad/s^2", source="assumption"
    )
    slowest_tilt: float = option(0.6, "smallest share of tilt_rate that is accepted", low=0.05, high=1.0)
    wait: float = option(1.25, "rest at the final pitch", low=0.0, high=60.0, unit="s", source="POURING: 1 to 1.5 s")
    speed: float = option(
        0.6, "share of the joint speed limits used in approach and retreat", low=0.01, high=1.0, source="assumption"
    )
    push: float = option(
        0.4, "share of the joint acceleration limits used there", low=0.01, high=1.0, source="assumption"
    )
    cup_speed: float = option(
        0.6, "largest speed of the full cup along each axis", low=0.01, high=5.0, unit="m/s", source="assumption"
    )
    cup_acceleration: float = option(
        1.5,
        "largest acceleration of the full cup along each axis",
        low=0.05,
        high=50.0,
        unit="m/s^2",
        source="assumption",
    )
    padding: float = option(
        0.003, "room around everything but the tilting cup over the bowl", low=0.0, high=0.02, unit="m"
    )
    waypoints: int = option(16, "cup poses on the ladder", low=4, high=200)
    free_samples: int = option(28, "values of the free joint on the ladder", low=2, high=512)
    refine: int = option(6, "fine poses for each ladder step", low=1, high=50)
    candidates: int = option(40, "yaws and grasp angles weighed up at a time", low=1, high=10_000)
    attempts: int = option(
        500, "whole attempts before a search is given up; unlike time, the same on any machine", low=1, high=100_000
    )
    approach_iterations: int = option(300, "extensions of one approach's search", low=1, high=10_000_000)
    budget: float = option(6.0, "give up after this time", low=0.01, high=600.0, unit="s")
    approach_budget: float = option(0.4, "give up one approach after this time", low=0.01, high=600.0, unit="s")
    time_step: float = option(0.02, "spacing of trajectory samples", low=0.001, high=0.1, unit="s")

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


@dataclass
class _Search:
    """What one call of :meth:`PourPlanner.plan` carries around."""

    context: PourContext
    parameters: PourParameters
    start: FloatArray
    rng: np.random.Generator
    deadline: float
    holds: list[Hold] = field(default_factory=list)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    hopeless: int = 0


class PourPlanner:
    """Plans pours for one arm; keeps its collision world between calls.

    Attributes:
        arm: the description.
        config: see :class:`PlannerConfig`.
        solver: the arm's inverse kinematics.
        model: the collision model.
        free_space: what plans the approach; may be set.
    """

    def __init__(self, arm: ArmDescription, config: PlannerConfig | None = None) -> None:
        """Load the arm.

        Raises:
            ConfigError: the arm's solver or URDF is unusable.
        """
        self.arm, self.config = arm, config or PlannerConfig()
        self.solver = ik.create(arm)
        self.model = CollisionModel(arm, padding=self.config.padding)
        self.free_space: FreeSpacePlanner = Own()
        self._velocity, self._acceleration = np.array(arm.velocity), np.array(arm.acceleration)
        self._aligned = aligned(self.solver, arm.cup_axis)

    def close(self) -> None:
        """Free the collision world."""
        self.model.close()

    def plan(
        self,
        context: PourContext | npt.ArrayLike,
        parameters: PourParameters | npt.ArrayLike,
        start: npt.ArrayLike | None = None,
        seed: int = 0,
    ) -> MotionPlan:
        """Find a motion for one pour.

        The plan's ``details`` are ``yaw`` (plane of the pour about the bowl's axis, rad), ``tilt_rate`` (rad/s in the
        middle of the tilt; below the configured one where joint speeds demand it) and ``tilt_time`` (seconds from
        the pour's start to the final pitch).

        Args:
            context: bowl and cup, or their values (6,).
            parameters: the pour, or its values (5,).
            start: joint state (dof,) with the cup held upright; the arm's home by default.
            seed: of everything random in the search.

        Raises:
            ConfigError: a value outside its range.
            PlanningError: reason ``collision`` (cup too near the bowl by these parameters, or named bodies), ``no_ik``,
                ``joint_limits``, ``timeout``, ``failed`` (a planner outside), or ``start_mismatch`` if the arm is
                beyond its limits, touches something or does not hold the cup upright.
        """
        context, parameters = PourContext.of(context), PourParameters.of(parameters)
        begun = time.perf_counter()
        q0 = checked_start(self.arm, self.arm.home if start is None else start)
        self._check_upright(q0)
        room = arm_clearance(context)
        if not is_valid(context, parameters, clearance=room):
            raise PlanningError(
                "collision",
                f"the tilting cup itself comes within {1000 * room:.1f} mm of bowl or "
                "table; these control parameters are not valid for this bowl and cup",
            )
        search = _Search(context, parameters, q0, np.random.default_rng(seed), begun + self.config.budget)
        search.holds = holds(self.model, self._aligned, context, parameters, everywhere=False)
        self._set_scene(search)
        contact = self.model.contacts(q0)
        if contact:
            raise PlanningError(
                "start_mismatch", f"the start touches something: {contact[0].first} with {contact[0].second}"
            )
        for yaw, held, angle in itertools.islice(self._candidates(search), self.config.attempts):
            if time.perf_counter() > search.deadline:
                break
            try:
                return self._attempt(search, yaw, held, angle, begun)
            except PlannerFault:
                raise
            except PlanningError as error:
                search.failures[error.reason, str(error)] += 1
        raise self._summary(search)

    # ---- private -------------------------------------------------------------------------------

    def _check_upright(self, q0: FloatArray) -> None:
        tilt = float(tilt_of(self.solver.chain, self.arm.cup_axis, q0))
        if tilt > 0.05:
            raise PlanningError(
                "start_mismatch",
                f"the cup is tilted by {tilt:.3f} rad at the start (allowed 0.05); "
                "bring the arm to a configuration that holds it upright",
            )

    def _set_scene(self, search: _Search) -> None:
        bowl, cup = bowl_of(search.context), cup_of(search.context)
        self.model.clear_obstacles()
        self.model.add_obstacle("bowl", slats(bowl), BOWL_POSITION)
        first = search.holds[0].grasp
        self.model.open_fingers(first.width)
        self.model.hold(slats(cup), first.at(0.0))

    def _candidates(self, search: _Search) -> Iterator[tuple[float, Grasp, float]]:
        """Yaws of the pour, grasps and angles of the hand, batch after batch, those with the most solutions first.

        The first batch holds the cup at one good height, the others anywhere.
        """
        n = self.config.candidates
        free = free_values(self.solver, 14, ends=False)
        choices = search.holds
        for batch in range(BATCHES):
            if batch == 1:
                choices = holds(self.model, self._aligned, search.context, search.parameters, everywhere=True)
            weights = np.concatenate([choice.weights for choice in choices])
            picked = search.rng.choice(len(weights), n, p=weights / weights.sum())
            yaws = (search.rng.permutation(n) + search.rng.random(n)) * 2 * np.pi / n
            grasps, angles = [choices[i // len(ANGLES)].grasp for i in picked], ANGLES[picked % len(ANGLES)]
            hands = np.concatenate([choice.grasp.hands(ANGLES) for choice in choices])
            poses = pour_paths(search.context, search.parameters, yaws, 3) @ hands[picked][:, None]
            _, valid = self.solver.solve(np.repeat(poses.reshape(-1, 4, 4), len(free), axis=0), np.tile(free, 3 * n))
            room = valid.reshape(n, 3, -1).sum(axis=2).min(axis=1)
            search.hopeless += int((room == 0).sum())
            for i in np.argsort(-room, kind="stable")[: int((room > 0).sum())]:
                yield float(yaws[i]), grasps[i], float(angles[i])
            if time.perf_counter() > search.deadline:
                return

    def _attempt(self, search: _Search, yaw: float, chosen: Grasp, angle: float, begun: float) -> MotionPlan:
        held = chosen.at(angle)
        self.model.open_fingers(chosen.width)
        self.model.hold(slats(cup_of(search.context)), held)
        self.model.set_room("bowl", -arm_clearance(search.context))  # the tilt's distance is known already
        pour, rate, tilt_time = self._pour(search, yaw, held)
        # The upright cup may stand nearer to the bowl than the padding: then it need not keep more on its way.
        gap = self.model.held_gap(pour.start, "bowl", 2 * self.config.padding)
        self.model.set_room("bowl", min(self.config.padding, gap - MARGIN))
        approach, retreat = self._approach(search, pour.start, held)
        return MotionPlan(
            PHASES,
            (approach, pour, retreat),
            held,
            chosen.weld,
            chosen.width,
            {"yaw": yaw, "tilt_rate": rate, "tilt_time": tilt_time},
            time.perf_counter() - begun,
        )

    def _pour(self, search: _Search, yaw: float, held: FloatArray) -> tuple[JointTrajectory, float, float]:
        """The tilt there and back, exact at every pose and tested; also its rate and the time to the final pitch.

        The free parameter is smoothed by polynomials; the stiffest one that the joints' limits allow is taken.
        """
        config = self.config
        to_tool = invert(held)
        coarse = pour_path(search.context, search.parameters, yaw, config.waypoints) @ to_tool
        free = free_values(self.solver, config.free_samples)
        slowest = config.slowest_tilt * config.tilt_rate
        step = abs(search.parameters.pitch) / (config.waypoints - 1) / slowest
        ladder = Ladder.build(self.solver, coarse, free)
        # without a free parameter an arm has few ways, and the one like the start's is reached easily
        near = search.start if len(free) == 1 else None
        rough = climb(ladder, 0.95 * self._velocity * step, self.model, near, search.start)
        n = (config.waypoints - 1) * config.refine + 1
        fine = pour_path(search.context, search.parameters, yaw, n) @ to_tool
        problem = None
        for degree in DEGREES if len(free) > 1 else DEGREES[:1]:  # without a free parameter all are the same
            try:
                path = self._refine(fine, rough, degree)
                found = self._pour_trajectory(search, path)
            except PlanningError as error:
                problem = error
                continue
            hit = self.model.first_contact(found[0].part(0.0, found[2]).fine(0.02))
            if hit is None:
                return found
            problem = PlanningError("collision", f"the pour collides: {hit[1].first} with {hit[1].second}")
        assert problem is not None
        raise problem

    def _refine(self, poses: FloatArray, rough: FloatArray, degree: int) -> FloatArray:
        """Solutions (n, dof) at fine poses nearest to a rough path whose free parameter is smoothed."""
        n, m = len(poses), len(rough)
        position = np.linspace(0, m - 1, n)
        guide = timing.Spline(np.arange(m), rough)(position)[0]
        values = self.solver.free_of(rough)
        low, high = self.solver.free_range
        if high - low > 2 * np.pi - 1e-6:
            values, low, high = np.unwrap(values), -np.inf, np.inf
        smooth = np.polynomial.Polynomial.fit(np.arange(m), values, min(degree, m - 1))(position)
        q, valid = self.solver.solve(poses, np.clip(smooth, low, high))
        q = towards(q, guide[:, None], *self.arm.limits())
        distance = np.where(valid, np.abs(q - guide[:, None]).max(axis=2), np.inf)
        best = distance.argmin(axis=1)
        if not np.isfinite(distance[np.arange(n), best]).all():
            raise PlanningError("joint_limits", "the smoothed pour leaves the joint limits")
        return np.asarray(q[np.arange(n), best])

    def _pour_trajectory(self, search: _Search, path: FloatArray) -> tuple[JointTrajectory, float, float]:
        """Tilt, wait and tilt back in time; also the tilt's rate and duration."""
        config = self.config
        spline = timing.Spline(np.linspace(0.0, abs(search.parameters.pitch), len(path)), path)
        rate = config.tilt_rate
        for _ in range(3):
            tilt = timing.ramped(spline, rate, config.tilt_acceleration, self.arm.dof, config.time_step)
            over = timing.excess(tilt, self._velocity, self._acceleration)
            if over <= 1.0:
                break
            rate *= 0.98 / over
            if rate < config.slowest_tilt * config.tilt_rate:
                raise PlanningError(
                    "joint_limits",
                    f"the joints allow only {rate:.2f} rad/s of tilt, "
                    f"{config.slowest_tilt * config.tilt_rate:.2f} are needed",
                )
        else:
            raise PlanningError("joint_limits", "the tilt cannot be timed within the joints' accelerations")
        parts = [tilt]
        if config.wait > 0:
            parts.append(timing.still(tilt.end, config.wait, config.time_step))
        parts.append(tilt.reversed())
        return JointTrajectory.concatenate(parts), rate, tilt.duration

    def _approach(self, search: _Search, goal: FloatArray, held: FloatArray) -> tuple[JointTrajectory, JointTrajectory]:
        """From the start to the pour with the cup upright, and back again."""
        config = self.config
        remaining = max(search.deadline - time.perf_counter(), 0.05)
        space = UprightSpace(self.model, self.solver, *WORKSPACE, around=search.start)
        # the timed motion is checked finely below, so the path need not be
        found = self.free_space.plan(
            space,
            search.start,
            goal,
            search.rng,
            RRTConfig(
                timeout=min(remaining, config.approach_budget),
                iterations=config.approach_iterations,
                resolution=0.06,
                fine_resolution=0.06,
                shortcuts=10,
            ),
        )
        limits = (
            np.concatenate([config.speed * self._velocity, np.full(3, config.cup_speed)]),
            np.concatenate([config.push * self._acceleration, np.full(3, config.cup_acceleration)]),
        )
        for spacing in (0.15, 0.07, 0.03):
            points = timing.thin(found, spacing)
            cup = (self.solver.chain.fk(points) @ held)[:, :3, 3]
            there = timing.along(np.concatenate([points, cup], axis=1), *limits, self.arm.dof, config.time_step)
            if self._safe(there):
                return there, there.reversed()
        raise PlanningError("collision", "the smoothed approach touches something that its corners avoid")

    def _safe(self, trajectory: JointTrajectory) -> bool:
        """Limits, upright cup and collisions of an approach at 0.01 rad."""
        fine = trajectory.fine(0.01)
        return bool(
            self.arm.within_limits(fine, margin=-1e-9).all()
            and tilt_of(self.solver.chain, self.arm.cup_axis, fine).max() < 0.03
            and self.model.first_contact(fine) is None
        )

    def _summary(self, search: _Search) -> PlanningError:
        """One error for all attempts: the most frequent reason, and what failed how often."""
        tried = sum(search.failures.values())
        out_of_reach = f"{search.hopeless} pairs of pour plane and hand angle were out of reach"
        if not tried:
            if search.hopeless >= 2 * self.config.candidates:
                return PlanningError("no_ik", f"{out_of_reach}, none was within reach")
            return PlanningError(
                "timeout", f"{self.config.budget} s passed before anything could be tried; {out_of_reach}"
            )
        reasons: Counter[str] = Counter()
        for (reason, _), count in search.failures.items():
            reasons[reason] += count
        texts = "; ".join(f"{count} x {text}" for (_, text), count in search.failures.most_common(3))
        return PlanningError(
            reasons.most_common(1)[0][0],
            f"no plan in {tried} attempts within {self.config.budget} s: {texts}; {out_of_reach}",
        )
