"""Planners of free space by name, and what is done with a path from outside before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from memristor_bdnn.errors import ConfigError, PlanningError
from memristor_bdnn.motion import arms, free_space, rrt
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.free_space import Answer, PlannerFault, admitted
from memristor_bdnn.motion.ik import solvers
from memristor_bdnn.motion.rrt import JointSpace, RRTConfig
from memristor_bdnn.motion.upright import UprightSpace, tilt_of
from memristor_bdnn.skills.pouring.context import PourParameters
from memristor_bdnn.skills.pouring.motion import PourPlanner
from memristor_bdnn.skills.pouring.vessels import context_of
from memristor_bdnn.testing import PlannerConformance
from memristor_bdnn.testing.scenes import Box, open_scene

PANDA = arms.load("panda")
NAMES = list(PANDA.joint_names)
HOME = np.array(PANDA.home)
TURNED = HOME + np.array([0.8, 0, 0, 0, 0, 0, 0])
COARSE = RRTConfig(resolution=0.06, fine_resolution=0.06)


class TestOwn(PlannerConformance):
    planner = "own"


@pytest.fixture(scope="module")
def model() -> Iterator[CollisionModel]:
    made = CollisionModel(PANDA, padding=0.003)
    open_scene(made)
    made.hold([Box((0.03, 0.03, 0.04), (0.0, 0.0, 0.0))], np.eye(4))
    yield made
    made.close()


def asked(model: CollisionModel, rows: Any, names: Any = NAMES, upright: bool = False) -> Any:
    """A path from home to a turned first joint, from outside."""
    space: JointSpace = JointSpace(model)
    if upright:
        space = UprightSpace(model, solvers.create(PANDA), (-0.2, -0.7, 0.05), (0.8, 0.7, 0.7))
    return admitted(Answer("somebody", names, rows), space, HOME, TURNED, COARSE)


def test_a_good_path_is_drawn_in_our_order_and_our_steps(model: CollisionModel) -> None:
    rows = rrt.straight(HOME, TURNED, 0.3)[:, ::-1].tolist()
    path = asked(model, rows, NAMES[::-1])
    np.testing.assert_array_equal(path[[0, -1]], [HOME, TURNED])
    assert np.abs(np.diff(path, axis=0)).max() <= 0.06 + 1e-12
    single = admitted(Answer("somebody", NAMES, [HOME.tolist()]), JointSpace(model), HOME, HOME, COARSE)
    np.testing.assert_array_equal(single, [HOME, HOME])


def test_a_path_that_tilts_what_is_held_a_little_is_put_upright(model: CollisionModel) -> None:
    rows = rrt.straight(HOME, TURNED, 0.2)
    rows[1:-1, 5] += 0.05
    path = asked(model, rows.tolist(), upright=True)
    assert tilt_of(model.chain, PANDA.cup_axis, path).max() < 1e-3
    rows[1:-1, 5] += 1.2
    with pytest.raises(PlanningError, match="does not keep upright what is held at point 1 of"):
        asked(model, rows.tolist(), upright=True)


def changed(row: int, joint: int, value: float) -> Any:
    rows = rrt.straight(HOME, TURNED, 0.2)
    rows[row, joint] = value
    return rows.tolist()


GOOD = rrt.straight(HOME, TURNED, 0.2).tolist()


@pytest.mark.parametrize(
    ("names", "rows", "reason", "text"),
    [
        (NAMES[1:], [row[1:] for row in GOOD], "failed", "moves the joints panda_joint2, .*expected panda_joint1"),
        ([*NAMES[:-1], NAMES[0]], GOOD, "failed", "moves the joints panda_joint1"),
        (["x"] * 1000, GOOD, "failed", "moves the joints x, x"),
        (NAMES, [], "failed", "has 0 points"),
        (NAMES, GOOD * 2001, "failed", "points; allowed 1 to 10000"),
        (NAMES, [*GOOD[:-1], []], "failed", "has 0 positions at point"),
        (NAMES, changed(1, 2, np.nan), "failed", "panda_joint3 = nan at point 1 of"),
        (NAMES, changed(-1, 2, np.inf), "failed", "panda_joint3 = inf"),
        (NAMES, changed(0, 0, HOME[0] + 0.01), "failed", "starts at .* of panda_joint1, asked for was"),
        (NAMES, GOOD[:-1], "failed", "ends at"),
        (NAMES, changed(2, 3, 0.3), "joint_limits", r"panda_joint4 = 0.3000 rad at point 2 is outside \[-3.0718"),
        (NAMES, changed(2, 1, 1.5), "collision", "the path of somebody collides: .* with "),
    ],
)
def test_what_is_wrong_with_a_path_is_said(
    model: CollisionModel, names: Any, rows: Any, reason: str, text: str
) -> None:
    with pytest.raises(PlanningError, match=text) as error:
        asked(model, rows, names)
    assert error.value.reason == reason
    assert isinstance(error.value, PlannerFault) == (reason == "failed"), "a fault of the planner, not of this goal"
    assert len(str(error.value)) < 400


def test_a_planner_that_is_out_of_order_ends_the_search_at_once_and_another_answer_does_not() -> None:
    context = context_of("green", "green")
    pour = PourParameters(axis_in_bowl_x=0.15, axis_in_bowl_z=0.09, axis_in_cup_x=-0.2, axis_in_cup_z=0.3, pitch=-2.2)

    class Broken(free_space.Own):
        error: type[PlanningError] = PlannerFault
        calls = 0

        def plan(self, *arguments: Any) -> Any:
            self.calls += 1
            if self.calls < 3:
                raise self.error("failed", "out of order")
            return super().plan(*arguments)

    planner = PourPlanner(PANDA)
    planner.free_space = broken = Broken()
    with pytest.raises(PlannerFault, match=r"^out of order$"):
        planner.plan(context, pour)
    assert broken.calls == 1
    planner.free_space = broken = Broken()
    broken.error = PlanningError
    assert planner.plan(context, pour).phases and broken.calls == 3
    planner.close()


def test_planners_are_found_by_name() -> None:
    assert free_space.names()[:2] == ["own", "moveit"]
    assert isinstance(free_space.create("own"), free_space.Own)
    with pytest.raises(ConfigError, match="choose one of own, moveit"):
        free_space.create("omvel")
    with pytest.raises(ConfigError, match="lacks plan, close"):
        free_space._check("mine", type("Mine", (), {"options": free_space.NoOptions}))
    with pytest.raises(ConfigError, match="is no class"):
        free_space._check("mine", free_space.Own())


def test_moveit_is_refused_without_a_node() -> None:
    pytest.importorskip("rclpy")
    with pytest.raises(ConfigError, match="works in the planner node only"):
        free_space.create("moveit")


# ---- the suite, against planners that break a rule ------------------------------------------------------


class Straight(free_space.Own):
    """Sees no obstacle, and keeps nothing upright."""

    def plan(self, space: Any, start: Any, goal: Any, rng: Any, config: Any) -> Any:
        return rrt.straight(start, goal, config.resolution)


class Coarse(free_space.Own):
    """Gives corners only."""

    def plan(self, *arguments: Any) -> Any:
        return super().plan(*arguments)[::4]


class Short(free_space.Own):
    """Does not arrive."""

    def plan(self, *arguments: Any) -> Any:
        return super().plan(*arguments)[:-1]


class Untidy(free_space.Own):
    """Leaves an obstacle behind."""

    def plan(self, space: Any, *arguments: Any) -> Any:
        path = super().plan(space, *arguments)
        space.model.add_obstacle("left behind", [Box((0.01, 0.01, 0.01), (0.0, 0.0, 3.0))])
        return path


class Tilting(free_space.Own):
    """Takes no notice of what must stay upright."""

    def plan(self, space: Any, start: Any, goal: Any, rng: Any, config: Any) -> Any:
        via = (start + goal) / 2
        via[5] += 0.3
        parts = rrt.straight(start, via, config.resolution), rrt.straight(via, goal, config.resolution)[1:]
        return np.concatenate(parts)


@pytest.mark.parametrize(
    ("broken", "test", "error"),
    [
        (Straight, "paths_lead_from_start_to_goal_and_touch_nothing", AssertionError),
        (Coarse, "paths_lead_from_start_to_goal_and_touch_nothing", AssertionError),
        (Short, "paths_lead_from_start_to_goal_and_touch_nothing", AssertionError),
        (Tilting, "what_is_held_stays_upright", AssertionError),
        (Straight, "a_goal_that_touches_something_is_refused", pytest.fail.Exception),
        (Untidy, "the_world_stays_as_it_is", AssertionError),
    ],
)
def test_a_planner_that_breaks_a_rule_fails(broken: Any, test: str, error: type[BaseException]) -> None:
    model = CollisionModel(PANDA, padding=0.003)
    open_scene(model)
    with pytest.raises(error):
        getattr(PlannerConformance(), f"test_{test}")(model, broken())
    model.close()
