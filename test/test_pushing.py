"""Pushing: spaces, geometry, physics, score, pool, recipe and film; the arm is in test_pushing_arm.py."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from memristor_bdnn import skills
from memristor_bdnn.accelerator.simulated import SimulatedAccelerator
from memristor_bdnn.acquisitions.scores import confident
from memristor_bdnn.device import presets
from memristor_bdnn.errors import Cancelled, ConfigError
from memristor_bdnn.learners import create
from memristor_bdnn.skills import pool as pools
from memristor_bdnn.skills.pushing.features import PUSH_FEATURE_NAMES, push_features
from memristor_bdnn.skills.pushing.geometry import ACCELERATION, FINGERS, STANDOFF, ends, path_length, touch
from memristor_bdnn.skills.pushing.setup import FRICTION, PushSetup, draw
from memristor_bdnn.skills.pushing.spaces import CONTEXT, PARAMETERS, TOLERANCE, Context, Parameters, score_of
from memristor_bdnn.skills.pushing.world import PushingWorld

SKILL = skills.load("pushing")


def context(**changes: float) -> np.ndarray:
    found = dict(
        shape=-1, length=0.07, width=0.07, height=0.05, yaw=0.0, surface=1, goal_distance=0.12, goal_direction=0.0
    )
    return np.array([{**found, **changes}[name] for name in CONTEXT.names])


def parameters(**changes: float) -> np.ndarray:
    found = dict(direction=0.0, side=0.0, offset=0.0, distance=0.05, speed=0.3)
    return np.array([{**found, **changes}[name] for name in PARAMETERS.names])


@pytest.fixture(scope="module")
def world():
    with PushingWorld() as made:
        yield made


def push(world: PushingWorld, seed: int, c: np.ndarray, p: np.ndarray) -> np.ndarray:
    world.reset(seed, c)
    return world.execute(p).measures


# -- spaces and score ------------------------------------------------------------------------


def test_errors_name_the_value_and_its_range(world):
    with pytest.raises(ConfigError, match=r"length = 0.3 m: allowed \[0.05, 0.1\] m"):
        world.reset(0, context(length=0.3))
    world.reset(0, context())
    with pytest.raises(ConfigError, match=r"speed = 2 m/s: allowed \[0.15, 0.6\] m/s"):
        world.execute(parameters(speed=2.0))
    with pytest.raises(ConfigError, match="expected 8 values"):
        world.reset(0, np.zeros(3))
    with PushingWorld() as fresh, pytest.raises(ConfigError, match="call reset"):
        fresh.execute(parameters())


def test_random_contexts_are_in_range_and_cylinders_are_round():
    rng = np.random.default_rng(0)
    rows = np.array([SKILL.sample_context(rng) for _ in range(200)])
    CONTEXT.check_rows(rows)
    cylinders = rows[rows[:, 0] < 0]
    assert 60 < len(cylinders) < 140
    assert (cylinders[:, 1] == cylinders[:, 2]).all() and (cylinders[:, 4] == 0).all()
    assert set(rows[:, 5]) == {0.0, 1.0, 2.0}


def test_score_is_zero_at_the_tolerance_and_falls_all_the_way():
    assert score_of(0.0) == 1.0 and score_of(TOLERANCE) == 0.0
    assert score_of(0.9 * TOLERANCE) > 0 > score_of(1.1 * TOLERANCE)
    scores = [score_of(d) for d in np.linspace(0, 1, 200)]
    assert (np.diff(scores) < 0).all() and min(scores) > -1
    assert SKILL.score(np.array([TOLERANCE / 2, np.nan, np.nan, np.nan, np.nan])) > 0
    assert SKILL.fraction(np.array([TOLERANCE])) == 0.5
    with pytest.raises(ConfigError, match="distance = nan"):
        score_of(float("nan"))


# -- geometry --------------------------------------------------------------------------------


def test_the_touch_is_where_the_shapes_meet():
    straight = Parameters(*parameters())
    assert touch(Context(*context()), straight).at[0] == pytest.approx(-0.035 - FINGERS[0], abs=1e-4)
    box = Context(*context(shape=1, length=0.10, width=0.06))
    assert touch(box, straight).at[0] == pytest.approx(-0.05 - FINGERS[0], abs=1e-9)
    # turned by 45 degrees its corner comes first
    corner = Context(*context(shape=1, yaw=np.pi / 4))
    assert touch(corner, straight).at[0] == pytest.approx(-0.035 * np.sqrt(2) - FINGERS[0], abs=1e-9)


def test_the_contact_pushes_to_the_side_it_faces():
    # the hand passes a cylinder's centre on the left: its edge pushes the cylinder to the right
    cylinder = touch(Context(*context()), Parameters(*parameters(offset=0.025, side=0.3)))
    assert cylinder.slope[0] == pytest.approx(0.3, abs=0.06) or cylinder.slope[0] < 0
    assert cylinder.lever[0] == pytest.approx(0.0, abs=1e-4)
    mirrored = touch(Context(*context()), Parameters(*parameters(offset=-0.025, side=-0.3)))
    assert mirrored.slope[0] == pytest.approx(-cylinder.slope[0]) and mirrored.at[0] == pytest.approx(cylinder.at[0])
    box = touch(Context(*context(shape=1, yaw=0.3)), Parameters(*parameters()))
    twin = touch(Context(*context(shape=1, yaw=-0.3)), Parameters(*parameters()))
    assert box.slope[0] == pytest.approx(0.3) and twin.slope[0] == pytest.approx(-0.3)
    assert box.lever[0] == pytest.approx(-twin.lever[0]) and abs(box.lever[0]) > 0.005


def test_valid_pushes_touch_and_stay_in_reach():
    rng = np.random.default_rng(1)
    for _ in range(10):
        found = SKILL.sample_context(rng)
        rows = SKILL.sample_candidates(found, 50, rng)
        c, p = Context(*found), Parameters(*rows.T)
        assert touch(c, p).hits.all() and SKILL.valid(found, rows).all()
        begin, end = ends(c, p)
        assert np.linalg.norm(end - begin, axis=1) == pytest.approx(path_length(p))
    # fingers that would push with their edge
    assert not SKILL.valid(context(shape=1, yaw=0.2), parameters(direction=0.3, side=-0.5))[0]


# -- physics ---------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", [0, 2])
@pytest.mark.parametrize("shape", [-1, 1])
def test_a_straight_push_goes_as_far_as_friction_says(world, shape, surface):
    for speed in (0.2, 0.4):
        c = context(shape=shape, surface=surface)
        measures = push(world, 3, c, parameters(speed=speed))
        setup = world.setup
        slide = speed**2 / (2 * 9.81 * setup.friction)
        assert measures[1] == pytest.approx(0.05 - setup.shift[0] + slide, abs=0.006)
        assert abs(measures[2]) < 0.006 and abs(measures[3]) < 0.1 and measures[4] == 0
        assert measures[0] == pytest.approx(np.hypot(setup.shift[0] + measures[1] - 0.12, measures[2]), abs=0.002)


def test_an_object_with_more_grip_stops_earlier(world):
    reached = [push(world, 4, context(surface=s), parameters(speed=0.5))[1] for s in (0, 1, 2)]
    assert reached[0] > reached[1] + 0.02 > reached[2] + 0.02


def test_an_offset_push_turns_a_box_and_its_mirror_image_the_other_way(world):
    left = push(world, 5, context(shape=1), parameters(offset=0.025, side=0.3, direction=0.0))[3]
    right = push(world, 5, context(shape=1), parameters(offset=-0.025, side=-0.3, direction=0.0))[3]
    assert abs(left) > 0.1 and abs(right) > 0.1 and left * right < 0


def test_same_seed_same_outcome_whatever_ran_before(world):
    c, p = context(shape=1, yaw=0.25), parameters(offset=0.01, side=-0.1)
    first = push(world, 9, c, p)
    push(world, 10, context(), parameters(speed=0.6))
    assert (push(world, 9, c, p) == first).all()
    with PushingWorld() as other:
        assert (push(other, 9, c, p) == first).all()
        other.render("top", 32, 24)
        other.reset(9, c)
        assert (other.execute(p).measures == first).all()
    assert (push(world, 11, c, p) != first).any()
    assert draw(9).row().tolist() == world.reset(9).tolist()


def test_progress_is_told_and_a_trial_can_be_cancelled(world):
    seen: list[tuple[str, float]] = []
    world.reset(1, context())
    world.execute(parameters(), progress=lambda phase, share: seen.append((phase, share)))
    assert [phase for phase in dict.fromkeys(p for p, _ in seen)] == ["approach", "push", "retreat"]
    assert world.progress_measures().shape == (5,)
    with pytest.raises(Cancelled):
        world.execute(parameters(), cancelled=lambda: True)


def test_shapes_and_pictures(world):
    world.reset(1, context(shape=1, yaw=0.2))
    assert [s.kind for s in world.shapes()] == ["box", "cylinder"]
    image = world.render("side", 64, 48, 1)
    assert image.shape == (48, 64, 3) and image.std() > 5
    with pytest.raises(ConfigError, match="unknown view"):
        world.render("nowhere")


# -- skill -----------------------------------------------------------------------------------


def test_features_are_finite_and_the_same_for_a_mirrored_push():
    rng = np.random.default_rng(2)
    for _ in range(20):
        c = SKILL.sample_context(rng)
        rows = SKILL.sample_candidates(c, 8, rng)
        mirrored = c * np.where(np.isin(CONTEXT.names, ("yaw", "goal_direction")), -1, 1)
        other = rows * np.where(np.isin(PARAMETERS.names, ("direction", "side", "offset")), -1, 1)
        made = push_features(SKILL.encode(c, rows))
        assert made.shape == (8, len(PUSH_FEATURE_NAMES)) and np.isfinite(made).all()
        np.testing.assert_allclose(push_features(SKILL.encode(mirrored, other)), made, atol=1e-6)


def test_needed_friction_is_the_surface_s_where_the_goal_is_reached(world):
    gap = 0.12 - 0.05
    speed = float(np.sqrt(2 * 9.81 * FRICTION[1] * gap))
    x = SKILL.encode(context(), parameters(speed=speed))
    assert np.exp(push_features(x)[0, 0]) == pytest.approx(FRICTION[1], rel=1e-6)
    assert np.mean([push(world, s, context(), parameters(speed=speed))[0] < TOLERANCE for s in range(8)]) >= 0.9


def test_the_baseline_is_valid_and_a_lab_names_its_object():
    rng = np.random.default_rng(3)
    for _ in range(20):
        c = SKILL.sample_context(rng)
        assert SKILL.valid(c, SKILL.baseline(c, np.zeros((0, 5)))[None])[0]
    assert SKILL.physical_context(PushSetup(surface="rough")).tolist()[5] == 2
    with pytest.raises(ConfigError, match=r"PushSetup: context: height = 0.5 m"):
        PushSetup(height=0.5)


def test_recipes_name_options_and_features_that_exist():
    for recipes in SKILL.recipes.values():
        for learner, recipe in recipes.items():
            create(learner, SimulatedAccelerator(presets.load("tsinghua_taox_hfox"), 0), _options(recipe.options))
    module, _, name = SKILL.recipes["pushing"]["msgld"].options["features"].partition(":")
    assert getattr(importlib.import_module(module), name) is push_features


def _options(changes):
    return {"n_inputs": len(SKILL.feature_names), **changes}


# -- pool and learning -----------------------------------------------------------------------


def test_the_shipped_pool_is_whole_and_the_task_is_no_walkover():
    pool = SKILL.pool()
    assert len(pool.x) == 5000 and (np.abs(pool.x) <= 1 + 1e-6).all()
    assert pool.rows["seed"].tolist() == list(range(5000))
    assert 0.1 < pool.y.mean() <= 0.4


def test_pool_rows_are_simulated_again_bit_for_bit(world):
    pool = SKILL.pool()
    for seed in (0, 1234, 4999):
        row = pools.simulate(SKILL, world, seed)
        for name in ("context", "parameters", "measures"):
            assert (row[name] == pool.rows[seed][name]).all()


def test_128_random_labels_beat_chance_by_far():
    pool = SKILL.pool()
    rows = np.random.default_rng(0).permutation(5000)
    learner = create(
        "msgld",
        SimulatedAccelerator(presets.load("tsinghua_taox_hfox"), 0),
        _options(SKILL.recipes["pushing"]["msgld"].options),
        0,
    )
    x, y = pool.x[rows[:128]], (pool.score[rows[:128]] + 1) / 2
    learner.fit(x, y)
    learner.learn(x, y)
    sure = confident(learner.predict(pool.x[rows[128:]], 20))
    best = np.argsort(-sure)[:100]
    assert pool.y[rows[128:]][best].mean() > 3 * pool.y.mean()


def test_film_writes_a_gif(tmp_path: Path):
    trial = SimpleNamespace(context=context(), parameters=parameters(speed=0.6, distance=0.02), seed=2)
    SKILL.film(trial, "", tmp_path / "push.gif")
    assert (tmp_path / "push.gif").read_bytes()[:4] == b"GIF8"
    with pytest.raises(ConfigError, match=r"must end in .gif or .mp4"):
        SKILL.film(trial, "", tmp_path / "push.txt")


def test_options_are_checked():
    assert STANDOFF >= PARAMETERS.high[-1] ** 2 / (2 * ACCELERATION)
    with pytest.raises(ConfigError, match="has no option"):
        SKILL.world("", {"timestep": 0.1})
    assert dataclasses.is_dataclass(SKILL.world_options) and dataclasses.is_dataclass(SKILL.motion_options)
