"""A joint path along given tool poses: a ladder of inverse-kinematics solutions and dynamic programming on it.

Rungs are the poses; on each lie all solutions for sampled values of the free parameter. The best path has the
smallest sum of squared joint steps among those that obey a step cap; only it is tested for collisions, and what
collides is deleted before the next try. The free parameter is then smoothed along the path and the solutions are
computed again on a finer ladder, so that the tool follows the poses exactly and the joints move smoothly.

A posture lies on a rung once: its equals by full turns are left out, steps are taken the short way round, and the
path is unrolled within the joint limits at the end. Copies would be tried and deleted one by one when they collide.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import PlanningError
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.ik.base import IKSolver
from memristor_bdnn.motion.ik.turns import TURN, apart, towards, unwrapped, wide

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

REPAIRS = 12
TOO_FAR = "the pour turns further than the joint limits allow"
JUMPS = "the pour cannot be followed without a jump: joint limits or joint speeds stand between neighbouring cup poses"
MIRRORED = 1e-6
"""Weight of the way from where the arm is: of postures that mirror each other at one cost the nearer is taken."""
EQUAL = 1e-6
"""Solutions of one pose nearer than this in every joint (rad) are one."""


@dataclass(frozen=True, eq=False)
class Ladder:
    """Solutions on every rung.

    Attributes:
        rungs: one (m_i, dof) array of configurations for each pose.
    """

    rungs: list[FloatArray]

    @staticmethod
    def build(solver: IKSolver, poses: FloatArray, free: FloatArray) -> Ladder:
        """Solve tool poses (n, 4, 4) for every free value (k,).

        Raises:
            PlanningError: ``no_ik`` if a pose has no solution within the joint limits.
        """
        free = np.unique(free)
        n, k = len(poses), len(free)
        q, valid = solver.solve(np.repeat(poses, k, axis=0), np.tile(free, n))
        _drop_equal(q, valid)
        q, valid = q.reshape(n, -1, q.shape[-1]), valid.reshape(n, -1)
        counts = valid.sum(axis=1)
        if (counts == 0).any():
            raise PlanningError(
                "no_ik", f"{int((counts == 0).sum())} of {n} cup poses cannot be reached within the joint limits"
            )
        return Ladder([q[i, valid[i]] for i in range(n)])

    def best(
        self, cap: FloatArray, start_cost: FloatArray | None = None, turning: BoolArray | None = None
    ) -> list[int]:
        """Indices of the best path, one on each rung, no joint stepping more than cap (dof,).

        Args:
            cap: largest step of each joint between neighbouring rungs, rad.
            start_cost: extra cost of the solutions on the first rung, (m_0,).
            turning: joints (dof,) whose steps go the short way round, as they have room for a full turn.

        Raises:
            PlanningError: ``joint_limits`` if no path obeys the cap.
        """
        cost = np.zeros(len(self.rungs[0])) if start_cost is None else start_cost
        back: list[npt.NDArray[np.intp]] = []
        scaled = [rung / cap for rung in self.rungs]
        for before, after in itertools.pairwise(scaled):
            if turning is None or not turning.any():
                cost, choice = _step(cost, before, after)
                if not np.isfinite(cost).any():
                    raise PlanningError("joint_limits", JUMPS)
                back.append(choice)
                continue
            total = np.repeat(cost[None].astype(np.float32), len(after), axis=0)
            # joint by joint, so that the work stays in the cache
            columns = zip(before.T.astype(np.float32), after.T.astype(np.float32), strict=True)
            for k, (a, b) in enumerate(columns):
                step = b[:, None] - a
                if turning is not None and turning[k]:
                    turn = np.float32(TURN / cap[k])
                    step -= turn * np.round(step / turn)
                step *= step
                step[step > 1.0] = np.inf
                total += step
            choice = total.argmin(axis=1)
            cost = total[np.arange(len(after)), choice]
            if not np.isfinite(cost).any():
                raise PlanningError("joint_limits", JUMPS)
            back.append(choice)
        path = [int(cost.argmin())]
        for choice in reversed(back):
            path.append(int(choice[path[-1]]))
        return path[::-1]

    def without(
        self,
        rung: int,
        index: int,
        reason: str = "collision",
        text: str = "every solution of one cup pose collides",
    ) -> Ladder:
        """The ladder with one solution deleted.

        Raises:
            PlanningError: with the reason and text given, if the rung becomes empty.
        """
        rungs = list(self.rungs)
        rungs[rung] = np.delete(rungs[rung], index, axis=0)
        if len(rungs[rung]) == 0:
            raise PlanningError(reason, text)
        return Ladder(rungs)


def _step(cost: FloatArray, before: FloatArray, after: FloatArray) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Least costs (m,) of solutions after a rung, and the solutions before it that they come from.

    Args:
        cost: of the solutions before, (k,).
        before, after: solutions (k, dof) and (m, dof) in units of the largest allowed steps.
    """
    squares = (before**2).sum(axis=1) + cost
    total = squares - 2 * (after @ before.T) + (after**2).sum(axis=1)[:, None]
    rows = np.arange(len(after))
    choice = total.argmin(axis=1)
    # a step too long for one joint is seldom the cheapest: all are looked at only where it is
    wrong = np.flatnonzero((np.abs(after - before[choice]) > 1.0).any(axis=1))
    if len(wrong):
        allowed = np.ones((len(wrong), len(before)), dtype=bool)
        for a, b in zip(after[wrong].T, before.T, strict=True):
            allowed &= np.abs(a[:, None] - b) <= 1.0
        total[wrong] = np.where(allowed, total[wrong], np.inf)
        choice[wrong] = total[wrong].argmin(axis=1)
    return total[rows, choice], choice


def _drop_equal(q: FloatArray, valid: BoolArray) -> None:
    """Mark all but the first of solutions (n, branches, dof) that are one posture as not valid (n, branches)."""
    for i, j in itertools.combinations(range(valid.shape[1]), 2):
        same = valid[:, i] & valid[:, j]
        for joint in range(q.shape[2]):
            if not same.any():
                break
            same[same] = apart(q[same, i, joint, None], q[same, j, joint, None]) < EQUAL
        valid[:, j] &= ~same


def climb(
    ladder: Ladder,
    cap: FloatArray,
    model: CollisionModel,
    near: FloatArray | None = None,
    begin: FloatArray | None = None,
) -> FloatArray:
    """The best collision-free path (n, dof) of a ladder.

    Args:
        ladder: solutions.
        cap: see :meth:`Ladder.best`.
        model: collision model, holding the cup.
        near: a configuration (dof,) that the path's start is drawn to.
        begin: a configuration (dof,) whose turns are kept as far as the limits allow; near, or the arm's home.

    Raises:
        PlanningError: ``joint_limits`` without any path, ``collision`` (naming the bodies) when the best paths collide.
    """
    last = ""
    low, high = model.arm.limits()
    turning = wide(low, high)
    if begin is None:
        begin = np.asarray(model.arm.home) if near is None else near
    for _ in range(REPAIRS):
        first = towards(ladder.rungs[0], begin if near is None else near, low, high)
        away = (((first - (begin if near is None else near)) / cap) ** 2).sum(axis=1)
        start_cost = (MIRRORED if near is None else 0.1) * away
        try:
            choice = ladder.best(cap, start_cost, turning)
        except PlanningError as error:
            raise PlanningError("collision", f"the pour collides: {last}") if last else error from error
        path = np.array([rung[i] for rung, i in zip(ladder.rungs, choice, strict=True)])
        path, inside = unwrapped(path, low, high, begin)
        if not inside.all():
            for rung in np.flatnonzero(~inside).tolist():
                ladder = ladder.without(rung, choice[rung], "joint_limits", TOO_FAR)
            continue
        bad = model.all_contacts(path)
        if not bad:
            return path
        for i, contact in bad:
            last = f"{contact.first} with {contact.second}"
            if model.inevitable(contact):  # whichever solution of this pose is taken
                raise PlanningError("collision", f"the pour collides: {last}")
            try:
                ladder = ladder.without(i, choice[i])
            except PlanningError as error:
                raise PlanningError("collision", f"the pour collides: {last}") from error
    if not last:
        raise PlanningError("joint_limits", TOO_FAR)
    raise PlanningError("collision", f"the pour collides: {last}")
