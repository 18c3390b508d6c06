"""Pushing with the arm: plans keep height, speed and limits, and what the arm does agrees with fingers alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from memristor_bdnn import skills
from memristor_bdnn.errors import ConfigError, PlanningError
from memristor_bdnn.skills.pushing.geometry import ACCELERATION, STANDOFF, ends, facing_of, tip_height
from memristor_bdnn.skills.pushing.motion import TIP, PushPlanner
from memristor_bdnn.skills.pushing.spaces import TOLERANCE, Context, Parameters
from memristor_bdnn.skills.pushing.world import PHASES, PushingWorld

SKILL = skills.load("pushing")
SHARE = 0.9  # of random valid pushes that the planner must find


@pytest.fixture(scope="module")
def planner():
    made = SKILL.motion("panda")
    assert isinstance(made, PushPlanner)
    yield made
    made.close()
    made.close()  # twice is harmless


@pytest.fixture(scope="module")
def jobs(planner):
    """Random contexts with valid parameters and their plans (None where there is none)."""
    rng = np.random.default_rng(11)
    found = []
    for seed in range(60):
        context = SKILL.sample_context(rng)
        parameters = SKILL.sample_candidates(context, 1, rng, "panda")[0]
        try:
            found.append((context, parameters, planner.plan(context, parameters, seed=seed)))
        except PlanningError as error:
            assert error.reason in ("no_ik", "collision", "joint_limits", "timeout")
            found.append((context, parameters, None))
    return found


def test_nearly_every_valid_push_can_be_planned_quickly(jobs):
    plans = [plan for _, _, plan in jobs if plan is not None]
    times = [plan.planning_time_s for plan in plans]
    print(f"planned {len(plans)} of {len(jobs)}, median {np.median(times):.3f} s")
    assert len(plans) >= SHARE * len(jobs)
    assert np.median(times) < 0.5


def test_plans_are_within_limits_and_free_of_collisions(planner, jobs):
    arm = planner.arm
    for context, _, plan in jobs[:20]:
        if plan is None:
            continue
        assert plan.phases == PHASES
        whole = plan.whole()
        assert arm.within_limits(whole.fine(0.02), margin=-1e-9).all()
        assert (np.abs(whole.velocities) <= np.array(arm.velocity) * 1.001).all()
        assert (np.abs(whole.accelerations) <= np.array(arm.acceleration) * 1.01).all()
        np.testing.assert_allclose(whole.start, arm.home)
        np.testing.assert_allclose(whole.end, arm.home)
        planner._place_object(Context(*context))
        assert planner.model.first_contact(plan.part("approach").fine(0.01)) is None
        planner.model.clear_obstacles()
        assert planner.model.first_contact(plan.part("push").fine(0.01)) is None
        assert planner.model.first_contact(plan.part("retreat").fine(0.01)) is None


def test_the_hand_keeps_its_height_its_line_and_its_speed(planner, jobs):
    steadily = 0
    for context, parameters, plan in jobs[:20]:
        if plan is None:
            continue
        c, p = Context(*context), Parameters(*parameters)
        push = plan.part("push")
        times = np.linspace(0, push.duration, 400)
        tool = planner.solver.chain.fk(push.sample(times)[0])
        tip = (tool @ plan.object_in_tool)[:, :3, 3]
        assert np.abs(tip[:, 2] - tip_height(c)).max() < 2e-4
        begin, end = (point[0] for point in ends(c, p))
        np.testing.assert_allclose(tip[0, :2], begin, atol=1e-4)
        np.testing.assert_allclose(tip[-1, :2], end, atol=1e-4)
        along = (end - begin) / np.linalg.norm(end - begin)
        beside = (tip[:, :2] - begin) @ np.array([-along[1], along[0]])
        assert np.abs(beside).max() < 2e-4
        assert tool[:, 2, 2].max() < -0.9999  # pointing down
        face = tool[:, :2, 0] @ np.array([np.cos(facing_of(c, p)), np.sin(facing_of(c, p))])
        assert np.abs(face).min() > 0.9999
        speed = np.linalg.norm(np.diff(tip[:, :2], axis=0), axis=1) / np.diff(times)
        ramp = p.speed / ACCELERATION
        brake = ramp + (STANDOFF + p.distance - p.speed * ramp / 2) / p.speed
        steady = (times[:-1] > ramp + 0.02) & (times[1:] < brake - 0.02)
        assert speed[steady] == pytest.approx(p.speed, rel=0.02)
        assert speed.max() < 1.02 * p.speed
        steadily += steady.any()
    assert steadily > 10  # the fastest pushes brake as soon as they have touched


def test_same_seed_same_plan(planner, jobs):
    context, parameters, plan = next(job for job in jobs if job[2] is not None)
    again = planner.plan(context, parameters, seed=jobs.index((context, parameters, plan)))
    assert (again.whole().positions == plan.whole().positions).all()
    assert plan.object_in_tool[2, 3] == TIP


def test_what_cannot_be_planned_says_why(planner, jobs):
    context, parameters, _ = jobs[0]
    with pytest.raises(PlanningError) as caught:
        planner.plan(context, parameters, start=np.zeros(3))
    assert caught.value.reason == "start_mismatch"
    low = np.array(planner.arm.lower) - 1.0
    with pytest.raises(PlanningError) as caught:
        planner.plan(context, parameters, start=low)
    assert caught.value.reason == "start_mismatch"
    with pytest.raises(ConfigError, match="has no gripper_joints"):
        SKILL.motion("kuka_iiwa")


def test_the_arm_agrees_with_fingers_alone(planner):
    """Sensible pushes: centres within 12 mm in nine of ten, the same verdict in nine of ten."""
    rng = np.random.default_rng(5)
    gaps, same = [], []
    with PushingWorld("panda") as world:
        for seed in range(16):
            context = SKILL.sample_context(rng)
            parameters = SKILL.baseline(context, np.zeros((0, 5))) + [rng.normal(0, 0.1), rng.normal(0, 0.1), 0, 0, 0]
            try:
                plan = planner.plan(context, parameters, seed=seed)
            except PlanningError:
                continue
            world.reset(seed, context)
            alone = world.execute(parameters).measures
            held = world.execute(parameters, plan)
            assert held.details["tracking_error_rad"] < 1e-3
            gaps.append(np.linalg.norm(alone[1:3] - held.measures[1:3]))
            same.append((alone[0] < TOLERANCE) == (held.measures[0] < TOLERANCE))
            if seed == 0:
                repeated = world.execute(parameters, plan)
                assert (repeated.measures == held.measures).all()
                state = world.joint_state()
                assert state["names"] == planner.arm.joint_names
                np.testing.assert_allclose(state["positions"], planner.arm.home, atol=0.01)
    assert len(gaps) >= 12
    assert np.quantile(gaps, 0.9) < 0.012 and np.mean(same) >= 0.9


def test_a_plan_needs_an_arm_and_the_phases_of_a_push(jobs):
    context, parameters, plan = next(job for job in jobs if job[2] is not None)
    with PushingWorld() as world:
        world.reset(0, context)
        with pytest.raises(ConfigError, match="this world has no arm"):
            world.execute(parameters, plan)
        with pytest.raises(ConfigError, match="this world has no arm"):
            world.joint_state()
    shapes = SKILL.plan_shapes(context, parameters, plan)
    assert [shape.name for shape in shapes] == ["object", "goal", "push"]
    assert shapes[-1].points.shape == (2, 3)


def test_film_of_a_trial_with_the_arm(tmp_path: Path, jobs):
    context, parameters, _ = next(job for job in jobs if job[2] is not None)
    trial = SimpleNamespace(context=context, parameters=parameters, seed=0)
    SKILL.film(trial, "panda", tmp_path / "push.gif")
    assert (tmp_path / "push.gif").stat().st_size > 5000
