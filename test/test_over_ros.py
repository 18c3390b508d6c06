"""The benchmark of predictions over ROS measures a node that is really there, and leaves none behind."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

pytest.importorskip("rclpy")

from conftest import fresh_environment

from memristor_bdnn.benchmark import over_ros


def test_a_node_is_asked_and_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fresh_environment().items():
        monkeypatch.setenv(name, value)
    started: list[Any] = []
    original = subprocess.Popen.__init__

    def noted(self: Any, *arguments: Any, **named: Any) -> None:
        started.append(self)
        original(self, *arguments, **named)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    found = over_ros.figures(seed=3, calls=30)
    assert 0 < found["over_ros_node_computes_s"] < found["predict_100_over_ros_clock_s"]
    assert 0 < found["predict_100_clock_s"] and 0 < found["over_ros_more_least_s"]
    nodes = [process for process in started if f"speed_{os.getpid()}" in str(process.args)]
    assert len(nodes) == 1 and nodes[0].poll() is not None
