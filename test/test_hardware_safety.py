"""What may move, and what stops it: bad data, late controllers, peers on the bus, callers that die."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import until

pytest.importorskip("rclpy")

from hardware_bench import Bench, Lab
from test_physical_arm import ARM, Mock, mock, motion

from memristor_bdnn.errors import ArmError, MemristorError

__all__ = ["mock"]
BUSY = {"stale_after": 5.0, "latency": 2.0, "path_tolerance": 1.0}
"""Checks for a machine that stalls, where that is not the subject."""


@pytest.fixture(scope="session")
def control_messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which control_msgs can be imported."""
    from control_messages import build

    try:
        import control_msgs.action  # noqa: F401

        return {}
    except ImportError:
        pass
    try:
        return build(tmp_path_factory.mktemp("control_msgs"))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"control_msgs is neither installed nor can it be built here: {error}")


# ---- stopping -------------------------------------------------------------------------------------


def assert_holds(port: Any) -> None:
    """The arm comes to rest, and stays there; joint states may be missing for a moment."""
    before: list[Any] = [None]

    def rests() -> bool:
        last, before[0] = before[0], port.states.last()
        time.sleep(0.3)
        return last is not None and bool(np.allclose(last, before[0], atol=1e-6))

    until(rests, 10.0)
    assert rests(), "it must stay where it stopped"


def test_joint_states_that_are_not_finite_stop_the_motion_at_once(mock: Callable[..., Mock]) -> None:
    from trajectory_msgs.msg import JointTrajectory as TrajectoryMessage

    made = mock("broken", **BUSY)
    heard: list[Any] = []
    made.client.node.create_subscription(
        TrajectoryMessage, "joint_trajectory_controller/joint_trajectory", heard.append, 10
    )
    until(lambda: made.port._topic.get_subscription_count() == 2, 20.0)
    with pytest.raises(ArmError, match="not finite") as error:
        made.port.execute(motion(4.0))
    assert error.value.reason == "invalid_joints" and "NOT CERTAIN" not in str(error.value)
    until(lambda: len(heard) == 2, 10.0)
    assert len(heard[1].points) == 1 and np.isfinite(heard[1].points[0].positions).all()
    assert_holds(made.port)
    assert abs(made.port.states.last()[0] - motion(4.0).end[0]) > 0.05, "it must not have gone on"


def test_an_error_of_the_caller_stops_the_arm_and_is_what_the_caller_sees(mock: Callable[..., Mock]) -> None:
    made = mock(**BUSY)

    def broken(fraction: float) -> None:
        if fraction > 0.1:
            raise ZeroDivisionError("a display's fault")

    with pytest.raises(ZeroDivisionError, match="a display's fault"):
        made.port.execute(motion(3.0), broken)
    assert_holds(made.port)
    assert abs(made.port.states.last()[0] - motion(3.0).end[0]) > 0.05


def test_a_stop_never_raises_whatever_is_known(bench: Bench) -> None:
    """No driver, no controller, no state: an empty trajectory is all that can be said, and that is said."""
    from trajectory_msgs.msg import JointTrajectory as TrajectoryMessage

    from memristor_bdnn.motion.ports.base import PortConfig
    from memristor_bdnn.nodes.arm_port import ControllerPort

    client, heard = bench.client(), []
    port = ControllerPort(client.node, ARM, PortConfig(), "controller", "topic")
    port.stop()
    client.node.create_subscription(TrajectoryMessage, "controller/joint_trajectory", heard.append, 10)
    until(lambda: port._topic.get_subscription_count() == 1, 20.0)
    port.stop()
    until(lambda: len(heard) == 1, 10.0)
    assert heard[0].points == [] and len(heard[0].joint_names) == 7
    client.node.destroy_publisher(port._topic)
    port.stop()  # what cannot be sent is in the log


def test_a_controller_that_cannot_hear_us_is_a_qos_mismatch(bench: Bench) -> None:
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from trajectory_msgs.msg import JointTrajectory as TrajectoryMessage

    from memristor_bdnn.motion.ports.base import PortConfig
    from memristor_bdnn.nodes.arm_port import ControllerPort

    client = bench.client()
    port = ControllerPort(client.node, ARM, PortConfig(), "controller", "topic")
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    bench.client().node.create_subscription(TrajectoryMessage, "controller/joint_trajectory", print, latched)
    with pytest.raises(ArmError, match="QoS mismatch") as error:
        port.route()
    assert error.value.reason == "lost_connection"


# ---- the controller's action --------------------------------------------------------------------


def run_action(bench: Bench, environment: dict[str, str], cancel_after: float, wait: float, *mock: str) -> Any:
    bench.node("mock_controller_node", *mock, **environment)
    until(lambda: bench.says("mock_controller_node", "active ("), 30.0)
    process = bench.script("action_route", cancel_after, wait, **environment)
    assert process.wait(90.0) == 0, bench.log("action_route").read_text()
    lines = bench.log("action_route").read_text().splitlines()  # ROS may log after the result
    return json.loads([line for line in lines if line.startswith("{")][-1])


def test_a_motion_over_the_action_reaches_its_goal(bench: Bench, control_messages: dict[str, str]) -> None:
    result = run_action(bench, control_messages, -1, 0.1)
    assert result["reason"] == "" and result["from_home"] > 0.15, result


def test_over_the_action_bad_joint_states_cancel_the_goal(bench: Bench, control_messages: dict[str, str]) -> None:
    result = run_action(bench, control_messages, -1, 1.0, "fault:=broken")
    assert result["reason"] == "invalid_joints" and result["moved"] < 0.01 and result["from_home"] < 0.1, result
    assert bench.says("mock_controller_node", "the goal was cancelled")


@pytest.mark.parametrize(("thinks", "cancel_after", "reason"), [(7.0, -1, "lost_connection"), (5.0, 3.5, "cancelled")])
def test_a_goal_that_the_controller_accepts_too_late_is_cancelled(
    bench: Bench, control_messages: dict[str, str], thinks: float, cancel_after: float, reason: str
) -> None:
    result = run_action(bench, control_messages, cancel_after, 5.0, f"thinks_s:={thinks}")
    assert result["reason"] == reason, result
    # a busy machine may take some of the motion's three seconds to hear of the cancellation; its end is beyond 0.15
    assert result["from_home"] < 0.12 and result["moved"] < 0.12, result
    assert bench.says("mock_controller_node", "follows a goal"), "the goal was never on its way"
    assert bench.says("mock_controller_node", "the goal was cancelled")


# ---- the physical world -------------------------------------------------------------------------


def test_disabling_hardware_stops_the_arm_at_once_and_for_good(bench: Bench) -> None:
    from lifecycle_msgs.msg import Transition
    from memristor_bdnn.action import ExecuteTrial

    lab = Lab(bench)
    results = lab.start(10.0)
    begin = time.monotonic()
    assert lab.set("enable_hardware", False).successful
    until(lambda: bool(results), 5.0)
    assert results[0].error_code == ExecuteTrial.Result.ARM_FAILED and "enable_hardware" in results[0].error_msg
    assert time.monotonic() - begin < 4.0
    lab.assert_stays()
    # No peer brings it back: not now, not through the lifecycle.
    for transition in (None, Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert transition is None or lab.change(transition)
        refused = lab.set("enable_hardware", True)
        assert not refused.successful and "start" in refused.reason
    assert lab.change(Transition.TRANSITION_CONFIGURE) and lab.change(Transition.TRANSITION_ACTIVATE)
    result = lab.client.act("pouring_world", ExecuteTrial, "execute_trial", lab.goal(), 60.0)
    assert "enable_hardware" in result.error_msg
    assert not lab.moves()


def test_what_guards_the_arm_cannot_be_loosened_by_a_peer(bench: Bench) -> None:
    from lifecycle_msgs.msg import Transition

    lab = Lab(bench, "port.velocity_scaling:=0.5")
    for state in ("active", "unconfigured"):
        for name, value in (
            ("port.path_tolerance", 5.0),
            ("port.start_tolerance", 1.0),
            ("port.stale_after", 60.0),
            ("port.joint_prefix", "right_"),
            ("controller", "another_controller"),
            ("arm_output", "auto"),
            ("scale_topic", "somewhere"),
            ("port.velocity_scaling", 0.6),
        ):
            refused = lab.set(name, value)
            assert not refused.successful and "start" in refused.reason, (state, name, refused)
        if state == "active":
            assert lab.set("port.velocity_scaling", 0.1).successful
            results, begin = lab.start(1.0), time.monotonic()
            until(lambda: not lab.moves(), 30.0)
            assert time.monotonic() - begin > 5.0, "the lower speed was not obeyed from the next goal on"
            lab.client.peers._cancelled = lambda: True
            del results
            time.sleep(1.0)
            lab.client.peers._cancelled = lambda: False
            assert lab.change(Transition.TRANSITION_DEACTIVATE) and lab.change(Transition.TRANSITION_CLEANUP)
    assert lab.set("port.velocity_scaling", 0.5).successful, "up to what it was started with"


def test_a_second_goal_is_rejected_at_once_and_joint_states_go_on(bench: Bench) -> None:
    from memristor_bdnn.action import ExecuteTrial

    lab = Lab(bench)
    goal, results = lab.goal(), lab.start(6.0)
    for _ in range(5):
        begin = time.monotonic()
        with pytest.raises(MemristorError, match="rejected the goal"):
            lab.client.act("pouring_world", ExecuteTrial, "execute_trial", goal, 60.0)
        assert time.monotonic() - begin < 3.0
    assert lab.states.fresh(1.0) is not None and not results
    assert lab.client.peers.is_ready("pouring_world")


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "deactivate"])
def test_a_node_that_leaves_stops_the_arm(bench: Bench, how: str) -> None:
    from lifecycle_msgs.msg import Transition

    lab = Lab(bench)
    results = lab.start(10.0)
    if how == "deactivate":
        assert lab.change(Transition.TRANSITION_DEACTIVATE)
        until(lambda: bool(results), 10.0)
        assert "deactivated" in results[0].error_msg
    else:
        lab.world.send_signal(getattr(signal, how))
        assert lab.world.wait(15.0) == 0
    lab.assert_stays()


def test_a_trial_whose_caller_has_gone_is_stopped(bench: Bench) -> None:
    lab = Lab(bench)
    goal = lab.goal(10.0)
    path = bench.folder / "goal.bin"
    from rclpy.serialization import serialize_message

    path.write_bytes(serialize_message(goal))
    caller = bench.script("patient_caller", "pouring_world", 100.0, "execute_trial", path)
    until(lab.moves, 30.0)
    caller.send_signal(signal.SIGINT)
    caller.wait(60.0)
    until(lambda: bench.says("physical_world_node", "cancelled") or not lab.moves(), 10.0)
    lab.assert_stays()
    assert abs(lab.states.last()[0] - motion().end[0]) > 0.01
