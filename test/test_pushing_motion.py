"""The arm's pushes: plans within all limits, a straight even stroke, and the same outcomes as without an arm."""

import numpy as np
import pytest

from memristor_bdnn import skills
from memristor_bdnn.errors import ConfigError, PlanningError
from memristor_bdnn.motion import arms
from memristor_bdnn.motion.collision import CollisionModel

SKILL = skills.load("pushing")
PANDA = arms.load("panda")
N = 30


@pytest.fixture(scope="module")
def planner():
    made = SKILL.motion("panda")
    yield made
    made.close()


@pytest.fixture(scope="module")
def planned(planner):
    """(seed, context, parameters, plan) of random valid pushes that have a plan, out of N."""
    found = []
    for seed in range(N):
        rng = np.random.default_rng([5, seed])
        context = SKILL.sample_context(rng)
        parameters = SKILL.sample_candidates(context, 1, rng, "panda")[0]
        try:
            found.append((seed, context, parameters, planner.plan(context, parameters, seed=seed)))
        except PlanningError:
            continue
    return found


def test_nearly_all_valid_pushes_are_planned(planned):
    assert len(planned) >= 0.9 * N


def test_plans_start_at_home_join_and_keep_the_limits(planned):
    for _, _, _, plan in planned:
        assert plan.phases == SKILL.phases
        whole = plan.whole()
        np.testing.assert_allclose(whole.start, PANDA.home, atol=1e-9)
        assert PANDA.within_limits(whole.positions).all()
        assert (np.abs(whole.velocities) <= np.array(PANDA.velocity) * (1 + 1e-6)).all()
        assert (np.abs(whole.accelerations) <= np.array(PANDA.acceleration) * (1 + 1e-6)).all()


def test_the_stroke_is_straight_level_and_as_fast_as_asked(planner, planned):
    chain = planner.solver.chain
    for _, _, parameters, plan in planned:
        stroke = plan.part("push")
        times = np.linspace(0.0, stroke.duration, 200)
        tool = chain.fk(stroke.sample(times)[0])
        points = tool[:, :3, 3]
        assert np.ptp(points[:, 2]) < 1e-3, "it stays at one height"
        along = points[-1, :2] - points[0, :2]
        along /= np.linalg.norm(along)
        beside = (points[:, :2] - points[0, :2]) @ np.array([-along[1], along[0]])
        assert np.abs(beside).max() < 1e-3, "it is straight"
        assert (tool[:, 2, 2] < -0.999).all(), "the hand points down"
        speed = np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1) / np.diff(times)
        assert speed.max() == pytest.approx(parameters[4], rel=0.03)


def test_nothing_is_touched_on_the_way(planned):
    model = CollisionModel(PANDA)
    model.open_fingers(0.0)
    for _, _, _, plan in planned[:10]:
        for phase in ("approach", "retreat"):
            assert model.first_contact(plan.part(phase).fine(0.05)) is None
    model.close()


def test_the_same_seed_gives_the_same_plan(planner, planned):
    seed, context, parameters, plan = planned[0]
    again = planner.plan(context, parameters, seed=seed)
    np.testing.assert_array_equal(again.whole().positions, plan.whole().positions)


def test_bad_starts_and_values_are_refused_by_name(planner, planned):
    _, context, parameters, _ = planned[0]
    wrong = parameters.copy()
    wrong[4] = 9.0
    with pytest.raises(ConfigError, match="speed = 9 m/s: allowed"):
        planner.plan(context, wrong)
    with pytest.raises(PlanningError) as error:
        planner.plan(context, parameters, start=np.zeros(3))
    assert error.value.reason == "start_mismatch"


def test_the_arm_pushes_as_the_free_fingers_do(planned):
    """Labels of a pool, made without an arm, hold for the arm: at least nine of ten agree on success."""
    with_arm, alone = SKILL.world("panda"), SKILL.world()
    same, apart = 0, []
    for seed, context, parameters, plan in planned[:10]:
        with_arm.reset(seed, context)
        alone.reset(seed, context)
        one, two = with_arm.execute(parameters, plan).measures, alone.execute(parameters).measures
        same += (SKILL.score(one) > 0) == (SKILL.score(two) > 0)
        apart.append(abs(one[0] - two[0]))
    assert same >= 9
    assert np.median(apart) < 0.003
    with_arm.close()
    alone.close()
