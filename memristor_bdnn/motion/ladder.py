"""A joint path along given tool poses: a ladder of inverse-kinematics solutions and dynamic programming on it.

Rungs are the poses; on each lie all solutions for sampled values of the free parameter. The best path has the
smallest sum of squared joint steps among those that obey a step cap; only it is tested for collisions, and what
collides is deleted before the next try. The free parameter is then smoothed along the path and the solutions are
computed again on a finer ladder, so that the tool follows the poses exactly and the joints move smoothly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import PlanningError
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.ik.base import IKSolver

FloatArray = npt.NDArray[np.float64]

REPAIRS = 12


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
        n, k = len(poses), len(free)
        q, valid = solver.solve(np.repeat(poses, k, axis=0), np.tile(free, n))
        q, valid = q.reshape(n, -1, q.shape[-1]), valid.reshape(n, -1)
        counts = valid.sum(axis=1)
        if (counts == 0).any():
            raise PlanningError(
                "no_ik", f"{int((counts == 0).sum())} of {n} cup poses cannot be reached within the joint limits"
            )
        return Ladder([q[i, valid[i]] for i in range(n)])

    def best(self, cap: FloatArray, start_cost: FloatArray | None = None) -> list[int]:
        """Indices of the best path, one on each rung, no joint stepping more than cap (dof,).

        Args:
            cap: largest step of each joint between neighbouring rungs, rad.
            start_cost: extra cost of the solutions on the first rung, (m_0,).

        Raises:
            PlanningError: ``joint_limits`` if no path obeys the cap.
        """
        cost = np.zeros(len(self.rungs[0])) if start_cost is None else start_cost
        back: list[npt.NDArray[np.intp]] = []
        for before, after in zip(self.rungs[:-1], self.rungs[1:], strict=True):
            total = np.repeat(cost[None].astype(np.float32), len(after), axis=0)
            # joint by joint, so that the work stays in the cache
            for a, b in zip((before / cap).T.astype(np.float32), (after / cap).T.astype(np.float32), strict=True):
                step = b[:, None] - a
                step *= step
                step[step > 1.0] = np.inf
                total += step
            choice = total.argmin(axis=1)
            cost = total[np.arange(len(after)), choice]
            if not np.isfinite(cost).any():
                raise PlanningError(
                    "joint_limits",
                    "the pour cannot be followed without a jump: joint limits or "
                    "joint speeds stand between neighbouring cup poses",
                )
            back.append(choice)
        path = [int(cost.argmin())]
        for choice in reversed(back):
            path.append(int(choice[path[-1]]))
        return path[::-1]

    def without(self, rung: int, index: int) -> Ladder:
        """The ladder with one solution deleted.

        Raises:
            PlanningError: ``collision`` if the rung becomes empty.
        """
        rungs = list(self.rungs)
        rungs[rung] = np.delete(rungs[rung], index, axis=0)
        if len(rungs[rung]) == 0:
            raise PlanningError("collision", "every solution of one cup pose collides")
        return Ladder(rungs)


def climb(ladder: Ladder, cap: FloatArray, model: CollisionModel, near: FloatArray | None = None) -> FloatArray:
    """The best collision-free path (n, dof) of a ladder.

    Args:
        ladder: solutions.
        cap: see :meth:`Ladder.best`.
        model: collision model, holding the cup.
        near: a configuration (dof,) that the path's start is drawn to.

    Raises:
        PlanningError: ``joint_limits`` without any path, ``collision`` (naming the bodies) when the best paths collide.
    """
    last = ""
    for _ in range(REPAIRS):
        start_cost = None if near is None else (((ladder.rungs[0] - near) / cap) ** 2).sum(axis=1) * 0.1
        try:
            choice = ladder.best(cap, start_cost)
        except PlanningError as error:
            raise PlanningError("collision", f"the pour collides: {last}") if last else error from error
        path = np.array([rung[i] for rung, i in zip(ladder.rungs, choice, strict=True)])
        bad = model.all_contacts(path)
        if not bad:
            return path
        for i, contact in bad:
            last = f"{contact.first} with {contact.second}"
            try:
                ladder = ladder.without(i, choice[i])
            except PlanningError as error:
                raise PlanningError("collision", f"the pour collides: {last}") from error
    raise PlanningError("collision", f"the pour collides: {last}")
