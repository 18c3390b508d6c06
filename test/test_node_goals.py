"""Goals are counted, heartbeats go on, a cleanup leaves nothing behind: nodes in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import until
from one_node import NAMES, OneNode, features, learn, nodes_in, predict

pytest.importorskip("rclpy")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., OneNode]]:
    yield from nodes_in(tmp_path)


def test_one_goal_learns_and_many_calls_do_not_silence_the_node(start: Callable[..., OneNode]) -> None:
    from memristor_bdnn.action import Learn
    from memristor_bdnn.srv import Predict
    from rclpy.action import ActionClient

    node = start("accelerator", **{"msgld__max_epochs": 100_000, "msgld__target_accuracy": 1.0}).wait_ready()
    assert learn(node).error_code == 0
    x = features(400, seed=8)
    y = np.random.default_rng(1).integers(0, 2, 400).astype(float).tolist()
    client = ActionClient(node.client.node, Learn, "/accelerator/learn")
    until(client.server_is_ready)
    goal = Learn.Goal(x=x, y=y, from_scratch=False)
    first = _done(client.send_goal_async(goal))
    assert first.accepted
    began = time.monotonic()
    others = [_done(client.send_goal_async(goal)) for _ in range(4)]
    assert not any(handle.accepted for handle in others) and time.monotonic() - began < 5.0
    heartbeats = _heartbeats(node)
    service = node.client.node.create_client(Predict, "/accelerator/predict")
    until(service.service_is_ready)
    calls = []
    for _ in range(60):
        calls.append(service.call_async(Predict.Request(candidates=features())))
        time.sleep(0.01)
    began = time.monotonic()
    count = len(heartbeats)
    time.sleep(4.0)
    assert len(heartbeats) - count >= 2, "heartbeats go on while calls wait"
    until(lambda: sum(c.done() for c in calls) >= 40, 30.0)
    reasons = {c.result().message for c in calls if c.done() and not c.result().success}
    assert all("busy" in reason for reason in reasons) and reasons
    _done(first.cancel_goal_async())
    second = _done(client.send_goal_async(goal))
    assert second.accepted, "a goal that is being cancelled does not keep the next one away"
    assert _done(first.get_result_async(), 60.0).result.error_code == Learn.Result.CANCELED
    _done(second.cancel_goal_async())
    assert _done(second.get_result_async(), 60.0).result.error_code == Learn.Result.CANCELED
    assert learn(node, from_scratch=True).error_code in (0, Learn.Result.LEARNER_FAILED)


def test_threads_that_ask_at_once_get_each_its_own_answer(start: Callable[..., OneNode]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from memristor_bdnn.srv import Predict

    node = start("accelerator").wait_ready()
    assert learn(node).error_code == 0

    def ask(rows: int) -> int:
        request = Predict.Request(candidates=features(rows), samples=3)
        answer = node.client.call("accelerator", Predict, "predict", request, 30.0)
        assert answer.success, answer.message
        return len(answer.prediction.mean)

    sizes = [1 + (7 * i) % 41 for i in range(60)]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(ask, sizes)) == sizes


def test_a_node_that_leaves_while_it_waits_says_so(start: Callable[..., OneNode]) -> None:
    from memristor_bdnn.srv import Predict

    from memristor_bdnn.errors import Cancelled

    node = start("accelerator").wait_ready()
    assert learn(node).error_code == 0
    request = Predict.Request(candidates=features(3))
    assert node.client.call("accelerator", Predict, "predict", request, 30.0).success
    client = node.client.peers._clients["accelerator/predict"][0]
    node.process.send_signal(signal.SIGSTOP)
    try:
        threading.Timer(1.0, lambda: node.client.node.destroy_client(client)).start()
        with pytest.raises(Cancelled, match="left while it waited"):
            node.client.call("accelerator", Predict, "predict", request, 30.0)
    finally:
        node.process.send_signal(signal.SIGCONT)


def _done(future: Any, timeout_s: float = 20.0) -> Any:
    until(future.done, timeout_s)
    return future.result()


def _heartbeats(node: OneNode) -> list[float]:
    from diagnostic_msgs.msg import DiagnosticArray

    times: list[float] = []
    node.client.node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: times.append(time.monotonic()), 10)
    return times


def test_a_second_trial_is_rejected_and_joint_states_go_on(start: Callable[..., OneNode]) -> None:
    from memristor_bdnn.action import ExecuteTrial
    from rclpy.action import ActionClient
    from sensor_msgs.msg import JointState

    node = start("world").wait_ready()
    goal = _slow_trial(node, times=30.0)
    client = ActionClient(node.client.node, ExecuteTrial, "/pouring_world/execute_trial")
    until(client.server_is_ready)
    heard: list[float] = []
    node.client.node.create_subscription(JointState, "/joint_states", lambda m: heard.append(time.monotonic()), 50)
    until(lambda: len(heard) > 3)
    first = _done(client.send_goal_async(goal))
    began = time.monotonic()
    assert first.accepted
    others = [client.send_goal_async(goal) for _ in range(4)]
    assert not any(_done(other).accepted for other in others)
    result = _done(first.get_result_async(), 120.0)
    seconds = time.monotonic() - began
    assert result.result.error_code == 0, result.result.error_msg
    during = [t for t in heard if began <= t <= began + seconds]
    assert len(during) >= 3 * seconds, "joint states go on during a trial"
    again = _done(client.send_goal_async(goal))
    assert again.accepted, "the place is free again"
    _done(again.cancel_goal_async())
    assert _done(again.get_result_async(), 60.0).result.error_code == ExecuteTrial.Result.CANCELED


def _slow_trial(node: OneNode, times: float) -> Any:
    """A trial's goal with an approach so many times slower than planned: it lasts, however fast the world is."""
    from memristor_bdnn.action import ExecuteTrial
    from memristor_bdnn.srv import ResetWorld

    from memristor_bdnn.errors import PlanningError
    from memristor_bdnn.motion import arms
    from memristor_bdnn.motion.trajectory import JointTrajectory
    from memristor_bdnn.nodes.convert import plan_to_message, table
    from memristor_bdnn.skills.pouring.skill import PouringSkill

    skill = PouringSkill()
    planner, plan, seed = skill.motion("panda", skill.motion_options()), None, 0
    while plan is None:
        seed += 1
        context = node.call(ResetWorld, "reset", ResetWorld.Request(seed=seed)).context
        found = np.array(context.values)
        chosen = skill.sample_candidates(found, 1, np.random.default_rng(seed), "panda")[0]
        with contextlib.suppress(PlanningError):
            plan = planner.plan(found, chosen, start=None, seed=seed)
    planner.close()
    fast = plan.trajectories[0]
    slow = JointTrajectory(fast.times * times, fast.positions, fast.velocities / times, fast.accelerations / times**2)
    return ExecuteTrial.Goal(
        context=context,
        parameters=table(skill.parameter_space.names, chosen),
        plan=plan_to_message(
            replace(plan, trajectories=(slow, *plan.trajectories[1:])), arms.load("panda").joint_names
        ),
    )


def test_a_node_without_a_clock_is_heard(start: Callable[..., OneNode]) -> None:
    node = start("accelerator", use_sim_time=True).wait_ready()
    heartbeats = _heartbeats(node)
    until(lambda: len(heartbeats) >= 3, 15.0)
    assert learn(node).error_code == 0 and predict(node).success


def test_a_clock_that_jumps_or_stands_still_silences_nobody(start: Callable[..., OneNode]) -> None:
    from builtin_interfaces.msg import Time
    from rosgraph_msgs.msg import Clock

    node = start("accelerator", use_sim_time=True).wait_ready()
    publisher = node.client.node.create_publisher(Clock, "/clock", 10)
    until(lambda: publisher.get_subscription_count() >= 1)
    for seconds in (5, 2**31 - 1, 0, -5, -(2**31), 10):
        publisher.publish(Clock(clock=Time(sec=seconds, nanosec=999_999_999)))
        heartbeats = _heartbeats(node)
        until(lambda heard=heartbeats: len(heard) >= 2, 15.0)
        assert learn(node).error_code == 0 and predict(node).success


def test_a_node_that_hangs_while_it_is_configured_can_be_stopped(start: Callable[..., OneNode], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "arm.yaml")
    node = start("world", arm=tmp_path / "arm.yaml")
    heartbeats = _heartbeats(node)
    until(lambda: len(heartbeats) >= 1 or node.process.poll() is not None)
    if node.process.poll() is None:
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(20.0) == 0


# -- leaks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("executable", sorted(NAMES))
def test_what_configure_makes_ends_in_cleanup(start: Callable[..., OneNode], executable: str) -> None:
    """Twenty times configured and cleaned up, a node has the endpoints, threads and files that it had before."""
    parameters = {"scale_topic": "/scale"} if executable == "physical_world" else {}
    node = start(executable, autostart=False, **parameters)
    until(lambda: node.client.node.count_publishers("/diagnostics") > 0)
    time.sleep(1.0)
    before = _endpoints(node)
    configured: list[Counter[str]] = []
    files: list[int] = []
    for turn in range(20):
        assert node.change("configure") == [True], node.log.read_text()[-2000:]
        if turn in (0, 1, 19):
            time.sleep(1.0)
            configured.append(_endpoints(node))
        assert node.change("cleanup") == [True]
        files.append(len(os.listdir(f"/proc/{node.process.pid}/fd")))
    assert configured[0] == configured[1] == configured[2]
    until(lambda: _endpoints(node) == before)
    assert files[-1] <= files[2] + 1, files


def _endpoints(node: OneNode) -> Counter[str]:
    """How many publishers and subscriptions of the node there are, services and actions included, by topic."""
    graph, found = node.client.node, Counter()
    for topic, _ in graph.get_topic_names_and_types(no_demangle=True):
        for side, ask in (("publisher", graph.get_publishers_info_by_topic), ("subscription", None)):
            ask = ask or graph.get_subscriptions_info_by_topic
            found[f"{side} {topic}"] += sum(info.node_name == node.name for info in ask(topic, no_mangle=True))
    return +found


def test_an_idle_graph_costs_little() -> None:
    """A share of the clock is the node's own CPU time: others on the machine do not count."""
    from memristor_bdnn.benchmark.idle import watch

    shares = watch(4.0)
    assert set(shares) == {"pouring_world", "pour_planner", "accelerator", "coordinator"}
    assert max(shares.values()) < 0.03, shares  # 0.07 before; benchmark idle measures longer
