"""The YAML file in config/ says what it claims: the defaults of the nodes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")

from memristor_bdnn.active.loop import LoopConfig
from memristor_bdnn.nodes import graph
from memristor_bdnn.nodes.accelerator import AcceleratorNodeConfig
from memristor_bdnn.nodes.coordinator import LOOP_DEFAULTS, CoordinatorNodeConfig
from memristor_bdnn.nodes.moveit import MoveItConfig
from memristor_bdnn.nodes.planner import PlannerNodeConfig
from memristor_bdnn.nodes.world import WorldNodeConfig
from memristor_bdnn.skills.pouring.motion import PlannerConfig
from memristor_bdnn.skills.pouring.skill import PouringSkill
from memristor_bdnn.skills.pouring.world import WorldConfig

FILE = Path(__file__).parent.parent / "config" / "pouring.yaml"
SECTIONS = {
    "pouring_world": {"": WorldNodeConfig, "world": WorldConfig},
    "pour_planner": {"": PlannerNodeConfig, "planner": PlannerConfig, "moveit": MoveItConfig},
    "accelerator": {"": AcceleratorNodeConfig},
    "coordinator": {"": CoordinatorNodeConfig, "loop": LoopConfig},
}
LAB_ONLY = {"arm_output", "enable_hardware", "controller", "joint_prefix"}
OF_THE_BOARD = {"host", "port"}
OVERRIDES = {("coordinator", "loop"): LOOP_DEFAULTS, ("pour_planner", "planner"): PouringSkill.motion_defaults}


def default(node: str, key: str) -> object:
    """The default of a node's parameter."""
    section, _, name = key.rpartition(".")
    fields = {f.name: f.default for f in dataclasses.fields(SECTIONS[node][section])}
    assert name in fields, f"{node} has no parameter {key}"
    return OVERRIDES.get((node, section), {}).get(name, fields[name])


@pytest.mark.parametrize("node", SECTIONS)
def test_every_key_is_a_parameter_with_its_default(node: str) -> None:
    content = yaml.safe_load(FILE.read_text())[f"/**/{node}"]["ros__parameters"]
    for key, value in content.items():
        assert default(node, key) == value, key


def test_defaults_of_the_arguments_are_those_of_the_nodes_they_go_to() -> None:
    skip = {"use_sim_time", "autostart"}
    named = {n.role: n.name for n in graph.nodes_of(PouringSkill())}
    for argument in graph.ARGUMENTS:
        for target in argument.targets:
            role, _, key = target.partition(".")
            node = named[role]
            lab = role == "world" and argument.name in LAB_ONLY
            if argument.name in skip or node not in SECTIONS or lab or argument.name in OF_THE_BOARD:
                continue
            assert default(node, key) == argument.parse(argument.default), target


def test_defaults_of_the_boards_arguments_are_those_of_the_driver() -> None:
    from memristor_bdnn.accelerator.escim.settings import EscimConfig

    for argument in graph.ARGUMENTS:
        if argument.name in OF_THE_BOARD:
            assert getattr(EscimConfig(), argument.option_of) == argument.parse(argument.default)
