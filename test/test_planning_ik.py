"""Inverse kinematics: every solution, none wrong, none lost, for every way of providing it."""

import dataclasses
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion import arms
from memristor_bdnn.motion.ik import check as ik_check
from memristor_bdnn.motion.ik import solvers as ik
from memristor_bdnn.motion.ik.turns import apart, towards, unwrapped
from memristor_bdnn.motion.kinematics import chain, invert

ARMS = {name: arms.load(name) for name in arms.BUILT_IN}
SOLVERS = {name: ik.create(arm) for name, arm in ARMS.items()}
both = pytest.mark.parametrize("name", arms.BUILT_IN)


def random_configurations(name, n, seed):
    low, high = ARMS[name].limits()
    return np.random.default_rng(seed).uniform(low, high, (n, len(low)))


@both
def test_forward_kinematics_is_pybullets(name):
    import pybullet
    from pybullet_utils.bullet_client import BulletClient

    from memristor_bdnn.motion.ports.simulated import SimulatedArm

    client = BulletClient(pybullet.DIRECT)
    arm = SimulatedArm(client, ARMS[name])
    for q in random_configurations(name, 5, 0):
        arm.set_joints(q)
        np.testing.assert_allclose(SOLVERS[name].chain.fk(q), arm.tool_pose(), atol=1e-6)
    client.disconnect()


@both
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_solution_reaches_the_pose_within_the_limits_and_the_known_one_is_there(name, seed):
    solver, known = SOLVERS[name], random_configurations(name, 200, seed)
    poses = solver.chain.fk(known)
    q, valid = solver.solve(poses, solver.free_of(known))
    assert ARMS[name].within_limits(q[valid]).all()
    np.testing.assert_allclose(solver.chain.fk(q[valid]), np.repeat(poses, valid.sum(axis=1), axis=0), atol=1e-9)
    distance = np.where(valid, apart(q, known[:, None]), np.inf).min(axis=1)
    assert distance.max() < 1e-5


@both
def test_no_solution_is_lost_to_a_numerical_search(name):
    solver, known = SOLVERS[name], random_configurations(name, 25, 1)
    low, high = ARMS[name].limits()
    lost, found = ik_check.lost_solutions(
        solver, solver.chain.fk(known), solver.free_of(known), low, high, np.random.default_rng(2), starts=12
    )
    assert found > 100
    assert lost == 0


@both
def test_the_numerical_search_notices_a_lost_branch(name):
    solver, known = SOLVERS[name], random_configurations(name, 15, 1)
    low, high = ARMS[name].limits()

    class Forgetful:
        chain, free_of = solver.chain, staticmethod(solver.free_of)

        @staticmethod
        def solve(poses, free):
            q, valid = solver.solve(poses, free)
            valid[:, ::2] = False
            return q, valid

    lost, _ = ik_check.lost_solutions(
        Forgetful, solver.chain.fk(known), solver.free_of(known), low, high, np.random.default_rng(2), starts=12
    )
    assert lost > 0


def test_solutions_change_smoothly_when_the_pose_moves_a_little():
    solver, known = SOLVERS["panda"], random_configurations("panda", 300, 3)
    poses = solver.chain.fk(known)
    q, valid = solver.solve(poses, known[:, 6])
    moved = poses.copy()
    moved[:, 0, 3] += 1e-7
    near, near_valid = solver.solve(moved, known[:, 6])
    low, high = ARMS["panda"].limits()
    inner = valid & ((q > low + 1e-3) & (q < high - 1e-3)).all(axis=2)
    # a solution can only vanish at the edge of the workspace, where two branches meet
    both_there = np.where(near_valid[:, None, :], np.abs(q[:, :, None] - near[:, None]).max(axis=3), np.inf)
    vanished = inner & (both_there.min(axis=2) > 1e-2)
    assert vanished.sum() <= 2


def test_zero_shoulder_angle_and_the_far_end_of_joint_six_are_exact():
    solver = SOLVERS["panda"]
    known = random_configurations("panda", 50, 4)
    known[:25, 1] = 0.0
    known[25:, 5] = np.linspace(3.2, 3.75, 25)
    poses = solver.chain.fk(known)
    q, valid = solver.solve(poses, known[:, 6])
    np.testing.assert_allclose(solver.chain.fk(q[valid]), np.repeat(poses, valid.sum(axis=1), axis=0), atol=1e-9)
    assert valid.any(axis=1).all()
    assert (np.where(valid, np.abs(q - known[:, None])[..., 5], np.inf).min(axis=1) < 1e-6).all()


def test_straight_spherical_joints_of_the_iiwa_are_exact():
    solver = SOLVERS["kuka_iiwa"]
    known = random_configurations("kuka_iiwa", 60, 4)
    known[:20, 1] = 0.0
    known[20:40, 5] = 0.0
    known[40:, [1, 5]] = 0.0
    poses = solver.chain.fk(known)
    q, valid = solver.solve(poses, solver.free_of(known))
    np.testing.assert_allclose(solver.chain.fk(q[valid]), np.repeat(poses, valid.sum(axis=1), axis=0), atol=1e-9)
    assert valid[20:40].any(axis=1).all()


UNIVERSAL = tuple(name for name in arms.BUILT_IN if name.startswith("ur"))
DH = {  # d1, a2, a3, d4, d5, d6 in metres, as the maker publishes them
    "ur3e": (0.15185, -0.24355, -0.2132, 0.13105, 0.08535, 0.0921),
    "ur5e": (0.1625, -0.425, -0.3922, 0.1333, 0.0997, 0.0996),
    "ur10e": (0.1807, -0.6127, -0.57155, 0.17415, 0.11985, 0.11655),
}


@pytest.mark.parametrize("name", DH)
def test_a_universal_robot_has_the_published_kinematics(name):
    d1, a2, a3, d4, d5, d6 = DH[name]
    rows = [(d1, 0, np.pi / 2), (0, a2, 0), (0, a3, 0), (d4, 0, np.pi / 2), (d5, 0, -np.pi / 2), (d6, 0, 0)]
    flange = dataclasses.replace(ARMS[name], tool_offset=(0.0, 0.0, 0.0), mount_position=(0.0, 0.0))
    for q in random_configurations(name, 5, 7):
        pose = np.diag([-1.0, -1.0, 1.0, 1.0])  # the controller's base frame faces backwards
        for angle, (d, a, twist) in zip(q, rows, strict=True):
            c, s, ct, st = np.cos(angle), np.sin(angle), np.cos(twist), np.sin(twist)
            pose = pose @ [[c, -s * ct, s * st, a * c], [s, c * ct, -c * st, a * s], [0, st, ct, d], [0, 0, 0, 1]]
        np.testing.assert_allclose(chain(flange).fk(q), pose, atol=1e-12)


@pytest.mark.parametrize("name", UNIVERSAL)
@pytest.mark.parametrize("joint", [2, 4])
def test_singular_poses_of_universal_robots_have_exact_answers(name, joint):
    """The arm stretched out; the last axis parallel to the shoulder's, exactly and nearly."""
    solver, known = SOLVERS[name], random_configurations(name, 60, 4)
    known[:, joint] = np.repeat([0.0, 1e-12, 1e-9, 1e-6, np.pi / 2 - np.pi / 2, -1e-10], 10)
    poses = solver.chain.fk(known)
    q, valid = solver.solve(poses, np.zeros(60))
    assert valid.any(axis=1).all()
    np.testing.assert_allclose(solver.chain.fk(q[valid]), np.repeat(poses, valid.sum(axis=1), axis=0), atol=1e-8)


def test_the_solver_of_universal_robots_says_which_axes_do_not_fit():
    with pytest.raises(ConfigError, match="needs 6 joints, the arm has 7"):
        ik.create(dataclasses.replace(ARMS["panda"], ik="ur"))


def test_a_mounted_arm_is_solved_where_it_stands():
    for name in ("panda", "kuka_iiwa", "ur5e"):
        moved = dataclasses.replace(
            ARMS[name], mount_height=0.4, mount_position=(-0.1, 0.2), mount_rotation=(0.3, -0.5, 1.0)
        )
        solver, known = ik.create(moved), random_configurations(name, 20, 8)
        poses = solver.chain.fk(known)
        assert np.abs(poses - SOLVERS[name].chain.fk(known)).max() > 0.1
        q, valid = solver.solve(poses, solver.free_of(known))
        np.testing.assert_allclose(solver.chain.fk(q[valid]), np.repeat(poses, valid.sum(axis=1), axis=0), atol=1e-9)
        assert (np.where(valid, apart(q, known[:, None]), np.inf).min(axis=1) < 1e-5).all()


def test_full_turns_are_chosen_by_the_neighbours_within_the_limits():
    low, high = np.array([-2 * np.pi, -1.0]), np.array([2 * np.pi, 1.0])
    around = np.linspace(-1.0, 4.0, 40)
    path = np.stack([(around + np.pi) % (2 * np.pi) - np.pi, np.zeros(40)], axis=1)
    run, inside = unwrapped(path, low, high, np.array([-6.0, 0.0]))
    assert inside.all()
    np.testing.assert_allclose(run[:, 0], around, atol=1e-12)  # -2 pi - 1 would be outside
    run, inside = unwrapped(path, low, high + [4.1, 0.0], np.array([5.0, 0.0]))
    assert inside.all()
    np.testing.assert_allclose(run[:, 0], around + 2 * np.pi, atol=1e-12)
    _, inside = unwrapped(np.stack([3 * around, path[:, 1]], axis=1), low, high, np.zeros(2))  # 15 rad of 4 pi
    assert not inside.all()
    near = towards(np.array([[-3.0, 0.5]]), np.array([3.2, -0.5]), low, high)
    np.testing.assert_allclose(near, [[-3.0 + 2 * np.pi, 0.5]])


@both
def test_poses_out_of_reach_have_no_solution_and_no_warning(name, recwarn):
    pose = np.eye(4)[None].repeat(3, axis=0)
    pose[:, 0, 3] = (5.0, 1.4, 100.0)
    _, valid = SOLVERS[name].solve(pose, np.zeros(3))
    assert not valid.any()
    assert not recwarn.list


def test_a_solver_that_does_not_fit_the_arm_is_refused():
    with pytest.raises(ConfigError, match=r"panda.*does not fit"):
        ik.create(dataclasses.replace(ARMS["kuka_iiwa"], ik="panda"))
    with pytest.raises(ConfigError, match="stacked along z"):
        ik.create(dataclasses.replace(ARMS["panda"], ik="srs"))


def test_an_arm_whose_joints_are_not_the_urdfs_is_refused():
    wrong = dataclasses.replace(ARMS["panda"], joint_names=ARMS["panda"].joint_names[::-1])
    with pytest.raises(ConfigError, match="joints of the URDF"):
        chain(wrong)
    with pytest.raises(ConfigError, match="no path from"):
        chain(dataclasses.replace(ARMS["panda"], base_link="panda_link99"))


# ---- compiled IKFast modules ---------------------------------------------------------------------


@pytest.fixture
def module():
    """What a compiled IKFast module offers, made from our solver: poses of panda_link8, joints in reverse order."""
    arm = dataclasses.replace(ARMS["panda"], tool_link="panda_link8")
    inner, order = ik.create(arm), slice(None, None, -1)

    def get_ik(turn, position, free):
        assert isinstance(turn, list)
        assert len(free) == 1
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = turn, position
        q, valid = inner.solve(pose[None], np.array(free))
        found = [(q_ + 2 * np.pi)[order].tolist() for q_ in q[valid]]  # not wrapped, as IKFast leaves it
        return found or None

    def get_fk(joints):
        pose = inner.chain.fk(np.array(joints)[order])
        return [pose[:3, 3].tolist(), pose[:3, :3].tolist()]

    made = types.ModuleType("ikfast_of_the_test")
    made.get_ik, made.get_fk, made.solve = get_ik, get_fk, get_ik
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def plugin(**options):
    values = {
        "tool_link": "panda_link8",
        "joint_order": ARMS["panda"].joint_names[::-1],
        "free_joint": "panda_joint7",
        **options,
    }
    return dataclasses.replace(ARMS["panda"], ik="ikfast", ik_module="ikfast_of_the_test", ik_options=values)


def test_a_compiled_module_gives_the_same_solutions_as_ours(module):
    solver, known = ik.create(plugin(get_ik="solve")), random_configurations("panda", 50, 5)
    poses = solver.chain.fk(known)
    q, valid = solver.solve(poses, known[:, 6])
    ours, ours_valid = SOLVERS["panda"].solve(poses, known[:, 6])
    assert valid.sum() == ours_valid.sum()
    for i in range(50):
        a, b = np.sort(q[i][valid[i]], axis=0), np.sort(ours[i][ours_valid[i]], axis=0)
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"get_ik": "nothing"}, "has no function nothing"),
        ({"joint_order": ARMS["panda"].joint_names}, "get_fk.*joint_order"),
        ({"tool_link": "panda_hand"}, "get_fk.*tool_link"),
        ({"free_joint": "joint9"}, "free_joint"),
        ({"free_joints": ["panda_joint7"]}, "did you mean free_joint"),
    ],
)
def test_a_misconfigured_module_is_refused_with_what_to_check(module, options, text):
    with pytest.raises(ConfigError, match=text):
        ik.create(plugin(**options))


def test_a_module_with_wrong_solutions_fails_its_self_test(module):
    right = module.get_ik

    def wrong(turn, position, free):
        return [[q + 1e-4 for q in s] for s in right(turn, position, free) or []]

    module.get_ik = wrong
    with pytest.raises(ConfigError, match="does not fit"):
        ik.create(plugin())


def test_a_missing_module_is_named():
    with pytest.raises(ConfigError, match="no_such_ikfast"):
        ik.create(dataclasses.replace(ARMS["panda"], ik="ikfast", ik_module="no_such_ikfast"))


def test_invert_is_the_inverse():
    poses = SOLVERS["panda"].chain.fk(random_configurations("panda", 10, 6))
    np.testing.assert_allclose(invert(poses) @ poses, np.broadcast_to(np.eye(4), (10, 4, 4)), atol=1e-12)
