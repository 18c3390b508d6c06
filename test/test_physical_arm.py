"""A physical arm's controller, played by the mock controller in a process of its own: success and every failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunningGraph, fresh_environment, run_command, until

pytest.importorskip("rclpy")

from memristor_bdnn.errors import ArmError, ConfigError, MemristorError
from memristor_bdnn.motion import arms
from memristor_bdnn.motion.ports.base import PortConfig
from memristor_bdnn.motion.trajectory import JointTrajectory

ARM = arms.load("panda")


def motion(duration: float = 1.0, start: Any = None, swing: float = 0.2) -> JointTrajectory:
    """A smooth swing of joint 1."""
    t = np.linspace(0, duration, 41)
    s, v = (1 - np.cos(np.pi * t / duration)) / 2, np.pi / duration * np.sin(np.pi * t / duration) / 2
    a = (np.pi / duration) ** 2 * np.cos(np.pi * t / duration) / 2
    direction = np.eye(ARM.dof)[0] * swing
    q0 = np.array(ARM.home) if start is None else np.asarray(start)
    return JointTrajectory(t, q0 + np.outer(s, direction), np.outer(v, direction), np.outer(a, direction))


class Mock:
    """The mock controller process and a port that drives it."""

    def __init__(self, fault: str, folder: Path, **config: Any) -> None:
        environment = fresh_environment()
        os.environ["ROS_DOMAIN_ID"] = environment["ROS_DOMAIN_ID"]
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        executable = Path(sys.prefix) / "lib" / "memristor_bdnn" / "mock_controller_node"
        self.process = subprocess.Popen(
            [sys.executable, str(executable), "--ros-args", "-p", f"fault:={fault}"],
            env=environment,
            stdout=open(folder / "mock.log", "w"),
            stderr=subprocess.STDOUT,
        )
        from memristor_bdnn.nodes.arm_port import ControllerPort
        from memristor_bdnn.nodes.client import GraphClient

        self.client = GraphClient("port_client")
        settings = {"enable_hardware": True, "velocity_scaling": 1.0, "acceleration_scaling": 1.0, **config}
        self.port = ControllerPort(
            self.client.node, ARM, PortConfig(**settings), "joint_trajectory_controller", "topic"
        )
        self.states: list[float] = []
        until(self._ready, 30.0)

    def _ready(self) -> bool:
        try:
            self.port.joint_positions()
        except ArmError:
            return False
        return True

    def close(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(10.0)


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[Callable[..., Mock]]:
    made: list[Mock] = []

    def make(fault: str = "none", **config: Any) -> Mock:
        made.append(Mock(fault, tmp_path, **config))
        return made[-1]

    yield make
    for item in made:
        item.close()


def assert_stands_still(port: Any) -> None:
    def rests() -> bool:
        before = port.joint_positions()
        time.sleep(0.3)
        return bool(np.allclose(port.joint_positions(), before, atol=1e-6))

    until(rests, 10.0)
    assert rests(), "it must stay where it stopped"


def test_a_motion_is_executed_and_ends_at_its_goal(mock: Callable[..., Mock]) -> None:
    port = mock().port
    seen: list[float] = []
    plan = motion()
    port.execute(plan, seen.append)
    np.testing.assert_allclose(port.joint_positions(), plan.end, atol=0.02)
    assert seen and seen == sorted(seen)
    with pytest.raises(ArmError, match="panda_joint1 is") as refused:
        port.execute(plan)
    assert refused.value.reason == "start_mismatch"


def test_hardware_must_be_enabled_explicitly(mock: Callable[..., Mock]) -> None:
    with pytest.raises(ArmError) as error:
        mock(enable_hardware=False).port.execute(motion())
    assert error.value.reason == "not_enabled" and "enable_hardware:=true" in str(error.value)


@pytest.mark.parametrize(("fault", "reason"), [("stale", "stale_state"), ("lost", "lost_connection")])
def test_a_silent_controller_is_named(mock: Callable[..., Mock], fault: str, reason: str) -> None:
    made = mock(fault)
    with pytest.raises(ArmError) as error:
        made.port.execute(motion(3.0))  # long enough for a machine that stalls to see the silence
    assert error.value.reason in {reason, "stale_state"}


@pytest.mark.parametrize(("fault", "reason"), [("deviate", "deviation"), ("deaf", "deviation")])
def test_a_deviation_stops_the_arm(mock: Callable[..., Mock], fault: str, reason: str) -> None:
    port = mock(fault, stale_after=5.0).port  # a machine that stalls is another test's subject
    with pytest.raises(ArmError) as error:
        port.execute(motion(swing=0.4))
    assert error.value.reason == reason and "panda_joint" in str(error.value)
    assert_stands_still(port)


def test_cancel_in_flight_holds_the_arm(mock: Callable[..., Mock]) -> None:
    port = mock().port
    cancel = threading.Event()
    threading.Timer(0.4, cancel.set).start()
    with pytest.raises(ArmError) as error:
        port.execute(motion(2.0), cancelled=cancel.is_set)
    assert error.value.reason == "cancelled"
    assert_stands_still(port)
    assert abs(port.joint_positions()[0] - motion().end[0]) > 0.05, "it must not have gone on to the goal"


def test_unknown_output_lists_the_choices(mock: Callable[..., Mock]) -> None:
    from memristor_bdnn.nodes.arm_port import ControllerPort

    with pytest.raises(ConfigError, match="auto, action, topic"):
        ControllerPort(mock().client.node, ARM, PortConfig(), "c", "wire")


def test_an_operator_labels_a_trial_of_the_physical_graph(
    start_graph: Callable[..., RunningGraph], tmp_path: Path
) -> None:
    """The whole loop with the mock as the arm: plan from the measured state, move, label, commit."""
    from memristor_bdnn.action import ActiveLearn

    from memristor_bdnn.view.live import Live

    fast = tmp_path / "fast.yaml"
    fast.write_text(
        "/**/pouring_world:\n  ros__parameters:\n    port.velocity_scaling: 1.0\n    port.acceleration_scaling: 1.0\n"
        "    port.latency: 2.0\n    port.stale_after: 5.0\n"  # a busy machine is another test's subject
    )
    graph = start_graph(
        f"params_file:={fast}",
        "arm_output:=topic",
        "enable_hardware:=true",
        "initial_trials:=2",
        "candidates:=20",
        "bowl:=green",
        "cup:=teal",
    )
    executable = Path(sys.prefix) / "lib" / "memristor_bdnn" / "mock_controller_node"
    mock = subprocess.Popen(
        [sys.executable, str(executable), "--ros-args", "-p", "arm:=panda"],
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        graph.wait_ready()
        done: list[Any] = []
        refused: list[Any] = []
        goal = ActiveLearn.Goal(queries=0, strategy="straddle")
        thread = threading.Thread(
            target=lambda: done.append(graph.client.act("coordinator", ActiveLearn, "active_learn", goal, 300.0))
        )
        thread.start()
        view = Live()
        for number in range(200):
            if done:
                break
            if view.moment().waiting == 1:  # the page names it, and takes its outcome
                with pytest.raises(MemristorError, match=r"fraction_in_bowl = 1\.5: allowed \[0, 1\]"):
                    view.label(1, ["fraction_in_bowl=1.5"])
                view.label(1, ["fraction_in_bowl=0.1", "fraction_spilled=0.9"])
                until(lambda: view.moment().waiting is None, 10.0)
            waiting = [line for line in graph.log.read_text().splitlines() if "was executed: waiting" in line]
            if len(waiting) == 1 and number % 4 == 0:
                if not refused:
                    refused.append(run_command_in_domain("label", "0", "1.5"))
                run_command_in_domain("label", "0", "0.95")
            time.sleep(0.5)
        thread.join(60.0)
        seen = view.moment()
        view.close()
        assert [(r.number, r.score > 0) for r in seen.results] == [(0, True), (1, False)]
        assert seen.joints.keys() >= set(ARM.joint_names) and seen.arm is not None
        assert done and done[0].error_code == 0, graph.log.read_text()
        assert done[0].labels == 2
        assert refused[0].returncode == 1 and "fraction_in_bowl = 1.5: allowed [0, 1]" in refused[0].stderr
        assert "operator" in (tmp_path / "results" / "trials.jsonl").read_text()
    finally:
        mock.send_signal(signal.SIGINT)
        mock.wait(10.0)


def run_command_in_domain(*words: str) -> subprocess.CompletedProcess[str]:
    """The label command in the domain of the running graph."""
    from conftest import COMMAND

    return subprocess.run([str(COMMAND), *words], env=dict(os.environ), capture_output=True, text=True, timeout=60)


def test_label_refuses_what_is_no_number() -> None:
    for word in ("nan", "inf"):
        done = run_command("label", "3", word)
        assert done.returncode == 1 and word in done.stderr and "finite" in done.stderr
