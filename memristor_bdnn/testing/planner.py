"""What every planner of free space must do, as a pytest class to inherit from.

In a plugin's own test file::

    from memristor_bdnn.testing import PlannerConformance

    class TestMine(PlannerConformance):
        planner = "mine"
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from memristor_bdnn.errors import PlanningError
from memristor_bdnn.motion import arms, free_space
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.free_space import FreeSpacePlanner
from memristor_bdnn.motion.ik import solvers
from memristor_bdnn.motion.rrt import JointSpace, RRTConfig, straight
from memristor_bdnn.motion.upright import UprightSpace, tilt_of
from memristor_bdnn.testing.scenes import Box, open_scene, random_query

FloatArray = npt.NDArray[np.float64]

LIMITS = RRTConfig(timeout=30.0, iterations=2000, resolution=0.05, fine_resolution=0.05)
WORKSPACE = ((-0.2, -0.7, 0.05), (0.8, 0.7, 0.7))
STRETCH = 2.5
"""Steps of an upright path may be so many times as long as asked: putting it upright moves them."""


class PlannerConformance:
    """Tests of a planner; a subclass names it.

    Attributes:
        planner: registry name of the plugin.
        arm: that it plans for.
    """

    planner: ClassVar[str] = ""
    arm: ClassVar[str] = "panda"

    def make(self) -> FreeSpacePlanner:
        """The planner, with its default options."""
        return free_space.create(self.planner)

    @pytest.fixture
    def model(self) -> Iterator[CollisionModel]:
        """An arm over a table with a block on it."""
        made = CollisionModel(arms.load(self.arm), padding=0.003)
        open_scene(made)
        yield made
        made.close()

    @pytest.fixture
    def made(self) -> Iterator[FreeSpacePlanner]:
        """The planner; closed twice, which must be harmless."""
        planner = self.make()
        yield planner
        planner.close()
        planner.close()

    def queries(self, model: CollisionModel, n: int = 3) -> list[tuple[FloatArray, FloatArray]]:
        """Pairs of free configurations between which the straight way is blocked, but for the first pair."""
        rng, solver = np.random.default_rng(2), solvers.create(model.arm)
        found = [random_query(model, solver, rng)]
        while len(found) < n:
            start, goal = random_query(model, solver, rng)
            if model.first_contact(straight(start, goal, LIMITS.resolution)) is not None:
                found.append((start, goal))
        return found

    def check(self, space: JointSpace, path: Any, start: FloatArray, goal: FloatArray) -> None:
        """Ends, steps, limits and contacts of a path."""
        assert isinstance(path, np.ndarray) and path.ndim == 2 and path.shape[1] == space.model.arm.dof
        np.testing.assert_array_equal(path[[0, -1]], [start, goal])
        stretch = 1.0 if space.upright is None else STRETCH
        assert np.abs(np.diff(path, axis=0)).max() <= LIMITS.resolution * stretch + 1e-9
        assert space.model.arm.within_limits(path, margin=-1e-9).all()
        assert space.model.first_contact(path) is None

    def test_is_listed(self) -> None:
        """The registry finds it by name and has a description."""
        description = free_space.available().get(self.planner, "not listed")
        assert not description.startswith("not "), description

    def test_paths_lead_from_start_to_goal_and_touch_nothing(
        self, model: CollisionModel, made: FreeSpacePlanner
    ) -> None:
        """Between random free configurations."""
        for start, goal in self.queries(model):
            space = JointSpace(model, around=start)
            self.check(space, made.plan(space, start, goal, np.random.default_rng(0), LIMITS), start, goal)

    def test_what_is_held_stays_upright(self, model: CollisionModel, made: FreeSpacePlanner) -> None:
        """From home to a turned first joint, with a box in the hand that must not tilt."""
        arm, solver = model.arm, solvers.create(model.arm)
        model.hold([Box((0.03, 0.03, 0.04), (0.0, 0.0, 0.0))], np.eye(4))
        start = np.array(arm.home)
        goal = start.copy()
        high = arm.limits()[1]
        goal[0] += 0.8 if start[0] + 0.8 < high[0] else -0.8
        assert model.free(start) and model.free(goal)
        space = UprightSpace(model, solver, *WORKSPACE, around=start)
        path = made.plan(space, start, goal, np.random.default_rng(0), LIMITS)
        self.check(space, path, start, goal)
        assert tilt_of(solver.chain, arm.cup_axis, path).max() < 0.01

    def test_a_goal_that_touches_something_is_refused(self, model: CollisionModel, made: FreeSpacePlanner) -> None:
        """With a PlanningError that has a reason."""
        rng = np.random.default_rng(4)
        low, high = model.arm.limits()
        bad = next(q for q in rng.uniform(low, high, (1000, model.arm.dof)) if not model.free(q))
        start = np.array(model.arm.home)
        with pytest.raises(PlanningError) as error:
            made.plan(JointSpace(model, around=start), start, bad, np.random.default_rng(0), LIMITS)
        assert error.value.reason and str(error.value)

    def test_the_world_stays_as_it_is(self, model: CollisionModel, made: FreeSpacePlanner) -> None:
        """Obstacles, and what is held, are those of before."""
        ((start, goal),) = self.queries(model, 1)
        before = [(body.name, body.pose.tolist()) for body in model.scene().fixed]
        made.plan(JointSpace(model, around=start), start, goal, np.random.default_rng(0), LIMITS)
        assert [(body.name, body.pose.tolist()) for body in model.scene().fixed] == before
        assert model.scene().held is None
