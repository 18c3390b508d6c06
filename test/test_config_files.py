"""The YAML file in config/ says what it claims: the defaults of the nodes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")

from memristor_bdnn.active.loop import LoopConfig
from memristor_bdnn.nodes.accelerator import AcceleratorNodeConfig
from memristor_bdnn.nodes.coordinator import CoordinatorNodeConfig
from memristor_bdnn.nodes.planner import PlannerNodeConfig
from memristor_bdnn.nodes.world import WorldNodeConfig
from memristor_bdnn.planning.pour import PlannerConfig
from memristor_bdnn.pouring.world import WorldConfig

FILE = Path(__file__).parent.parent / "config" / "pouring.yaml"
SECTIONS = {
    "pouring_world": {"": WorldNodeConfig, "world": WorldConfig},
    "pour_planner": {"": PlannerNodeConfig, "planner": PlannerConfig},
    "accelerator": {"": AcceleratorNodeConfig},
    "coordinator": {"": CoordinatorNodeConfig, "loop": LoopConfig},
}
# The library defaults to the paper's sizes; a session through the nodes is usually smaller.
DIFFERENT = {("coordinator", "loop.initial_trials"), ("coordinator", "loop.candidates")}


@pytest.mark.parametrize("node", SECTIONS)
def test_every_key_is_a_parameter_with_its_default(node: str) -> None:
    content = yaml.safe_load(FILE.read_text())[f"/**/{node}"]["ros__parameters"]
    for key, value in content.items():
        section, _, name = key.rpartition(".")
        fields = {f.name: f.default for f in dataclasses.fields(SECTIONS[node][section])}
        assert name in fields, key
        if (node, key) not in DIFFERENT:
            assert fields[name] == value, key
