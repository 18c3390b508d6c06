"""Trajectories, timing, collisions and RRT-Connect."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memristor_bdnn.errors import ConfigError, PlanningError
from memristor_bdnn.motion import arms, rrt, timing
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.ik import solvers as ik
from memristor_bdnn.motion.kinematics import rotation, transform
from memristor_bdnn.motion.trajectory import JointTrajectory
from memristor_bdnn.motion.upright import UprightSpace, project, tilt_of
from memristor_bdnn.skills.pouring.vessels import bowl_of, context_of, cup_of, slats
from memristor_bdnn.testing import scenes

PANDA = arms.load("panda")
CONTEXT = context_of("green", "green")
PADDING = 0.003


# ---- trajectories --------------------------------------------------------------------------------


def line(n=5, dof=2):
    t = np.linspace(0.0, 1.0, n)
    q = t[:, None] * np.ones(dof)
    return JointTrajectory(t, q, np.ones((n, dof)), np.zeros((n, dof)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"times": [0, 1, 1, 2, 3]}, "do not increase at sample 2"),
        ({"times": [1, 2, 3, 4, 5]}, "starts at 1"),
        ({"positions": np.full((5, 2), np.nan)}, "10 values are not finite"),
        ({"velocities": np.zeros((5, 3))}, "velocities have shape"),
        ({"positions": np.zeros((4, 2))}, "do not match"),
    ],
)
def test_malformed_trajectories_are_refused(change, text):
    values = {
        "times": np.arange(5.0),
        "positions": np.zeros((5, 2)),
        "velocities": np.zeros((5, 2)),
        "accelerations": np.zeros((5, 2)),
    }
    with pytest.raises(ConfigError, match=text):
        JointTrajectory(**{**values, **change})


def test_sampling_interpolates_and_holds_both_ends():
    path = line()
    position, velocity = path.sample([-1.0, 0.33, 2.0])
    np.testing.assert_allclose(position[:, 0], [0.0, 0.33, 1.0])
    np.testing.assert_allclose(velocity[:, 0], [0.0, 1.0, 0.0])
    assert not path.positions.flags.writeable


def test_joining_refuses_a_jump_and_names_its_size():
    path = line()
    back = path.reversed()
    whole = JointTrajectory.concatenate([path, back])
    assert whole.duration == pytest.approx(2.0)
    assert np.diff(whole.times).min() > 0
    np.testing.assert_allclose(whole.end, path.start)
    np.testing.assert_allclose(back.velocities, -1.0)
    with pytest.raises(ConfigError, match="jumps by 1"):
        JointTrajectory.concatenate([path, path])


def test_fine_configurations_are_close_together():
    path = timing.along(np.array([[0.0, 0.0], [1.0, -0.5], [0.4, 0.9]]), [2, 2], [5, 5], 2, step=0.1)
    fine = path.fine(0.01)
    assert np.abs(np.diff(fine, axis=0)).max() <= 0.011
    np.testing.assert_allclose(fine[[0, -1]], [path.start, path.end], atol=1e-12)
    assert len(fine) < 400


# ---- timing --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), knots=st.integers(2, 12), dof=st.integers(1, 7), scale=st.floats(1e-3, 3.0))
def test_any_path_is_timed_within_its_limits(seed, knots, dof, scale):
    rng = np.random.default_rng(seed)
    points = scale * rng.normal(size=(knots, dof))
    velocity, acceleration = rng.uniform(0.1, 3.0, dof), rng.uniform(0.5, 20.0, dof)
    path = timing.along(points, velocity, acceleration, dof)
    assert np.diff(path.times).min() > 0
    assert (np.abs(path.velocities) <= velocity).all()
    assert (np.abs(path.accelerations) <= acceleration).all()
    np.testing.assert_allclose([path.start, path.end], points[[0, -1]], atol=1e-9)
    np.testing.assert_allclose(path.velocities[[0, -1]], 0.0, atol=1e-9)
    # the samples belong together: integrating the velocity gives the positions
    moved = np.cumsum(0.5 * (path.velocities[1:] + path.velocities[:-1]) * np.diff(path.times)[:, None], axis=0)
    assert np.abs(path.start + moved - path.positions[1:]).max() < 0.02 * max(1.0, np.ptp(points))


def test_a_repeated_configuration_and_a_single_one_stay_where_they_are():
    q = np.array([[0.1, 0.2]])
    assert timing.along(np.repeat(q, 3, axis=0), [1, 1], [1, 1], 2).duration == 0.0


def test_the_spline_is_smooth_and_its_derivatives_are_right():
    rng = np.random.default_rng(0)
    spline = timing.Spline([0, 1, 2.5, 3], rng.normal(size=(4, 2)))
    s, h = np.linspace(0.01, 2.99, 50), 1e-5
    _, first, second = spline(s)
    np.testing.assert_allclose((spline(s + h)[0] - spline(s - h)[0]) / (2 * h), first, atol=1e-6)
    np.testing.assert_allclose((spline(s + h)[1] - spline(s - h)[1]) / (2 * h), second, atol=1e-4)
    np.testing.assert_allclose(spline(spline.knots)[0], spline.points, atol=1e-12)
    with pytest.raises(ConfigError, match="increasing"):
        timing.Spline([0, 0, 1], np.zeros((3, 1)))


def test_ramped_keeps_a_constant_rate_in_the_middle():
    spline = timing.Spline(np.linspace(0, 2, 20), np.linspace(0, 2, 20)[:, None] * np.ones(2))
    path = timing.ramped(spline, 1.0, 5.0, 2)
    middle = (path.times > 0.25) & (path.times < path.duration - 0.25)
    np.testing.assert_allclose(path.velocities[middle], 1.0, atol=1e-6)
    assert path.duration == pytest.approx(2.0 + 0.2, rel=1e-3)


def test_our_timing_is_within_a_third_of_the_time_optimal_one():
    toppra = pytest.importorskip("toppra", reason="toppra is not installed: no time-optimal reference")
    from toppra import algorithm, constraint

    toppra.setup_logging("ERROR")
    rng = np.random.default_rng(1)
    low, high = PANDA.limits()
    limits = [np.stack([-np.array(v), np.array(v)], axis=1) for v in (PANDA.velocity, PANDA.acceleration)]
    for _ in range(3):
        points = rng.uniform(low, high, (4, 7))
        knots = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        path = toppra.SplineInterpolator(knots, points, bc_type="natural")
        best = algorithm.TOPPRA(
            [constraint.JointVelocityConstraint(limits[0]), constraint.JointAccelerationConstraint(limits[1])], path
        ).compute_trajectory()
        ours = timing.along(points, PANDA.velocity, PANDA.acceleration, 7).duration
        assert 0.98 * best.duration < ours < 1.33 * best.duration


# ---- collisions ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def solver():
    return ik.create(PANDA)


@pytest.fixture(scope="module")
def model():
    made = CollisionModel(PANDA, padding=PADDING)
    yield made
    made.close()


@pytest.fixture
def held(model):
    model.clear_obstacles()
    model.add_obstacle("bowl", slats(bowl_of(CONTEXT)), (0.5, 0.0, 0.0))
    model.hold(slats(cup_of(CONTEXT)), transform(rotation((0, 1, 0), -np.pi / 2)))
    yield model
    model.release()
    model.clear_obstacles()


def test_the_fast_check_never_misses_what_pairwise_measurement_finds(held):
    exact = CollisionModel(PANDA)
    exact.add_obstacle("bowl", slats(bowl_of(CONTEXT)), (0.5, 0.0, 0.0))
    exact.hold(slats(cup_of(CONTEXT)), transform(rotation((0, 1, 0), -np.pi / 2)))
    low, high = PANDA.limits()
    near, false = 0, 0
    for q in np.random.default_rng(0).uniform(low, high, (700, 7)):
        distance = min((c.distance for c in exact.near(q, 0.02)), default=1.0)
        near += 0.0 < distance < PADDING
        if held.free(q):
            assert distance >= PADDING - 1e-4, exact.near(q, 0.02)
        else:
            false += distance > 3 * PADDING
    assert near > 3  # the padding was put to the test
    assert false == 0
    exact.close()


def test_contacts_name_arm_cup_and_obstacles(held):
    home = np.array(PANDA.home)
    assert held.free(home)
    folded = home.copy()
    folded[5] = 0.0
    folded[3] = -3.0
    names = {name for contact in held.contacts(np.array([0, 1.7, 0, -0.3, 0, 1.5, 0])) for name in contact[:2]}
    assert "table" in names
    # somewhere among random configurations the cup meets the arm's own links, the bowl and the table
    low, high = PANDA.limits()
    pairs = {
        frozenset(c[:2])
        for q in np.random.default_rng(1).uniform(low, high, (1500, 7))
        for c in held.contacts(q)
        if "cup" in c[:2]
    }
    partners = {name for pair in pairs for name in pair} - {"cup"}
    assert {"table", "panda_link5"} <= partners
    assert not partners & {"panda_hand", "panda_leftfinger", "panda_rightfinger"}


def test_room_of_an_obstacle_counts_only_between_it_and_the_cup(model, solver):
    model.clear_obstacles()
    # a block 4 mm into the held cup
    home = np.array(PANDA.home)
    tool = model.chain.fk(home)
    box = [scenes.Box((0.02, 0.02, 0.02), (0.0, 0.0, 0.0))]
    for room, free in ((0.0, False), (-0.003, False), (-0.005, True)):
        model.hold(box, np.eye(4))
        model.add_obstacle("block", box, tool[:3, 3] + (0, 0, -0.036))
        model.set_room("block", room)
        assert model.held_gap(home, "block", 0.01) == pytest.approx(-0.004, abs=1e-6)
        found = {c[:2] for c in model.contacts(home) if "cup" in c[:2]}
        assert (not found) == free
        model.clear_obstacles()
    model.release()


def test_padding_beyond_what_contacts_show_is_refused():
    with pytest.raises(ConfigError, match="padding"):
        CollisionModel(PANDA, padding=0.1)


# ---- RRT-Connect ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", [scenes.open_scene, scenes.hard_scene, "random"])
def test_paths_are_fine_exact_at_both_ends_and_padded(model, solver, scene):
    rng = np.random.default_rng(2)
    for _ in range(3):
        scenes.random_scene(model, rng) if scene == "random" else scene(model)
        start, goal = scenes.random_query(model, solver, rng)
        path = rrt.plan(rrt.JointSpace(model), start, goal, rng, rrt.RRTConfig(timeout=30.0))
        np.testing.assert_array_equal(path[[0, -1]], [start, goal])
        assert np.abs(np.diff(path, axis=0)).max() <= 0.01 + 1e-9
        assert not [c for q in path[::3] for c in model.near(q, PADDING)]
    model.clear_obstacles()


def test_the_same_seed_gives_the_same_path(model, solver):
    scenes.hard_scene(model)
    start, goal = scenes.random_query(model, solver, np.random.default_rng(5))
    paths = [
        rrt.plan(rrt.JointSpace(model), start, goal, np.random.default_rng(1), rrt.RRTConfig(timeout=30.0))
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*paths)
    model.clear_obstacles()


def test_a_blocked_end_and_an_impossible_goal_are_told_apart(model, solver):
    home = np.array(PANDA.home)
    goal = home.copy()
    goal[0] -= 2.0
    tool = model.chain.fk(goal)[:3, 3]
    model.add_obstacle("block", [scenes.Box((0.05, 0.05, 0.05), (0.0, 0.0, 0.0))], tool)
    with pytest.raises(PlanningError, match=r"goal of the motion touches something: .*block") as error:
        rrt.plan(rrt.JointSpace(model), home, goal, np.random.default_rng(0))
    assert error.value.reason == "collision"
    model.clear_obstacles()
    # a wall between both, higher than the arm reaches
    model.add_obstacle("wall", [scenes.Box((0.6, 0.01, 1.5), (0.82, 0.0, 1.5))])
    assert model.free(home)
    assert model.free(goal)
    with pytest.raises(PlanningError, match=r"most often in the way: panda\w+ with wall") as error:
        rrt.plan(rrt.JointSpace(model), home, goal, np.random.default_rng(0), rrt.RRTConfig(timeout=0.05))
    assert error.value.reason == "timeout"
    model.clear_obstacles()


def test_a_space_whose_edges_creep_ends_in_an_error_and_not_in_a_loop():
    start, goal = np.zeros(2), np.ones(2)

    class Creeping:
        def sample(self, rng):
            return rng.uniform(-1, 1, 2)

        def edge(self, a, b, resolution):
            return None if a is start else np.stack([a, a + 1e-4 * (b - a)])

        def blocked(self, edge):
            return None

    with pytest.raises(PlanningError) as error:
        rrt.plan(Creeping(), start, goal, np.random.default_rng(0), rrt.RRTConfig(iterations=20, timeout=30.0))
    assert error.value.reason == "timeout"


def test_ompl_paths_pass_the_same_checks(model, solver):
    pytest.importorskip("ompl.geometric", reason="OMPL is not installed: its back end is not tested")
    from memristor_bdnn.motion import ompl as ompl_backend

    rng = np.random.default_rng(2)
    scenes.hard_scene(model)
    start, goal = scenes.random_query(model, solver, rng)
    path = ompl_backend.plan(rrt.JointSpace(model), start, goal, rng, rrt.RRTConfig(timeout=30.0))
    np.testing.assert_allclose(path[[0, -1]], [start, goal], atol=1e-9)
    assert np.abs(np.diff(path, axis=0)).max() <= 0.01 + 1e-9
    assert model.first_contact(path) is None
    model.clear_obstacles()


def test_spread_visits_every_index_once_and_the_end_first():
    for n in (0, 1, 2, 7, 64, 100):
        assert sorted(rrt.spread(n)) == list(range(n))
    assert rrt.spread(100)[0] == 99


# ---- upright -------------------------------------------------------------------------------------


def test_projection_makes_the_cup_upright_and_moves_little(solver):
    rng = np.random.default_rng(0)
    q = np.array(PANDA.home) + rng.uniform(-0.1, 0.1, (50, 7))
    upright = project(solver.chain, PANDA.cup_axis, q)
    assert np.isfinite(upright).all()
    assert tilt_of(solver.chain, PANDA.cup_axis, upright).max() < 1e-3
    assert np.abs(upright - q).max() < 0.3


def test_upright_edges_stay_upright_between_their_points(model, solver):
    space = UprightSpace(model, solver, (0.2, -0.5, 0.1), (0.7, 0.5, 0.6))
    rng = np.random.default_rng(3)
    drawn = 0
    for _ in range(40):
        edge = space.edge(space.sample(rng), space.sample(rng), 0.05)
        if edge is None:
            continue
        drawn += 1
        middles = 0.5 * (edge[1:] + edge[:-1])
        assert tilt_of(solver.chain, PANDA.cup_axis, middles).max() < 0.02
        assert PANDA.within_limits(edge, margin=-1e-6).all()
    assert drawn > 5
