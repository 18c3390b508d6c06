"""What may move, and what stops it: bad data, late peers, peers on the bus, callers that die. Real processes all."""

from __future__ import annotations

import json
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
from conftest import ROOT, RunningGraph, fresh_environment, until

pytest.importorskip("rclpy")

from test_physical_arm import ARM, Mock, mock, motion

from memristor_bdnn import skills
from memristor_bdnn.errors import ArmError, Cancelled, MemristorError
from memristor_bdnn.motion.plan import MotionPlan

__all__ = ["mock"]
TEST = Path(__file__).parent
SKILL = skills.load("pouring")
BUSY = {"stale_after": 5.0, "latency": 2.0, "path_tolerance": 1.0}
"""Checks for a machine that stalls, where that is not the subject."""
HOME = dict(zip(ARM.joint_names, ARM.home, strict=True))


class Bench:
    """Processes in one ROS domain, and a client among them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder, fresh_environment()
        for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE"):
            os.environ[name] = self.environment[name]
        self.processes: list[subprocess.Popen[str]] = []
        self._clients: list[Any] = []

    def client(self, **options: Any) -> Any:
        from memristor_bdnn.nodes.client import GraphClient

        self._clients.append(GraphClient("bench_client", **options))
        return self._clients[-1]

    def script(self, name: str, *words: object, **environment: str) -> subprocess.Popen[str]:
        """A script of this folder; its output goes to NAME.log in the bench's folder."""
        return self._start(name, [sys.executable, str(TEST / f"{name}.py"), *map(str, words)], environment)

    def node(self, executable: str, *parameters: str, **environment: str) -> subprocess.Popen[str]:
        path = Path(sys.prefix) / "lib" / "memristor_bdnn" / executable
        options = [word for p in parameters for word in ("-p", p)]
        return self._start(executable, [sys.executable, str(path), "--ros-args", *options], environment)

    def _start(self, name: str, words: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        with open(self.log(name), "w") as log:
            process = subprocess.Popen(
                words,
                env={**self.environment, **environment},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=ROOT,
            )
        self.processes.append(process)
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def says(self, name: str, text: str) -> bool:
        return text in self.log(name).read_text()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10.0)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


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


class Driver:
    """A driver's process, told what to publish."""

    def __init__(self, bench: Bench, reliability: str = "reliable", durability: str = "volatile") -> None:
        self.process = bench.script("scripted_joints", reliability, durability)

    def say(self, joints: dict[str, float] | None, **fields: Any) -> None:
        message = None if joints is None else {"name": list(joints), "position": list(joints.values()), **fields}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()


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
    assert "nobody publishes joint_states" in str(fresh(states))
    bench.client().node.create_publisher(Float64, "joint_states", 10)
    until(lambda: "publishes std_msgs/msg/Float64" in str(fresh(states)), 20.0)


# ---- stopping -----------------------------------------------------------------------------------


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
    return json.loads(bench.log("action_route").read_text().splitlines()[-1])


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
    assert result["from_home"] < 0.05 and result["moved"] < 0.05, result
    assert bench.says("mock_controller_node", "follows a goal"), "the goal was never on its way"
    assert bench.says("mock_controller_node", "the goal was cancelled")


# ---- goals to other nodes -----------------------------------------------------------------------


def test_a_goal_that_a_peer_accepts_after_the_caller_gave_up_is_cancelled(bench: Bench) -> None:
    from memristor_bdnn.action import ExecuteTrial

    bench.script("scripted_peer", "peer", 3.0, 20.0)
    give_up = threading.Event()
    client = bench.client(cancelled=give_up.is_set)
    until(lambda: client.peers.is_ready("peer"), 30.0)
    threading.Timer(1.5, give_up.set).start()
    with pytest.raises(Cancelled):
        client.act("peer", ExecuteTrial, "run", ExecuteTrial.Goal(), 60.0)
    assert not bench.says("scripted_peer", "accepted"), "too slow to be a test of a late acceptance"
    client.close()  # leaving is no way out either
    until(lambda: bench.says("scripted_peer", "cancelled"), 10.0)
    assert not bench.says("scripted_peer", "done")


@pytest.mark.parametrize("how", ["timeout", "feedback"])
def test_a_goal_whose_result_nobody_awaits_any_more_is_cancelled(bench: Bench, how: str) -> None:
    from memristor_bdnn.action import ExecuteTrial

    bench.script("scripted_peer", "peer", 0.0, 20.0)
    client = bench.client()
    until(lambda: client.peers.is_ready("peer"), 30.0)

    def broken(_: Any) -> None:
        raise ZeroDivisionError("a display's fault")

    with pytest.raises(MemristorError if how == "timeout" else ZeroDivisionError):
        client.act("peer", ExecuteTrial, "run", ExecuteTrial.Goal(), 1.0, broken if how == "feedback" else None)
    until(lambda: bench.says("scripted_peer", "cancelled"), 10.0)


def test_a_caller_that_was_stopped_for_a_while_blames_nobody(bench: Bench) -> None:
    """Fourteen seconds asleep during a call of at most twelve, more than a peer may be silent."""
    bench.script("scripted_peer", "peer", 0.0, 17.0)
    caller = bench.script("patient_caller", "peer", 12.0)
    until(lambda: bench.says("scripted_peer", "started"), 30.0)
    time.sleep(1.0)
    caller.send_signal(signal.SIGSTOP)
    time.sleep(14.0)
    caller.send_signal(signal.SIGCONT)
    assert caller.wait(30.0) == 0
    assert bench.says("patient_caller", "ok"), bench.log("patient_caller").read_text()


def test_two_nodes_of_one_name_are_told_from_one_that_was_started_anew(bench: Bench) -> None:
    from memristor_bdnn.action import ExecuteTrial

    from memristor_bdnn.nodes.peers import PeerLost

    first = bench.script("scripted_peer", "peer", 0.0, 60.0)
    client = bench.client()
    until(lambda: client.peers.is_ready("peer"), 30.0)
    before = client.peers.instance("peer")
    caught: list[PeerLost] = []

    def ask() -> None:
        try:
            client.act("peer", ExecuteTrial, "run", ExecuteTrial.Goal(), 60.0)
        except PeerLost as error:
            caught.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(1.0)
    bench.script("scripted_peer", "peer", 0.0, 60.0)
    asking.join(40.0)
    assert "two nodes named /peer (two graphs in the domain?)" in str(caught[0])
    with pytest.raises(PeerLost, match="two nodes named"):
        client.peers.wait_ready(("peer",), 5.0)
    second = client.peers.instance("peer")
    assert second not in (None, before)
    first.kill()
    time.sleep(4.0)
    client.peers.wait_ready(("peer",), 5.0)
    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(1.0)
    bench.processes[-1].kill()
    bench.script("scripted_peer", "peer", 0.0, 60.0)
    asking.join(40.0)
    assert "was started anew" in str(caught[1])
    assert client.peers.instance("peer") not in (None, before, second)


# ---- the physical world -------------------------------------------------------------------------


class Lab:
    """The physical world's node, a mock for its arm, and goals to it."""

    def __init__(self, bench: Bench, *parameters: str) -> None:
        self.bench = bench
        self.mock = bench.node("mock_controller_node")
        quick = ["port.velocity_scaling:=1.0", "port.acceleration_scaling:=1.0", "port.stale_after:=5.0"]
        given = ["enable_hardware:=true", "arm_output:=topic", "port.latency:=2.0", *quick, *parameters]
        self.world = bench.node("physical_world_node", *given)
        self.client = bench.client()
        from memristor_bdnn.nodes.joint_states import JointStates

        self.states = JointStates(self.client.node, ARM.joint_names)
        ready = lambda: self.client.peers.is_ready("pouring_world") and self.states.last() is not None  # noqa: E731
        until(ready, 60.0)

    def goal(self, duration: float = 4.0) -> Any:
        """A trial whose plan swings a joint there and back, once a phase."""
        from memristor_bdnn.action import ExecuteTrial
        from memristor_bdnn.srv import ResetWorld

        from memristor_bdnn.nodes import convert

        found = self.client.call("pouring_world", ResetWorld, "reset", ResetWorld.Request(), 20.0)
        assert found.success, found.message
        context = convert.row_from_message(found.context, SKILL.context_space)
        rng = np.random.default_rng(0)
        parameters = SKILL.sample_candidates(context, 1, rng)[0]
        there = motion(duration)
        parts = tuple(there if i % 2 == 0 else there.reversed() for i in range(len(SKILL.phases)))
        plan = MotionPlan(SKILL.phases, parts, object_in_tool=np.eye(4))
        return ExecuteTrial.Goal(
            context=found.context,
            parameters=convert.table(SKILL.parameter_space.names, parameters),
            plan=convert.plan_to_message(plan, ARM.joint_names),
        )

    def start(self, duration: float = 4.0) -> list[Any]:
        """Send a goal; its result will be in the list. Returns while the arm moves."""
        from memristor_bdnn.action import ExecuteTrial

        results: list[Any] = []
        goal = self.goal(duration)

        def act() -> None:
            try:
                results.append(self.client.act("pouring_world", ExecuteTrial, "execute_trial", goal, 120.0))
            except Exception as error:  # of a world that has left
                results.append(error)

        threading.Thread(target=act, daemon=True).start()
        until(self.moves, 30.0)
        return results

    def moves(self) -> bool:
        before = self.states.last()
        time.sleep(0.2)
        return bool(np.abs(self.states.last() - before).max() > 1e-4)

    def assert_stays(self) -> None:
        until(lambda: not self.moves(), 5.0)
        where = self.states.last()
        time.sleep(1.0)
        np.testing.assert_allclose(self.states.last(), where, atol=1e-4)

    def set(self, name: str, value: Any) -> Any:
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.client.call("pouring_world", SetParameters, "set_parameters", request, 20.0).results[0]

    def change(self, transition: int) -> bool:
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.client.call("pouring_world", ChangeState, "change_state", request, 20.0).success)


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
    caller.wait(20.0)
    until(lambda: bench.says("physical_world_node", "cancelled") or not lab.moves(), 10.0)
    lab.assert_stays()
    assert abs(lab.states.last()[0] - motion().end[0]) > 0.01
