"""A rehearsal in one command: everything that could reach an arm is the mock's own; its faults are arguments."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, RunningGraph, until

from memristor_bdnn import skills
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion import arms
from memristor_bdnn.nodes import graph, rehearsal
from memristor_bdnn.nodes.environment import without_ours

ON = {"use_mock_hardware": "true"}

# ---- what is started ----------------------------------------------------------------------------


def commands(values: dict[str, str], defaults: dict[str, str] | None = None) -> dict[str, Any]:
    return {c.name: c for c in graph.resolve(values, defaults)}


@pytest.mark.parametrize("defaults", [{}, graph.PHYSICAL_DEFAULTS])
def test_one_argument_starts_the_mock_and_moves_nothing_else(defaults: dict[str, str]) -> None:
    found = commands({**ON, "arm": "ur5e", "joint_prefix": "left_"}, defaults)
    world, mock = found["pouring_world"], found[rehearsal.CONTROLLER]
    assert world.executable == "physical_world_node" and mock.executable == "mock_controller_node"
    assert world.parameters["controller"] == rehearsal.CONTROLLER and world.parameters["enable_hardware"] is True
    assert mock.parameters == {"arm": "ur5e", "joint_prefix": "left_"}
    assert world.parameters["port.stale_after"] == 2.0, "a stated margin: the mock is no real-time process"
    assert found["coordinator"].parameters["results"] == "results/rehearsal"
    for command in found.values():
        assert f"joint_states:={rehearsal.CONTROLLER}/joint_states" in command.words(), command.name
    for command in commands({"arm_output": "auto"}, defaults).values():
        assert "port.stale_after" not in command.parameters
        assert not command.remappings and command.name != rehearsal.CONTROLLER


def test_a_params_file_of_the_arm_cannot_name_its_controller(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(
        "/**/pouring_world:\n  ros__parameters: {controller: joint_trajectory_controller, arm: ur5e}\n"
        "/**/pour_planner:\n  ros__parameters: {arm: ur5e}\n/**/coordinator:\n  ros__parameters: {arm: ur5e}\n"
        f"/**/{rehearsal.CONTROLLER}:\n  ros__parameters: {{arm: panda, fault: deaf}}\n"
    )
    found = commands({**ON, "params_file": str(file)})
    assert found["pouring_world"].parameters["controller"] == rehearsal.CONTROLLER
    assert found[rehearsal.CONTROLLER].parameters["arm"] == "ur5e", "the mock is of the arm that is planned for"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({**ON, "controller": "joint_trajectory_controller"}, ["controller:=joint_trajectory_controller", "its own"]),
        ({**ON, "arm_output": "sim"}, ["arm_output:=sim", "action, topic or auto"]),
        ({**ON, "mock_fault": "explode"}, ["mock_fault:=explode", "deviate"]),
        ({"mock_fault": "stale"}, ["mock_fault:=stale", "use_mock_hardware:=true"]),
        ({"mock_thinks_s": "1", "arm_output": "topic"}, ["mock_thinks_s:=1", "use_mock_hardware:=true"]),
    ],
)
def test_what_contradicts_a_rehearsal_is_refused(values: dict[str, str], expected: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        graph.resolve(values)
    assert all(text in str(error.value) for text in expected), error.value


# ---- RViz ---------------------------------------------------------------------------------------


@pytest.fixture
def rviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ROS prefix with an executable called rviz2 that says what it was given, and our shipped files."""
    program = tmp_path / "lib" / "rviz2" / "rviz2"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "words: $@"\necho "guard: $_ROS_WHEELS_BOOTSTRAP_COMPLETE."\n')
    program.chmod(0o755)
    config = tmp_path / "share" / "memristor_bdnn" / "config"
    config.mkdir(parents=True)
    (config / "memristor_bdnn.rviz").write_bytes((ROOT / "config" / "memristor_bdnn.rviz").read_bytes())
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    return program


def test_rviz_is_refused_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    if (Path(sys.prefix) / "lib" / "rviz2").exists():
        pytest.skip("rviz2 is installed in this environment")
    with pytest.raises(ConfigError, match=r"rviz:=true: rviz2 is not installed"):
        graph.resolve({"rviz": "true"})


def test_rviz_gets_the_shipped_file_the_namespace_and_the_topics_of_the_skill(rviz: Path) -> None:
    usual = commands({"rviz": "true", "namespace": "lab"})["rviz"]
    words = usual.ros_arguments()
    assert words[0] == "-d" and Path(words[1]).name == "memristor_bdnn.rviz" and Path(words[1]).is_file()
    assert "__ns:=/lab" in words and not usual.remappings and not usual.vital and usual.package == "rviz2"
    other = commands({"rviz": "true", "skill": "pushing"})["rviz"]
    assert other.remappings == {
        "pouring_world/markers": "pushing_world/markers",
        "pour_planner/markers": "push_planner/markers",
    }


def test_the_end_of_rviz_ends_nothing_else(rviz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from memristor_bdnn.nodes.supervisor import Supervisor

    monkeypatch.setenv("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "1")
    said: list[str] = []
    supervisor = Supervisor([commands({"rviz": "true"})["rviz"]], log=said.append)
    supervisor.start()
    until(lambda: supervisor.poll() or any("the session goes on" in line for line in said), 20.0)
    supervisor.stop()
    assert any("words: -d" in line for line in said)
    assert "[rviz] guard: ." in said, "a program of another installation gets none of the wheels' variables"


def test_the_environment_of_a_foreign_program_has_none_of_our_libraries() -> None:
    ours = {"LD_LIBRARY_PATH": f"{sys.prefix}/lib:/opt/lib", "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1", "HOME": "/x"}
    assert without_ours(ours, "/opt/ros/lib/rviz2/rviz2") == {"LD_LIBRARY_PATH": "/opt/lib", "HOME": "/x"}
    assert without_ours(ours, f"{sys.prefix}/lib/rviz2/rviz2") == ours


def test_the_shipped_files_name_topics_and_frames_that_are_there() -> None:
    import json

    import yaml

    config = ROOT / "config"
    shown = yaml.safe_load((config / "memristor_bdnn.rviz").read_text())["Visualization Manager"]
    assert shown["Global Options"]["Fixed Frame"] == "world"
    topics = {d.get("Topic", d.get("Description Topic", {})).get("Value") for d in shown["Displays"]} - {None}
    world, planner = skills.load(skills.DEFAULT).node_names
    assert topics == {"robot_description", f"{world}/markers", f"{planner}/markers", "camera/image"}
    layout = json.loads((config / "foxglove.json").read_text())
    panels: list[str] = []

    def walk(part: Any) -> None:
        if isinstance(part, str):
            panels.append(part)
        else:
            walk(part["first"])
            walk(part["second"])

    walk(layout["layout"])
    assert sorted(panels) == sorted(layout["configById"])
    markers = {f"/{node}/markers" for name in ("pouring", "pushing") for node in skills.load(name).node_names}
    assert set(layout["configById"]["3D!arm"]["topics"]) == {"/robot_description", *markers}


# ---- over DDS -----------------------------------------------------------------------------------

pytest.importorskip("rclpy")

from hardware_bench import Bench, Driver, Lab  # noqa: E402
from test_physical_arm import run_command_in_domain  # noqa: E402


def test_installed_nodes_start_with_any_python(bench: Bench) -> None:
    """As the documentation starts them, by their path: the system's Python may know nothing of ROS."""
    other = shutil.which("python3", path="/usr/bin:/usr/local/bin:/bin")
    if other is None:
        pytest.skip("no other Python here")
    path = Path(sys.prefix) / "lib" / "memristor_bdnn" / "mock_controller_node"
    if not (Path(sys.prefix) / "pyvenv.cfg").is_file():
        pytest.skip("not a virtual environment")
    of_ours = ("PYTHON", "_ROS_WHEELS", "LD_LIB", "VIRTUAL")
    bare = {k: v for k, v in bench.environment.items() if not k.startswith(of_ours)}
    process = subprocess.Popen([other, str(path)], env={**bare, "PATH": os.defpath})
    try:
        client = bench.client()
        until(lambda: client.peers.is_ready("joint_trajectory_controller"), 30.0)
    finally:
        process.terminate()
        assert process.wait(15.0) == 0


def rehearse(graph: RunningGraph, label: str = "0.95") -> Any:
    """Two random trials, each answered by the operator."""
    from memristor_bdnn.action import ActiveLearn

    done: list[Any] = []
    goal = ActiveLearn.Goal(queries=0, strategy="straddle")
    act = lambda: done.append(graph.client.act("coordinator", ActiveLearn, "active_learn", goal, 300.0))  # noqa: E731
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    labelled, deadline = 0, time.monotonic() + 150.0
    while thread.is_alive():
        assert time.monotonic() < deadline, graph.log.read_text()
        waiting = [line for line in graph.log.read_text().splitlines() if "was executed: waiting" in line]
        if len(waiting) > labelled:
            labelled += 1
            trial = waiting[-1].split("trial ")[1].split()[0]
            assert run_command_in_domain("label", trial, label if labelled % 2 else "0.1").returncode == 0
        time.sleep(0.3)
    thread.join()
    return done[0]


def quick(folder: Path) -> str:
    file = folder / "fast.yaml"
    file.write_text(
        "/**/pouring_world:\n  ros__parameters: {port.velocity_scaling: 1.0, port.acceleration_scaling: 1.0}\n"
    )
    return f"params_file:={file}"


def test_a_rehearsal_leaves_an_arm_on_the_bus_alone(start_graph: Callable[..., RunningGraph], tmp_path: Path) -> None:
    """The arm beside it is a controller of the usual name, whose joint states contradict the mock's."""
    from trajectory_msgs.msg import JointTrajectory

    running = start_graph(
        "use_mock_hardware:=true", "arm:=ur5e", "initial_trials:=2", "candidates:=20", quick(tmp_path)
    )
    running.wait_ready()
    commanded: list[Any] = []
    domain = os.environ["ROS_DOMAIN_ID"]
    beside = Bench(tmp_path)
    os.environ["ROS_DOMAIN_ID"] = beside.environment["ROS_DOMAIN_ID"] = domain
    node = running.client.node
    node.create_subscription(JointTrajectory, "joint_trajectory_controller/joint_trajectory", commanded.append, 10)
    driver = Driver(beside)
    ur5e = arms.load("ur5e")
    driver.say({name: q + 0.5 for name, q in zip(ur5e.joint_names, ur5e.home, strict=True)})
    try:
        result = rehearse(running)
        assert result.error_code == 0 and result.labels == 2, running.log.read_text()
        assert not commanded and "REHEARSAL" in running.log.read_text()
        assert "MOCK of ur5e: no arm moves" in running.log.read_text()
    finally:
        beside.close()


@pytest.mark.parametrize(("fault", "reason"), [("deviate", "deviation"), ("stale", "stale_state")])
def test_a_fault_is_rehearsed(
    fault: str, reason: str, start_graph: Callable[..., RunningGraph], tmp_path: Path
) -> None:
    running = start_graph("use_mock_hardware:=true", f"mock_fault:={fault}", "initial_trials:=2", "candidates:=20")
    running.wait_ready()
    result = rehearse(running)
    assert result.error_code != 0 and reason in result.error_msg, running.log.read_text()
    assert np.size(result.labels) == 1 and result.labels == 0


def test_a_world_that_is_held_up_takes_its_own_absence_for_nobodys_silence(bench: Bench) -> None:
    """Stopped for longer than a driver may be silent, at an arm's checks: the states it missed are judged later."""
    from memristor_bdnn.action import ExecuteTrial

    lab = Lab(bench, "port.stale_after:=0.5", "port.latency:=0.3", "port.path_tolerance:=0.05")
    results = lab.start(2.0)
    for _ in range(2):
        lab.world.send_signal(signal.SIGSTOP)
        time.sleep(0.7)
        lab.world.send_signal(signal.SIGCONT)
        time.sleep(1.0)  # beside other work it needs some of this to hear what waited; a moment is given once a silence
    until(lambda: bool(results), 60.0)
    assert results[0].error_code == ExecuteTrial.Result.NO_LABEL, results[0].error_msg


def test_a_mock_that_is_held_up_keeps_the_time(bench: Bench) -> None:
    """Its trajectory began when it was sent, and not when it came to it: the plan is kept, within the margin."""
    from memristor_bdnn.action import ExecuteTrial

    margins = [f"{name.partition('.')[2]}:={value}" for name, value in rehearsal.MARGINS.items()]
    lab = Lab(bench, "port.latency:=0.3", "port.path_tolerance:=0.05", *margins)
    results = lab.start(2.0)
    for _ in range(4):
        lab.mock.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        lab.mock.send_signal(signal.SIGCONT)
        time.sleep(0.5)
    until(lambda: bool(results), 60.0)
    assert results[0].error_code == ExecuteTrial.Result.NO_LABEL, results[0].error_msg
