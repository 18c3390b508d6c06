"""One node in a process of its own, with a client: what the tests of nodes that must not die share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from conftest import fresh_environment, until

EXECUTABLES = Path(sys.prefix) / "lib" / "memristor_bdnn"


class OneNode:
    """One node in a process of its own, and a client to talk to it."""

    def __init__(self, folder: Path, command: list[str], name: str, parameters: dict[str, Any]) -> None:
        environment = fresh_environment()
        words = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        self.name, self.folder, self.log = name, folder, folder / f"{name}.log"
        with open(self.log, "w") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command, "--ros-args", *words],
                env=environment,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        os.environ["ROS_DOMAIN_ID"] = environment["ROS_DOMAIN_ID"]
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        from memristor_bdnn.nodes.client import GraphClient

        self.client = GraphClient("robustness_client")

    def wait_ready(self) -> OneNode:
        until(lambda: self.client.peers.is_ready(self.name) or self.process.poll() is not None, 60.0)
        self.check_alive()
        return self

    def check_alive(self) -> None:
        assert self.process.poll() is None, f"{self.name} died:\n{self.log.read_text()[-3000:]}"

    def call(self, kind: Any, service: str, request: Any = None, timeout_s: float = 60.0) -> Any:
        response = self.client.call(self.name, kind, service, request or kind.Request(), timeout_s)
        self.check_alive()
        return response

    def set(self, **values: Any) -> Any:
        """Set parameters together; names with a dot are given with two underscores."""
        from rcl_interfaces.srv import SetParametersAtomically
        from rclpy.parameter import Parameter

        parameters = [Parameter(k.replace("__", "."), value=v).to_parameter_msg() for k, v in values.items()]
        request = SetParametersAtomically.Request(parameters=parameters)
        return self.call(SetParametersAtomically, "set_parameters_atomically", request).result

    def get(self, name: str) -> Any:
        from rcl_interfaces.srv import GetParameters
        from rclpy.parameter import parameter_value_to_python

        values = self.call(GetParameters, "get_parameters", GetParameters.Request(names=[name])).values
        return parameter_value_to_python(values[0]) if values else None

    def change(self, *labels: str) -> list[bool]:
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        return [
            self.call(
                ChangeState, "change_state", ChangeState.Request(transition=Transition(label=label)), 120.0
            ).success
            for label in labels
        ]

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(15.0)
            except subprocess.TimeoutExpired:
                self.process.kill()


NAMES = {
    "accelerator": "accelerator",
    "world": "pouring_world",
    "physical_world": "pouring_world",
    "planner": "pour_planner",
    "coordinator": "coordinator",
    "recorder": "recorder",
    "mock_controller": "joint_trajectory_controller",
}


def nodes_in(folder: Path) -> Iterator[Callable[..., OneNode]]:
    """For a fixture: start nodes by their executable; all are stopped at the end."""
    nodes: list[OneNode] = []

    def begin(executable: str, **parameters: Any) -> OneNode:
        words = {k.replace("__", "."): v for k, v in parameters.items()}
        node = OneNode(folder, [str(EXECUTABLES / f"{executable}_node")], NAMES[executable], words)
        nodes.append(node)
        return node

    yield begin
    for node in nodes:
        node.close()


def learned_accelerator(folder: Path) -> Iterator[OneNode]:
    """For a fixture: an accelerator that has learned."""
    running = OneNode(folder, [str(EXECUTABLES / "accelerator_node")], "accelerator", {"seed": 3})
    try:
        running.wait_ready()
        assert learn(running).error_code == 0
        yield running
    finally:
        running.close()


def features(rows: int = 12, seed: int = 0) -> Any:
    from memristor_bdnn.nodes.convert import table
    from memristor_bdnn.skills.pouring.context import FEATURE_NAMES

    return table(FEATURE_NAMES, np.random.default_rng(seed).uniform(-1, 1, (rows, len(FEATURE_NAMES))))


def labels(message: Any) -> list[float]:
    return [float(v > 0) for v in np.array(message.values).reshape(-1, 11)[:, 0]]


def learn(node: OneNode, **fields: Any) -> Any:
    from memristor_bdnn.action import Learn

    x = features(24, seed=5)
    goal = Learn.Goal(**{"x": x, "y": labels(x), "from_scratch": True, **fields})
    return node.client.act("accelerator", Learn, "learn", goal, 120.0)


def predict(node: OneNode, **fields: Any) -> Any:
    from memristor_bdnn.srv import Predict

    return node.call(Predict, "predict", Predict.Request(**{"candidates": features(), **fields}))
