"""Where an arm is: joint states of every kind of publisher, and the starts that they make."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunningGraph, until

pytest.importorskip("rclpy")

from hardware_bench import SKILL, Bench, Driver
from test_physical_arm import ARM

from memristor_bdnn import skills
from memristor_bdnn.errors import ArmError

HOME = dict(zip(ARM.joint_names, ARM.home, strict=True))


# ---- the start ----------------------------------------------------------------------------------


def test_a_start_a_little_beyond_a_limit_is_put_at_the_limit() -> None:
    from memristor_bdnn.errors import PlanningError
    from memristor_bdnn.motion.ports.base import PortConfig, prepare
    from memristor_bdnn.motion.start import LIMIT_TOLERANCE, checked_start
    from memristor_bdnn.motion.trajectory import JointTrajectory

    q = np.array(ARM.home)
    q[3] = ARM.upper[3] + 0.9 * LIMIT_TOLERANCE
    assert checked_start(ARM, q)[3] == ARM.upper[3]
    for wrong in (ARM.upper[3] + 2 * LIMIT_TOLERANCE, np.nan, np.inf):
        q[3] = wrong
        with pytest.raises(PlanningError) as error:
            checked_start(ARM, q)
        assert error.value.reason == "start_mismatch"
    still = np.zeros((2, ARM.dof))
    q[3] = ARM.upper[3] + 1e-4
    sent = prepare(JointTrajectory(np.array([0.0, 1.0]), np.stack([q, ARM.home]), still, still), ARM, PortConfig())
    assert sent.positions[0, 3] == ARM.upper[3]
    q[3] = ARM.upper[3] + 0.1
    with pytest.raises(ArmError, match="beyond its limit"):
        prepare(JointTrajectory(np.array([0.0, 1.0]), np.stack([q, ARM.home]), still, still), ARM, PortConfig())


def test_a_start_at_a_limit_is_planned_from_and_one_in_collision_is_no_fault_of_the_candidate() -> None:
    from memristor_bdnn.errors import PlanningError

    skill = skills.load("pushing")
    planner = skill.motion("panda")
    rng = np.random.default_rng(0)
    context = skill.sample_context(rng)
    parameters = skill.sample_candidates(context, 1, rng, "panda")[0]
    start = np.array(ARM.home)
    start[6] = ARM.upper[6] + 1e-6
    try:
        planner.plan(context, parameters, start=start)
    except PlanningError as error:
        assert error.reason != "start_mismatch", "an encoder's error is no wrong start"
    down = np.array(ARM.home)
    down[1] = ARM.upper[1]  # into the table
    with pytest.raises(PlanningError, match="touches") as caught:
        planner.plan(context, parameters, start=down)
    assert caught.value.reason == "start_mismatch"
    planner.close()


def tilted_arm(folder: Path) -> Path:
    """A description of the arm whose home does not hold the cup upright."""
    import importlib.resources

    import yaml

    text = (importlib.resources.files("memristor_bdnn.motion.arms") / "descriptions" / "panda.yaml").read_text()
    content = yaml.safe_load(text)
    content["home"][6] += 0.5
    path = folder / "tilted.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_wrong_start_is_no_infeasible_trial_in_this_process(tmp_path: Path) -> None:
    from memristor_bdnn.active.trials import LocalTrials

    trials = LocalTrials(SKILL, str(tilted_arm(tmp_path)))
    rng = np.random.default_rng(0)
    context = SKILL.sample_context(rng)
    parameters = SKILL.sample_candidates(context, 1, rng)[0]
    with pytest.raises(ArmError, match="tilted") as error:
        trials.run(context, parameters, 0)
    assert error.value.reason == "start_mismatch"
    trials.close()


def test_a_wrong_start_is_no_infeasible_trial_over_ros(
    start_graph: Callable[..., RunningGraph], tmp_path: Path
) -> None:
    """The arm that is measured does not hold the cup upright: the goal says so, and nothing is in the store."""
    from memristor_bdnn.action import ActiveLearn

    graph = start_graph("arm_output:=topic", "enable_hardware:=true", "initial_trials:=2", "candidates:=20")
    executable = Path(sys.prefix) / "lib" / "memristor_bdnn" / "mock_controller_node"
    arm = subprocess.Popen(
        [sys.executable, str(executable), "--ros-args", "-p", f"arm:={tilted_arm(tmp_path)}"],
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        graph.wait_ready()
        goal = ActiveLearn.Goal(queries=0, strategy="straddle")
        result = graph.client.act("coordinator", ActiveLearn, "active_learn", goal, 120.0)
        assert result.error_code == ActiveLearn.Result.FAILED and "tilted" in result.error_msg
        assert result.labels == 0
        assert '"feasible"' not in (tmp_path / "results" / "trials.jsonl").read_text()
    finally:
        arm.kill()
        arm.wait(10.0)


# ---- joint states -------------------------------------------------------------------------------


def listen(bench: Bench, prefix: str = "") -> Any:
    from memristor_bdnn.nodes.joint_states import JointStates

    return JointStates(bench.client().node, ARM.joint_names, prefix)


def fresh(states: Any, max_age: float = 0.5) -> Any:
    """Positions, or the ArmError that says why there are none."""
    try:
        return states.fresh(max_age)
    except ArmError as error:
        return error


@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
@pytest.mark.parametrize("durability", ["volatile", "transient_local"])
def test_every_kind_of_publisher_is_heard(bench: Bench, reliability: str, durability: str) -> None:
    states, driver = listen(bench), Driver(bench, reliability, durability)
    driver.say(HOME)
    until(lambda: isinstance(fresh(states), np.ndarray), 20.0)
    np.testing.assert_array_equal(states.fresh(0.5), ARM.home)


def test_what_is_not_finite_or_malformed_replaces_nothing_and_is_named(bench: Bench) -> None:
    states, driver = listen(bench), Driver(bench)
    driver.say(HOME)
    until(lambda: isinstance(fresh(states), np.ndarray), 20.0)
    names, good = list(HOME), list(HOME.values())
    for bad, text in (
        ({"name": names, "position": [float("nan"), *good[1:]]}, "panda_joint1 = nan"),
        ({"name": names, "position": [float("inf"), *good[1:]]}, "panda_joint1 = inf"),
        ({"name": names, "position": good[:5]}, "5 positions for 7 joints"),
        ({"name": names, "position": []}, "0 positions for 7 joints"),
        ({"name": [*names[:6], names[0]], "position": good}, "panda_joint1 twice"),
    ):
        begin = time.monotonic()
        driver.say({}, **bad)
        until(lambda begin=begin: states.fault_since(begin) != "", 10.0)
        assert text in states.fault_since(begin)
        np.testing.assert_array_equal(states.last(), ARM.home)
        error = fresh(states)
        assert isinstance(error, ArmError) and error.reason == "invalid_joints"
        driver.say(HOME)
        until(lambda: isinstance(fresh(states), np.ndarray), 10.0)
    driver.say(HOME, velocity=[float("nan")] * 7, effort=[float("inf")])
    until(lambda: isinstance(fresh(states), np.ndarray), 10.0)
    np.testing.assert_array_equal(states.last(), ARM.home)


def test_only_the_arms_own_joints_count_and_parts_are_merged_while_fresh(bench: Bench) -> None:
    states = listen(bench, "left_")
    other, half, rest = Driver(bench), Driver(bench), Driver(bench)
    other.say({name: 9.0 for name in ARM.joint_names})
    until(lambda: isinstance(fresh(states), ArmError) and "others are heard: panda_joint1" in str(fresh(states)), 20.0)
    mine = [(f"left_{name}", q) for name, q in HOME.items()]
    half.say(dict(mine[:3]))
    until(lambda: "lack left_panda_joint4" in str(fresh(states)), 20.0)
    rest.say(dict(mine[3:]))
    until(lambda: isinstance(fresh(states), np.ndarray), 20.0)
    np.testing.assert_array_equal(states.fresh(0.5), ARM.home)
    rest.say(None)  # that driver dies: its last words expire, whatever the other one says
    until(lambda: isinstance(fresh(states), ArmError), 10.0)
    error = fresh(states)
    assert error.reason == "stale_state" and "left_panda_joint" in str(error) and " s old" in str(error)


def test_silence_says_who_publishes_what(bench: Bench) -> None:
    from std_msgs.msg import Float64

    states = listen(bench)
    assert "nobody publishes /joint_states" in str(fresh(states))
    bench.client().node.create_publisher(Float64, "joint_states", 10)
    until(lambda: "publishes std_msgs/msg/Float64" in str(fresh(states)), 20.0)


# ---- when a state was measured ------------------------------------------------------------------


def test_a_stamp_is_put_on_our_clock_whatever_the_drivers_clock_says() -> None:
    """A driver 1000 s ahead: what takes longer than the shortest way is a delay, and not the clocks' difference."""
    from memristor_bdnn.nodes.joint_states import SET_BACK_S, StampClock

    clock = StampClock()
    for k in range(100):
        assert clock.measured(1000.0 + 0.02 * k, 0.02 * k + 0.001) == pytest.approx(0.02 * k + 0.001)
    assert clock.measured(1002.0, 2.8) == pytest.approx(2.001), "kept waiting for 0.8 s: as old as it is"
    assert clock.measured(1001.9, 2.81) is None, "overtaken by a later one"
    assert clock.measured(1002.0, 3.5) == pytest.approx(2.001), "the same stamp again is the same state"
    assert clock.measured(1002.0 - 2 * SET_BACK_S, 4.0) == pytest.approx(4.0), "the clock was set back: begin anew"
    assert clock.measured(1003.0, 4.1) == pytest.approx(4.1), "set forward: never in our future"


def test_clocks_that_drift_apart_are_followed() -> None:
    from memristor_bdnn.nodes.joint_states import WINDOW_S, StampClock

    clock, drift = StampClock(), 1e-3
    ages = []
    for k in range(int(6 * WINDOW_S * 10)):
        now = 0.1 * k
        measured = clock.measured(now * (1 - drift), now)
        assert measured is not None
        ages.append(now - measured)
    assert min(ages) >= -1e-9 and max(ages) <= (2 * WINDOW_S + 1) * drift


def stamped(client: Any) -> Callable[..., None]:
    """Publishes the home position of the arm with a stamp (s)."""
    from builtin_interfaces.msg import Time
    from sensor_msgs.msg import JointState

    publisher = client.node.create_publisher(JointState, "joint_states", 10)

    def say(stamp: float, offset: float = 0.0) -> None:
        message = JointState(name=list(HOME), position=[q + offset for q in HOME.values()])
        message.header.stamp = Time(sec=int(stamp), nanosec=int(stamp % 1 * 1e9))
        publisher.publish(message)

    return say


def test_a_stamp_that_stands_still_is_an_old_state_however_often_it_comes(bench: Bench) -> None:
    states, say = listen(bench), stamped(bench.client())

    def again() -> bool:
        say(5000.0)
        return isinstance(fresh(states), ArmError) and "by their stamps" in str(fresh(states))

    until(again, 20.0)
    assert fresh(states).reason == "stale_state"
    say(5001.0)
    until(lambda: isinstance(fresh(states), np.ndarray), 10.0)


def test_what_waits_for_the_executor_is_not_silence(bench: Bench) -> None:
    """No thread of the executor is free; the states come all the same, each with the time it was measured."""
    import threading

    from rclpy.callback_groups import ReentrantCallbackGroup

    client = bench.client()
    from memristor_bdnn.nodes.joint_states import JointStates

    states, say = JointStates(client.node, ARM.joint_names), stamped(bench.client())
    until(lambda: (say(time.time()), states.last() is not None)[1], 20.0)
    release = threading.Event()
    busy = [
        client.node.create_timer(0.01, lambda: release.wait(10.0), callback_group=ReentrantCallbackGroup())
        for _ in range(40)
    ]
    time.sleep(0.5)
    seen, said = states.track(0)[-1].number, []
    for k in range(40):
        said.append(time.monotonic())
        say(time.time(), 0.001 * k)
        time.sleep(0.02)
    states.catch_up()
    found = states.track(seen)
    release.set()
    for timer in busy:
        client.node.destroy_timer(timer)
    assert len(found) > 30
    times = np.array([state.measured for state in found])
    assert np.abs(times[:, None] - said).min(axis=1).max() < 0.2, "each when it was said, however late"
    assert times[-1] - times[0] > 0.7 * (said[-1] - said[0]), "not the time of the catching up"
    assert np.all(np.diff(times) >= 0.0)
