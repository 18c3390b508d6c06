"""Whole pours: exact along the cup's path, continuous, within limits, free of collisions, refused with a reason."""

import dataclasses

import numpy as np
import pytest

from memristor_bdnn.errors import PlanningError
from memristor_bdnn.motion import arms, timing
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.ik import solvers as ik
from memristor_bdnn.motion.ladder import Ladder
from memristor_bdnn.motion.upright import tilt_of
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION, cup_pose
from memristor_bdnn.skills.pouring.grasp import grasp
from memristor_bdnn.skills.pouring.motion import PlannerConfig, PourPlanner
from memristor_bdnn.skills.pouring.vessels import bowl_of, context_of, cup_of, slats

PANDA = arms.load("panda")
CONTEXT = context_of("green", "green")
POUR = PourParameters(axis_in_bowl_x=0.15, axis_in_bowl_z=0.09, axis_in_cup_x=-0.2, axis_in_cup_z=0.3, pitch=-2.2)
CONFIG = PlannerConfig(budget=30.0)


@pytest.fixture(scope="module")
def planner():
    made = PourPlanner(PANDA, CONFIG)
    yield made
    made.close()


@pytest.fixture(scope="module")
def plan(planner):
    return planner.plan(CONTEXT, POUR, seed=1)


def test_the_whole_is_one_motion_from_home_to_home(plan):
    whole = plan.whole()
    np.testing.assert_array_equal(whole.start, PANDA.home)
    np.testing.assert_allclose(whole.end, PANDA.home, atol=1e-9)
    assert whole.duration == pytest.approx(sum(p.duration for p in plan.trajectories))
    assert np.abs(np.diff(whole.positions, axis=0)).max() < 0.1
    for part in plan.trajectories:
        np.testing.assert_allclose(part.velocities[[0, -1]], 0.0, atol=1e-9)


def test_velocities_and_accelerations_stay_within_the_limits(plan):
    whole = plan.whole()
    assert (np.abs(whole.velocities) <= PANDA.velocity).all()
    assert (np.abs(whole.accelerations) <= PANDA.acceleration).all()
    assert PANDA.within_limits(whole.positions, margin=-1e-9).all()


def test_the_cup_follows_its_path_exactly_and_rests_at_the_final_pitch(planner, plan):
    tilt = plan.part("pour").part(0.0, plan.details["tilt_time"])
    poses = planner.solver.chain.fk(tilt.fine(0.02)) @ plan.object_in_tool
    ups = poses[:, :3, 2]
    # pitch about the horizontal axis across the pour's plane
    plane = np.array([np.cos(plan.details["yaw"]), np.sin(plan.details["yaw"]), 0.0])
    pitch = np.unwrap(np.arctan2(ups @ plane, ups[:, 2]))
    for pose, angle in zip(poses, pitch, strict=True):
        wanted = cup_pose(CONTEXT, POUR, float(angle), BOWL_POSITION, plan.details["yaw"])
        assert np.abs(pose[:3, 3] - wanted[:3, 3]).max() < 1e-3
        assert np.abs(pose[:3, 2] - wanted[:3, 2]).max() < 2e-3
    assert pitch[0] == pytest.approx(0.0, abs=1e-6)
    assert pitch[-1] == pytest.approx(POUR.pitch, abs=1e-6)
    rest = plan.part("pour").part(plan.details["tilt_time"], plan.details["tilt_time"] + CONFIG.wait)
    assert np.ptp(rest.positions, axis=0).max() < 1e-9
    assert rest.duration == pytest.approx(CONFIG.wait, abs=0.03)


def test_the_tilt_has_a_constant_rate_but_for_its_ramps(planner, plan):
    times = np.linspace(0.4, plan.details["tilt_time"] - 0.4, 40)
    ups = (planner.solver.chain.fk(plan.part("pour").sample(times)[0]) @ plan.object_in_tool)[:, :3, 2]
    plane = np.array([np.cos(plan.details["yaw"]), np.sin(plan.details["yaw"]), 0.0])
    pitch = np.unwrap(np.arctan2(ups @ plane, ups[:, 2]))
    np.testing.assert_allclose(np.diff(pitch) / np.diff(times), -plan.details["tilt_rate"], rtol=0.02)
    assert plan.details["tilt_rate"] >= CONFIG.slowest_tilt * CONFIG.tilt_rate


def test_the_full_cup_travels_upright_and_gently(planner, plan):
    for part in (plan.part("approach"), plan.part("retreat")):
        fine = part.fine(0.01)
        assert tilt_of(planner.solver.chain, PANDA.cup_axis, fine).max() < 0.03
        dense = part.sample(np.linspace(0, part.duration, 400))[0]
        cup = (planner.solver.chain.fk(dense) @ plan.object_in_tool)[:, :3, 3]
        speed = np.abs(np.diff(cup, axis=0)) / (part.duration / 399)
        assert speed.max() < 1.05 * CONFIG.cup_speed


def test_nothing_touches_along_the_way_measured_by_another_model(plan):
    model = CollisionModel(PANDA)
    model.add_obstacle("bowl", slats(bowl_of(CONTEXT)), BOWL_POSITION)
    model.open_fingers(plan.grip_width)
    model.hold(slats(cup_of(CONTEXT)), plan.object_in_tool)
    whole = plan.whole().fine(0.02)
    assert not [contact for q in whole for contact in model.near(q, 0.0)]
    # the padding is kept by all but the cup over the bowl, whose distance the control parameters give
    close = [c for q in whole[::4] for c in model.near(q, 0.0025) if {c.first, c.second} != {"cup", "bowl"}]
    assert not close
    model.close()


def test_the_same_seed_gives_the_same_plan(planner, plan):
    again = planner.plan(CONTEXT, POUR, seed=1)
    np.testing.assert_array_equal(again.whole().positions, plan.whole().positions)
    other = planner.plan(CONTEXT, POUR, seed=2)
    assert other.details["yaw"] != plan.details["yaw"]


def test_a_plan_starts_where_the_arm_is(planner, plan):
    start = plan.part("approach").sample(0.5 * plan.part("approach").duration)[0]
    np.testing.assert_array_equal(planner.plan(CONTEXT, POUR, start=start, seed=3).part("approach").start, start)


@pytest.mark.parametrize(
    ("start", "reason", "text"),
    [
        (np.array(PANDA.home) + np.eye(7)[6] * 0.5, "start_mismatch", "tilted by 0.500"),
        (np.array(PANDA.home) + np.eye(7)[6] * 3.0, "start_mismatch", "panda_joint7"),
        (np.zeros(6), "start_mismatch", "shape"),
        (np.full(7, np.nan), "start_mismatch", "finite"),
    ],
)
def test_unusable_starts_are_refused(planner, start, reason, text):
    with pytest.raises(PlanningError, match=text) as error:
        planner.plan(CONTEXT, POUR, start=start)
    assert error.value.reason == reason


def test_a_pour_whose_cup_hits_the_bowl_is_refused_at_once(planner):
    low = dataclasses.replace(POUR, axis_in_bowl_x=0.5, axis_in_bowl_z=0.0, axis_in_cup_z=0.7)
    with pytest.raises(PlanningError, match="not valid for this bowl and cup") as error:
        planner.plan(CONTEXT, low)
    assert error.value.reason == "collision"


def test_an_unreachable_bowl_and_a_short_budget_have_names(monkeypatch, planner):
    short = PlannerConfig(budget=0.01)
    object.__setattr__(short, "budget", 1e-6)  # less than an option may be: a fast machine plans within 0.01 s
    monkeypatch.setattr(planner, "config", short)
    with pytest.raises(PlanningError, match=r"1e-06 s") as error:
        planner.plan(CONTEXT, POUR, seed=1)
    assert error.value.reason == "timeout"
    far = PourPlanner(arms.load("kuka_iiwa"), PlannerConfig(budget=2.0))
    monkeypatch.setattr(
        "memristor_bdnn.skills.pouring.motion.pour_path",
        lambda *a: np.asarray([cup_pose(CONTEXT, POUR, 0.0, (1.5, 0.0, 0.0))] * a[3]),
    )
    with pytest.raises(PlanningError, match="out of reach") as error:
        far.plan(CONTEXT, POUR)
    assert error.value.reason == "no_ik"
    far.close()


def test_wide_cups_are_welded_and_narrow_ones_gripped():
    wide, narrow = cup_of(context_of("green", "large_orange", cup_width=1.15)), cup_of(CONTEXT)
    held = grasp(PANDA, wide)
    assert (held.weld, held.width) == (True, 0.0)
    held = grasp(PANDA, narrow)
    assert not held.weld
    assert held.width == pytest.approx(2 * narrow.outer_radius(narrow.height / 2))
    # every angle holds the cup at the same place of the hand, upright with the tool's x axis
    for angle in (0.0, 1.0, -2.5):
        pose = held.at(angle)
        np.testing.assert_allclose(pose[:3, 2], (PANDA.cup_axis, 0, 0), atol=1e-12)
        np.testing.assert_allclose(pose[:3, 3], held.at(0.0)[:3, 3], atol=1e-12)
    assert grasp(arms.load("kuka_iiwa"), narrow).weld


def test_the_second_arm_pours_through_the_same_description():
    arm = arms.load("kuka_iiwa")
    other = PourPlanner(arm, CONFIG)
    plan = other.plan(CONTEXT, POUR)
    assert plan.attached
    assert timing.excess(plan.whole(), arm.velocity, arm.acceleration) <= 1.0
    final = other.solver.chain.fk(plan.part("pour").sample(plan.details["tilt_time"])[0]) @ plan.object_in_tool
    wanted = cup_pose(CONTEXT, POUR, POUR.pitch, BOWL_POSITION, plan.details["yaw"])
    np.testing.assert_allclose(final[:3, [2, 3]], wanted[:3, [2, 3]], atol=1e-6)
    other.close()


# Published trials whose cup passes or stays close above the bowl: context, parameters.
CLOSE = [
    ((0.0833, 0.085, 0.0675, 0.0436, 0.057, 0.1109), (-0.0586, 0.1448, 0.0152, 0.4057, -2.1394)),
    ((0.0712, 0.1201, 0.066, 0.0666, 0.0687, 0.059), (0.2884, 0.0457, -0.3011, 0.1842, -2.8266)),
]
TOO_CLOSE = [
    ((0.0845, 0.1426, 0.0399, 0.0516, 0.0619, 0.0655), (-0.0622, 0.0652, -0.5754, 0.5587, -2.159)),
    ((0.1075, 0.1926, 0.0641, 0.0567, 0.0661, 0.0676), (0.4119, 0.0712, 0.3353, 0.2081, -1.8893)),
]


def test_an_executed_plan_stays_within_two_hundredths_of_a_radian(plan):
    from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

    with PouringWorld(WorldConfig(arm="panda", whole_motion=True)) as world:
        world.reset(0, CONTEXT)
        outcome = world.pour_with_arm(plan)
    assert outcome.details["tracking_error_rad"] < 0.02
    assert outcome.fraction_in_cup + outcome.fraction_in_bowl + outcome.fraction_spilled == pytest.approx(1.0)


def test_executed_plans_follow_their_path_and_touch_nothing(plan):
    from memristor_bdnn.benchmark.planning import executed

    planner = PourPlanner(PANDA)
    plans = [(0, CONTEXT, plan)]
    for seed, (context, parameters) in enumerate(CLOSE):
        pair = PourContext.from_array(np.array(context))
        plans.append((seed, pair, planner.plan(pair, PourParameters.from_array(np.array(parameters)))))
    found = executed(PANDA, plans)
    assert found["executed"] == 3 and found["executed_max_joint_error_rad"] < 0.002
    assert found["executed_with_arm_contact"] == found["executed_with_cup_contact"] == 0
    for context, parameters in TOO_CLOSE:
        with pytest.raises(PlanningError, match="comes within"):
            planner.plan(PourContext.from_array(np.array(context)), PourParameters.from_array(np.array(parameters)))
    planner.close()


# ---- the ladder ----------------------------------------------------------------------------------


def test_the_ladders_path_is_the_best_of_all():
    import itertools

    rng = np.random.default_rng(0)
    rungs = [rng.uniform(-1, 1, (4, 3)) for _ in range(4)]
    cap = np.array([1.2, 1.2, 1.2])
    costs = {}
    for choice in itertools.product(range(4), repeat=4):
        steps = np.diff([rung[i] for rung, i in zip(rungs, choice, strict=True)], axis=0) / cap
        if np.abs(steps).max() <= 1.0:
            costs[choice] = (steps**2).sum()
    best = min(costs, key=costs.get)
    assert tuple(Ladder(rungs).best(cap)) == best
    smaller = Ladder(rungs).without(1, best[1])
    assert len(smaller.rungs[1]) == 3


def test_a_ladder_without_a_path_says_so():
    rungs = [np.zeros((1, 2)), np.ones((1, 2)) * 3]
    with pytest.raises(PlanningError) as error:
        Ladder(rungs).best(np.array([0.5, 0.5]))
    assert error.value.reason == "joint_limits"
    with pytest.raises(PlanningError) as error:
        Ladder(rungs).without(0, 0)
    assert error.value.reason == "collision"


def test_a_ladder_holds_each_posture_once_and_runs_through_full_turns():
    """A six-joint solver's free range is one value; copies of it would be tried and deleted one by one."""
    arm = arms.load("ur5e")
    solver = ik.create(arm)
    poses = solver.chain.fk(np.array(arm.home) + np.linspace(0, 0.5, 6)[:, None] * [1.0, 0, 0, 0, 0, 1.0])
    ladder = Ladder.build(solver, poses, np.linspace(0.0, 0.0, 28))
    assert all(len(rung) <= solver.branches for rung in ladder.rungs)
    # one joint goes from 3 to 3.5 rad: its solutions jump by a turn in between
    turning = np.linspace(3.0, 3.5, 6)
    rungs = [np.array([[(v + np.pi) % (2 * np.pi) - np.pi, 0.0]]) for v in turning]
    with pytest.raises(PlanningError, match="without a jump"):
        Ladder(rungs).best(np.array([0.3, 0.3]))
    assert Ladder(rungs).best(np.array([0.3, 0.3]), None, np.array([True, False])) == [0] * 6


@pytest.mark.parametrize("name", ["ur5e", "ur5e_2f85", "ur3e", "ur10e"])
def test_universal_robots_pour(name):
    planner = PourPlanner(arms.load(name), PlannerConfig(budget=60.0))
    plan = planner.plan(CONTEXT, POUR, seed=0)
    assert planner.arm.within_limits(plan.whole().positions, margin=-1e-9).all()
    assert np.abs(np.diff(plan.whole().fine(0.01), axis=0)).max() <= 0.011
    # begun a turn away, the pour is a turn away too
    start = np.array(planner.arm.home) + np.where(np.array(planner.arm.home) < 0, 2 * np.pi, 0.0)
    start[2] = planner.arm.home[2]
    turned = planner.plan(CONTEXT, POUR, start=start, seed=0)
    assert np.abs(turned.part("pour").start - start).max() < np.pi + 0.5
    planner.close()
