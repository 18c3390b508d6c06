"""The world with the real physics engine: determinism, no leaks, scoring, arms, pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from memristor_bdnn.active.evaluate import designed_policy
from memristor_bdnn.active.trials import LocalTrials
from memristor_bdnn.benchmark.escim.sessions import RememberingTrials
from memristor_bdnn.errors import ArmError, Cancelled, ConfigError, PlanningError
from memristor_bdnn.motion.plan import MotionPlan
from memristor_bdnn.skills.pouring.context import PourParameters
from memristor_bdnn.skills.pouring.pool import trial_of
from memristor_bdnn.skills.pouring.skill import PouringSkill
from memristor_bdnn.skills.pouring.vessels import context_of
from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig
from memristor_bdnn.skills.protocol import TrialOutcome

PAIR = context_of("blue", "red")
POUR = PourParameters(0.05, 0.05, -0.5, 0.5, -2.4)
TOO_SHORT = PourParameters(0.05, 0.1, -0.5, 0.5, -1.5708)


@pytest.fixture(scope="module")
def world() -> Iterator[PouringWorld]:
    with PouringWorld() as made:
        yield made


@pytest.fixture(scope="module")
def audited() -> Iterator[PouringWorld]:
    with PouringWorld(WorldConfig(audit=True)) as made:
        yield made


@pytest.fixture(scope="module")
def arm_world() -> Iterator[PouringWorld]:
    with PouringWorld(WorldConfig(arm="panda", weld_wide_cups=False, whole_motion=True)) as made:
        yield made


@pytest.fixture(scope="module")
def arm_plan() -> MotionPlan:
    from memristor_bdnn.motion import arms
    from memristor_bdnn.skills.pouring.motion import PourPlanner

    planner = PourPlanner(arms.load("panda"))
    plan = planner.plan(PAIR, PourParameters(0.1, 0.12, -0.3, 0.4, -2.6), seed=0)
    planner.close()
    return plan


def test_a_good_pour_fills_the_bowl(world: PouringWorld) -> None:
    world.reset(1, PAIR)
    outcome = world.pour_cup_alone(POUR)
    assert outcome.success and outcome.score > 0
    assert outcome.fraction_in_bowl + outcome.fraction_in_cup + outcome.fraction_spilled == pytest.approx(1)


@pytest.mark.parametrize("bowl", ["white", "red", "large_red"])  # steep, leaning, wide
def test_the_bowl_stands_on_the_table(world: PouringWorld, bowl: str) -> None:
    world.reset(2, context_of(bowl, "red"))
    world.pour_cup_alone(TOO_SHORT)
    assert abs(world.snapshot().bowl[0][2]) < 0.0005


def test_a_timid_pour_leaves_beads_in_the_cup(world: PouringWorld) -> None:
    world.reset(1, PAIR)
    outcome = world.pour_cup_alone(TOO_SHORT)
    assert not outcome.success and outcome.fraction_in_cup > 0.2


def test_a_pour_beside_the_bowl_spills(world: PouringWorld) -> None:
    world.reset(1, PAIR)
    outcome = world.pour_cup_alone(PourParameters(0.75, 0.05, -0.75, 0.75, -2.0))
    assert outcome.fraction_spilled > 0.5


def test_the_same_seed_gives_the_same_outcome_whatever_ran_before(world: PouringWorld) -> None:
    context, parameters = trial_of(11)
    world.reset(11, context)
    first = world.pour_cup_alone(parameters)
    world.reset(12)
    world.pour_cup_alone(parameters)
    world.reset(11, context)
    assert world.pour_cup_alone(parameters) == first
    with PouringWorld() as other:
        other.reset(11, context)
        assert other.pour_cup_alone(parameters) == first


def test_another_plane_of_the_pour_changes_little(world: PouringWorld) -> None:
    for yaw in (0.0, 2.0):
        world.reset(3, PAIR)
        assert world.pour_cup_alone(POUR, yaw).success


def test_no_bead_goes_through_a_wall(audited: PouringWorld) -> None:
    for seed in range(100, 106):
        context, parameters = trial_of(seed)
        audited.reset(seed, context)
        outcome = audited.pour_cup_alone(parameters)
        assert outcome.details["leaks"] == 0, f"seed {seed}"


def test_the_audit_sees_a_leak(audited: PouringWorld) -> None:
    """The check above can fail: a bead put under the bowl's floor is counted."""
    from memristor_bdnn.skills.pouring.audit import LeakAudit

    audited.reset(1, PAIR)
    scene = audited._build(np.array([[1, 0, 0, 0.5], [0, 1, 0, 0.3], [0, 0, 1, 0.2], [0, 0, 0, 1.0]]))
    audit = LeakAudit(scene)
    audited._bullet.resetBasePositionAndOrientation(scene.beads[0], (0.5, 0.3, 0.1), (0, 0, 0, 1))
    audit.look()
    assert audit.leaks == 1
    audited._bullet.resetBasePositionAndOrientation(scene.beads[1], (0.9, 0.3, -0.1), (0, 0, 0, 1))
    audit.look()
    assert audit.leaks == 3  # it left the cup sideways and is under the table


def test_a_bowl_that_tips_over_is_scored(world: PouringWorld) -> None:
    world.reset(2, PAIR)

    def push(phase: str, fraction: float) -> None:
        if phase == "tilt":
            world._bullet.resetBaseVelocity(world._scene.bowl, (0, 0.3, 0.4), (9.0, 0, 0))

    outcome = world.pour_cup_alone(POUR, progress=push)
    assert outcome.details["bowl_tipped"] and not outcome.success
    assert np.isfinite(outcome.score)


def test_a_trial_can_be_cancelled(world: PouringWorld) -> None:
    world.reset(1, PAIR)
    with pytest.raises(Cancelled, match="stopped during"):
        world.pour_cup_alone(POUR, cancelled=lambda: True)


def test_a_world_without_a_scene_or_an_arm_says_what_to_do() -> None:
    with PouringWorld() as fresh:
        with pytest.raises(ConfigError, match="call reset"):
            fresh.pour_cup_alone(POUR)
        fresh.reset(0)
        with pytest.raises(ConfigError, match="has no arm"):
            fresh.joint_state()
        with pytest.raises(ConfigError, match="has no arm"):
            fresh.pour_with_arm(None)


def test_with_an_arm_candidates_keep_the_room_that_the_planner_asks_for() -> None:
    from memristor_bdnn.skills.pouring.geometry import arm_clearance, is_valid

    pair = context_of("large_red", "purple")
    skill = PouringSkill()
    near = [
        is_valid(pair, skill.sample_candidates(pair.array(), 400, np.random.default_rng(1), arm), arm_clearance(pair))
        for arm in ("", "panda")
    ]
    assert not near[0].all() and near[1].all()


def test_the_skill_runs_trials_and_draws_valid_candidates() -> None:
    from memristor_bdnn.skills.pouring.geometry import is_valid

    skill, rng = PouringSkill(), np.random.default_rng(0)
    context = skill.sample_context(rng)
    candidates = skill.sample_candidates(context, 40, rng)
    assert candidates.shape == (40, 5) and is_valid(context, candidates).all()
    assert skill.encode(context, candidates).shape == (40, 11)
    trials = LocalTrials(skill)
    outcome = trials.run(context, candidates[0], seed=4)
    assert outcome.feasible and outcome == trials.run(context, candidates[0], seed=4)
    outcomes: dict[bytes, TrialOutcome] = {}
    for _ in range(2):  # two sessions share what one of them has simulated
        remembering = RememberingTrials(trials, outcomes)
        assert remembering.run(context, candidates[0], seed=4) == outcome
        assert remembering.run(context, candidates[0], seed=4) is outcomes[next(iter(outcomes))]
        assert remembering.executed == 2 and len(outcomes) == 1
    remembering.run(context, candidates[0], seed=5)
    assert len(outcomes) == 2
    trials.close()


def test_with_an_arm_every_trial_is_planned_first(monkeypatch: pytest.MonkeyPatch) -> None:
    skill, rng = PouringSkill(), np.random.default_rng(1)
    trials = LocalTrials(skill, "panda")
    context = trials.sample_context(rng)
    parameters = skill.sample_candidates(context, 1, rng, trials.arm)[0]
    outcome = trials.run(context, parameters, seed=3)
    assert outcome.feasible and outcome.details["mode"] == "arm" and outcome.details["planning_time_s"] > 0

    def refuse(*_: object, **__: object) -> None:
        raise PlanningError("no_ik", "out of reach")

    monkeypatch.setattr(trials.motion, "plan", refuse)
    refused = trials.run(context, parameters, seed=3)
    assert not refused.feasible and refused.score == refused.fraction == 0.0
    assert refused.details == {"seed": 3, "reason": "no_ik", "text": "out of reach"}
    trials.close()


def test_the_arm_pours_as_the_cup_alone_does(arm_world: PouringWorld) -> None:
    from memristor_bdnn.skills.pouring.motion import PourPlanner

    planner = PourPlanner(arm_world._description)
    parameters = PourParameters(0.1, 0.12, -0.3, 0.4, -2.6)
    plan = planner.plan(PAIR, parameters, seed=0)
    arm_world.reset(5, PAIR)
    phases: list[str] = []
    outcome = arm_world.pour_with_arm(plan, arm_world.arm, progress=lambda phase, fraction: phases.append(phase))
    assert list(dict.fromkeys(phases)) == ["approach", "settle", "pour", "retreat", "wait"]
    assert outcome.details["grasp"] == "hand" and outcome.details["tracking_error_rad"] < 0.02
    state = arm_world.joint_state()
    assert state["positions"] == pytest.approx(plan.part("retreat").end, abs=0.02)
    arm_world.reset(5, PAIR)
    alone = arm_world.pour_cup_alone(parameters)
    assert outcome.success == alone.success and abs(outcome.fraction_in_bowl - alone.fraction_in_bowl) < 0.3
    with PouringWorld(WorldConfig(arm="panda")) as hasty:  # stops when nothing can change any more
        hasty.reset(5, PAIR)
        early = hasty.pour_with_arm(plan)
    assert early.success == outcome.success and early.details["steps"] < outcome.details["steps"]
    approach, pour, retreat = plan.trajectories
    broken = replace(plan, trajectories=(approach, replace(pour, positions=pour.positions + 0.3), retreat))
    arm_world.reset(5, PAIR)
    with pytest.raises(ArmError, match="away from where the trajectory starts"):
        arm_world.pour_with_arm(broken)
    planner.close()


def test_beads_ride_in_the_cup_until_it_is_at_the_bowl(arm_plan: MotionPlan) -> None:
    with PouringWorld(WorldConfig(arm="panda", audit=True)) as world:
        world.reset(5, PAIR)
        seen: dict[str, list[int]] = {}
        moved: list[float] = []

        def look(phase: str, _: float) -> None:
            scene = world._scene
            assert scene is not None
            seen.setdefault(phase, []).append(len(scene.beads))
            if phase == "approach":
                (position, quaternion), beads = world.snapshot().cup, world.snapshot().beads
                turn = np.array(world._bullet.getMatrixFromQuaternion(quaternion)).reshape(3, 3)
                assert (beads - position) @ turn == pytest.approx(world.setup.positions, abs=1e-9)
                moved.append(position[1])

        outcome = world.pour_with_arm(arm_plan, progress=look)
        n = len(world.setup.radii)
        assert set(seen["approach"]) == {0} and set(seen["settle"]) == set(seen["pour"]) == {n}
        assert abs(moved[-1] - moved[0]) > 0.05 and outcome.details["leaks"] == 0
        assert outcome.details["beads"] > 0.9 * n and outcome.success
        cup = world._bullet.getDynamicsInfo(world._scene.cup, -1)[0]
        assert cup == pytest.approx(world.setup.cup_mass)  # that of its beads is theirs again


def test_a_trial_with_the_arm_is_the_same_whatever_ran_before(arm_plan: MotionPlan) -> None:
    found = []
    with PouringWorld(WorldConfig(arm="panda")) as world:
        for seed in (5, 6, 5):
            world.reset(seed, PAIR)
            found.append(world.pour_with_arm(arm_plan))
    assert found[0] == found[2] and found[0] != found[1]
    with PouringWorld(WorldConfig(arm="panda", beads_on_the_way=True)) as other:
        other.reset(5, PAIR)
        simulated = other.pour_with_arm(arm_plan)
    assert simulated.success == found[0].success
    assert abs(simulated.fraction_in_bowl - found[0].fraction_in_bowl) < 0.15


def test_a_cup_too_wide_for_the_hand_is_refused_or_welded(arm_world: PouringWorld) -> None:
    wide = context_of("blue", "large_orange", cup_width=1.1)
    arm_world.reset(0, wide)
    with pytest.raises(ConfigError, match=r"cup_diameter = 93.5 mm: the hand of panda opens 80.0 mm"):
        arm_world.check_grasp()
    with PouringWorld(WorldConfig(arm="panda")) as welding:
        welding.reset(0, wide)
        assert welding.check_grasp() == "weld"
        welding.reset(0, PAIR)
        assert welding.check_grasp() == "hand"


def test_pictures_show_the_scene(world: PouringWorld) -> None:
    world.reset(1, PAIR)
    before = world.render(width=160, height=120, supersample=1)
    world.pour_cup_alone(POUR)
    after = world.render(width=160, height=120, supersample=1)
    assert before.shape == after.shape == (120, 160, 3) and before.dtype == np.uint8
    assert before.std() > 10 and np.abs(before.astype(int) - after).max() > 50
    with pytest.raises(ConfigError, match="unknown view 'top': choose one of side, arm, front"):
        world.render("top")
    with pytest.raises(ConfigError, match="allowed 16 to 4096"):
        world.render(width=3)


def test_the_designed_policy_is_valid_for_drawn_pairs() -> None:
    from memristor_bdnn.skills.pouring.geometry import is_valid

    skill, rng = PouringSkill(), np.random.default_rng(2)
    valid = []
    for _ in range(10):
        context = skill.sample_context(rng)
        valid.append(bool(is_valid(context, designed_policy(skill)(context, np.empty((0, 5)), rng)[None])[0]))
    assert np.mean(valid) >= 0.9
