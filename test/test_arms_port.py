"""The decisions of every arm port: what is refused, what fails with which reason, and that the arm then holds."""

import numpy as np
import pytest

from memristor_bdnn.errors import ArmError, ConfigError
from memristor_bdnn.motion import arms, timing
from memristor_bdnn.motion.ports import base as port
from memristor_bdnn.motion.ports.base import PortConfig, TrajectoryMonitor, Verdict
from memristor_bdnn.motion.ports.simulated import SimulatedArm, SimulatedPort

PANDA = arms.load("panda")


def motion(delta=0.3):
    home = np.array(PANDA.home)
    return timing.along(
        np.stack([home, home + delta * np.array([1, -1, 1, 1, 1, 1, 1])]), PANDA.velocity, PANDA.acceleration, 7
    )


def monitor(trajectory, **options):
    return TrajectoryMonitor(trajectory, PANDA.joint_names, 10.0, PortConfig(**options))


def run(watch, positions, times):
    for t in times:
        judgement = watch.sample(10.0 + t, positions(t))
        if judgement.verdict is not Verdict.RUNNING:
            return judgement
    return judgement


def test_a_motion_on_its_path_succeeds_once_the_goal_is_reached():
    path = motion()
    watch = monitor(path)
    times = np.arange(0.0, path.duration + 0.2, 0.01)
    assert run(watch, lambda t: path.sample(t)[0], times[times < path.duration]).verdict is Verdict.RUNNING
    assert run(watch, lambda t: path.sample(t)[0], times[times >= path.duration]).verdict is Verdict.SUCCEEDED
    assert watch.progress == 1.0


def test_deviation_names_the_joint_and_the_distance_and_is_final():
    path = motion()
    watch = monitor(path, path_tolerance=0.05)
    off = np.zeros(7)
    off[3] = 0.2
    failed = watch.sample(10.1, path.sample(0.1)[0] + off)
    assert (failed.verdict, failed.reason) == (Verdict.FAILED, "deviation")
    assert "panda_joint4 is 0.2000 rad" in failed.text
    assert watch.sample(10.2, path.sample(0.2)[0]) is failed
    with pytest.raises(ArmError) as error:
        failed.raise_if_failed()
    assert error.value.reason == "deviation"


def test_silence_is_stale_whether_noticed_by_a_tick_or_by_the_next_sample():
    path = motion()
    watch = monitor(path, stale_after=0.5)
    assert watch.tick(10.4).verdict is Verdict.RUNNING
    assert watch.tick(10.6).reason == "stale_state"
    watch = monitor(path, stale_after=0.5)
    assert watch.sample(10.6, path.sample(0.6)[0]).reason == "stale_state"


@pytest.mark.parametrize("latency", [0.3, 2.0])
@pytest.mark.parametrize("lag", [0.0, 0.11, 0.29])
def test_execution_that_lags_within_the_latency_is_no_deviation(latency: float, lag: float):
    path = motion()
    watch = monitor(path, latency=latency, path_tolerance=0.03)
    times = np.arange(0.0, path.duration + 0.5, 0.01)
    assert run(watch, lambda t: path.sample(max(t - lag, 0.0))[0], times).verdict is Verdict.SUCCEEDED


def test_resting_away_from_the_goal_fails_after_the_goal_time():
    path = motion()
    watch = monitor(path, goal_tolerance=0.01, goal_time=0.3)
    times = np.arange(0.0, path.duration + 1.0, 0.01)
    failed = run(watch, lambda t: path.sample(t)[0] + 0.02, times)
    assert failed.reason == "goal_tolerance"
    assert watch.worst == pytest.approx(0.02)


def test_a_goal_that_never_comes_is_a_timeout():
    path = motion()
    watch = monitor(path, stale_after=60.0, goal_time=0.5)
    assert watch.tick(10.0 + path.duration + 61.0).reason in ("stale_state", "timeout")
    watch = monitor(path, stale_after=2.0, goal_time=0.0)
    for t in np.arange(0.0, path.duration, 0.1):
        watch.sample(10.0 + t, path.sample(t)[0])
    late = watch.tick(10.0 + path.duration + 2.05)
    assert late.reason in ("stale_state", "timeout")


@pytest.mark.parametrize("positions", [np.zeros(6), np.full(7, np.nan)])
def test_a_malformed_joint_state_fails(positions):
    assert monitor(motion()).sample(10.0, positions).reason == "invalid_joints"


def test_start_is_refused_from_elsewhere_or_from_an_old_state():
    path = motion()
    port.check_start(path, PANDA.joint_names, path.start, 0.1, PortConfig())
    with pytest.raises(ArmError, match=r"panda_joint1 is 0\.1000 rad") as error:
        port.check_start(path, PANDA.joint_names, path.start + np.eye(7)[0] * 0.1, 0.1, PortConfig())
    assert error.value.reason == "start_mismatch"
    with pytest.raises(ArmError) as error:
        port.check_start(path, PANDA.joint_names, path.start, 0.6, PortConfig())
    assert error.value.reason == "stale_state"
    with pytest.raises(ArmError):
        port.check_start(path, PANDA.joint_names, np.full(7, np.nan), 0.1, PortConfig())


def test_scaling_slows_speed_and_acceleration_and_keeps_the_path():
    path = motion()
    slow = port.prepare(path, PANDA, PortConfig(velocity_scaling=0.5, acceleration_scaling=0.04))
    assert slow.duration == pytest.approx(path.duration / 0.2)
    assert np.abs(slow.accelerations).max() == pytest.approx(0.04 * np.abs(path.accelerations).max())
    np.testing.assert_array_equal(slow.positions, path.positions)


def test_limits_are_checked_before_sending():
    path = motion(delta=0.3)
    fast = port.JointTrajectory(path.times / 10, path.positions, path.velocities * 10, path.accelerations * 100)
    with pytest.raises(ArmError, match="velocity") as error:
        port.prepare(fast, PANDA, PortConfig(velocity_scaling=1.0, acceleration_scaling=1.0))
    assert error.value.reason == "limits"
    far = motion(delta=2.5)
    with pytest.raises(ArmError, match="position"):
        port.prepare(far, PANDA, PortConfig())


def test_joints_are_picked_by_prefixed_name_in_any_order():
    names = ["left_" + n for n in reversed(PANDA.joint_names)] + ["left_finger"]
    values = [*range(7), 0.04]
    assert port.pick_joints(names, values, PANDA.joint_names, "left_").tolist() == [6, 5, 4, 3, 2, 1, 0]
    with pytest.raises(ArmError, match=r"right_panda_joint1.*joint_prefix") as error:
        port.pick_joints(names, values, PANDA.joint_names, "right_")
    assert error.value.reason == "invalid_joints"


def test_hardware_must_be_enabled_explicitly():
    with pytest.raises(ArmError, match="enable_hardware"):
        port.require_enabled(PortConfig())
    port.require_enabled(PortConfig(enable_hardware=True))


def test_hold_is_one_point_at_rest():
    hold = port.hold_trajectory(PANDA.home)
    assert hold.times.tolist() == [0.0]
    assert not hold.velocities.any()


# ---- the simulated arm ---------------------------------------------------------------------------


@pytest.fixture
def simulated():
    import pybullet
    from pybullet_utils.bullet_client import BulletClient

    client = BulletClient(pybullet.DIRECT)
    client.setGravity(0, 0, -9.81)
    arm = SimulatedArm(client, PANDA)
    yield arm, client
    client.disconnect()


def test_the_simulated_port_follows_within_two_hundredths_of_a_radian(simulated):
    arm, client = simulated
    path = motion()
    errors = []

    def step():
        client.stepSimulation()

    executor = SimulatedPort(
        arm, step, config=PortConfig(velocity_scaling=1.0, acceleration_scaling=1.0, path_tolerance=0.02)
    )
    executor.execute(path, progress=errors.append)
    assert np.abs(arm.joint_positions() - path.end).max() < 0.02
    assert errors[-1] == 1.0
    assert errors == sorted(errors)


def test_the_simulated_port_refuses_cancels_and_holds(simulated):
    arm, client = simulated
    executor = SimulatedPort(arm, client.stepSimulation)
    with pytest.raises(ArmError) as error:
        executor.execute(
            port.JointTrajectory(motion().times, motion().positions + 0.1, motion().velocities, motion().accelerations)
        )
    assert error.value.reason == "start_mismatch"
    calls = []
    with pytest.raises(ArmError) as error:
        executor.execute(motion(), cancelled=lambda: len(calls) > 30 or calls.append(1))
    assert error.value.reason == "cancelled"
    before = arm.joint_positions()
    for _ in range(240):
        client.stepSimulation()
    # it was moving at speed: it may run out a little, but not follow the rest of the motion, and it comes to rest
    assert np.abs(arm.joint_positions() - before).max() < 0.1
    assert np.abs(arm.joint_velocities()).max() < 0.01


def test_a_blocked_simulated_arm_deviates_and_stops(simulated):
    arm, client = simulated

    def blocked():
        client.stepSimulation()
        arm._bullet.resetJointState(arm.body, arm.joints[0], PANDA.home[0], 0.0)

    executor = SimulatedPort(arm, blocked)
    with pytest.raises(ArmError, match=r"panda_joint\d is") as error:
        executor.execute(motion())
    assert error.value.reason == "deviation"
    assert not arm.update(0.0)


# ---- descriptions --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", arms.BUILT_IN)
def test_builtin_arms_load_and_hold_the_cup_upright_at_home(name):
    from memristor_bdnn.motion.kinematics import chain
    from memristor_bdnn.motion.upright import tilt_of

    arm = arms.load(name)
    assert arm.within_limits(arm.home)
    assert tilt_of(chain(arm), arm.cup_axis, np.array(arm.home)) < 0.01


def test_an_arm_can_be_described_in_a_file_of_the_user(tmp_path):
    import importlib.resources

    text = (importlib.resources.files("memristor_bdnn.motion.arms") / "descriptions" / "panda.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("name: panda\n", "name: mine\n"))
    assert arms.load(path).name == "mine"
    path.write_text(text.replace("effort: [87.0, ", "effort: ["))
    with pytest.raises(ConfigError, match="effort has 6 values"):
        arms.load(path)
    path.write_text(text.replace("home: [", "homes: ["))
    with pytest.raises(ConfigError, match="did you mean home"):
        arms.load(path)


def test_unknown_arms_name_the_choices():
    with pytest.raises(ConfigError, match="panda, kuka_iiwa"):
        arms.load("pr2")
