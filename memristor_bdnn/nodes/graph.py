"""The graph as data: which nodes run with which parameters, and the arguments a user may give.

Read by launch/*.launch.py (for `ros2 launch`) and by our own supervisor (`memristor-bdnn up`), so
that both start the same command lines. No rclpy here.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from memristor_bdnn import skills
from memristor_bdnn.device import presets
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes import rehearsal
from memristor_bdnn.nodes.arguments import Argument, NodeCommand, NodeSpec
from memristor_bdnn.nodes.decide import Decision
from memristor_bdnn.nodes.typed import parameter_text as parameter_text
from memristor_bdnn.skills import Skill


def _names(kind: str) -> Callable[[], Sequence[str]]:
    """A function that lists the plugins of a kind, imported when it is called."""

    def names() -> Sequence[str]:
        found: Sequence[str] = importlib.import_module(f"memristor_bdnn.{kind}").names()
        return found

    return names


def nodes_of(skill: Skill) -> tuple[NodeSpec, ...]:
    """The nodes of a graph: two are named by the skill; the others are the same for all."""
    world, planner = skill.node_names
    return (
        NodeSpec("world", world, "world_node", when="arm_output=sim"),
        NodeSpec("world", world, "physical_world_node", when="arm_output!=sim"),
        NodeSpec("planner", planner, "planner_node"),
        NodeSpec("accelerator", "accelerator", "accelerator_node"),
        NodeSpec("coordinator", "coordinator", "coordinator_node"),
        NodeSpec("recorder", "recorder", "recorder_node", when="record=true"),
        NodeSpec("mock", rehearsal.CONTROLLER, "mock_controller_node", when=f"{rehearsal.SWITCH}=true"),
        NodeSpec(
            "rviz",
            "rviz",
            "rviz2",
            when="rviz=true",
            package="rviz2",
            shows="config/memristor_bdnn.rviz",
            # The file names the topics of the default skill.
            remappings={
                f"{usual}/markers": f"{name}/markers"
                for usual, name in zip(skills.load(skills.DEFAULT).node_names, skill.node_names, strict=True)
                if usual != name
            },
        ),
    )


_SKILLED = ("world", "planner", "accelerator", "coordinator")
_ALL = (*_SKILLED, "recorder", "mock")


def _for(roles: Sequence[str], parameter: str) -> tuple[str, ...]:
    return tuple(f"{role}.{parameter}" for role in roles)


ARGUMENTS = (
    Argument("namespace", "", "namespace of all nodes"),
    Argument("params_file", "", "YAML file of node parameters; it decides what is not typed"),
    Argument(
        "discovery",
        "",
        "who may find the nodes; empty: as the environment says, otherwise this machine alone",
        choices=("localhost", "subnet"),
    ),
    Argument("use_sim_time", "false", "follow /clock", bool, targets=_for((*_ALL, "rviz"), "use_sim_time")),
    Argument("autostart", "true", "configure and activate the nodes", bool, targets=_for(_ALL, "autostart")),
    Argument("use_respawn", "false", "start a node again when it dies", bool, targets=("coordinator.recover",)),
    Argument("log_level", "info", "log level of the nodes", choices=("debug", "info", "warn", "error", "fatal")),
    Argument(
        "skill",
        skills.DEFAULT,
        "what is learned",
        choices=_names("skills"),
        targets=_for(_SKILLED, "skill"),
    ),
    Argument("learner", "msgld", "learner plugin", choices=_names("learners"), targets=("accelerator.learner",)),
    Argument(
        "recipe",
        "",
        "recipe of the skill for the learner; empty: what the skill recommends",
        targets=("accelerator.recipe",),
    ),
    Argument(
        "learner_options",
        "",
        "more learner options as a YAML mapping: '{max_epochs: 40}'",
        targets=("accelerator.learner_options",),
    ),
    Argument(
        "prior_pool",
        "",
        ".npz pool that a recipe with a prior is fitted to first; empty: the one that ships with the skill",
        targets=("coordinator.prior_pool",),
    ),
    Argument(
        "preset",
        presets.NAMES[0],
        "device preset: a name or a YAML file",
        choices=presets.NAMES,
        targets=("accelerator.preset",),
        files=(".yaml", ".yml"),
    ),
    Argument(
        "accelerator", "simulated", "accelerator", choices=_names("accelerator"), targets=("accelerator.accelerator",)
    ),
    Argument("host", "192.168.1.10", "address of the ESCIM board", targets=("accelerator.host",), option_of="host"),
    Argument(
        "accelerator_options",
        "",
        "more accelerator options as a YAML mapping: '{adc: true}'",
        targets=("accelerator.options",),
    ),
    Argument("port", "7", "port of the ESCIM board", int, targets=("accelerator.port",), option_of="port"),
    Argument(
        "arm",
        "panda",
        "arm description: a name or a YAML file",
        choices=_names("motion.arms"),
        targets=_for(("world", "planner", "coordinator"), "arm"),
        follow=("mock.arm",),
        files=(".yaml", ".yml"),
        agree=True,
    ),
    Argument(
        "planner",
        "own",
        "who plans approach and retreat: own, or moveit, a running move_group",
        choices=_names("motion.free_space"),
        targets=("planner.planner",),
    ),
    Argument(
        "moveit_group",
        "",
        "planning group of the arm in the robot's SRDF, for planner:=moveit",
        targets=("planner.moveit.group",),
    ),
    Argument(
        "arm_output",
        "sim",
        "who moves: the simulator, or a controller over its action or topic",
        choices=("sim", "action", "topic", "auto"),
        targets=("world.arm_output", "coordinator.arm_output"),
        agree=True,
    ),
    Argument(
        "enable_hardware",
        "false",
        "really move a physical arm",
        bool,
        targets=("world.enable_hardware",),
        only="physical",
    ),
    Argument(
        "controller",
        "joint_trajectory_controller",
        "joint trajectory controller of a physical arm",
        targets=("world.controller",),
        only="physical",
    ),
    Argument(
        "joint_prefix",
        "",
        "prefix of a physical arm's joint names",
        targets=("world.port.joint_prefix", "coordinator.joint_prefix"),
        follow=("mock.joint_prefix",),
        agree=True,
    ),
    Argument(
        rehearsal.SWITCH,
        "false",
        f"rehearse: start a mock controller of the arm ({rehearsal.CONTROLLER}) and move that, never an arm",
        bool,
        only="physical",
    ),
    Argument(
        "mock_fault",
        "none",
        "what the mock controller does wrong in every motion",
        choices=rehearsal.FAULTS,
        targets=("mock.fault",),
        only="mock",
    ),
    Argument(
        "mock_fault_after_s",
        "0.3",
        "when during a motion the fault sets in, s",
        float,
        targets=("mock.fault_after_s",),
        only="mock",
    ),
    Argument(
        "mock_thinks_s",
        "0.0",
        "how long the mock controller's action takes to accept a goal, s",
        float,
        targets=("mock.thinks_s",),
        only="mock",
    ),
    Argument("gui", "false", "open the simulator's window", bool, targets=("world.gui",), only="simulated"),
    Argument(
        "camera",
        "false",
        "publish camera images of a trial",
        bool,
        targets=("world.camera",),
        only="simulated",
    ),
    Argument("rviz", "false", "open RViz with the arm, the scene and the plan (needs rviz2)", bool),
    Argument("record", "false", "record the session as MCAP into the results folder", bool),
    Argument("seed", "0", "seed of every random choice", int, targets=_for(_SKILLED, "seed")),
    Argument(
        "results",
        "results/session",
        "folder of the trial store and the checkpoints",
        targets=("accelerator.results", "coordinator.results", "recorder.results"),
    ),
    Argument(
        "test_data", "", ".npz file with x and score: accuracy on it is reported", targets=("coordinator.test_data",)
    ),
    Argument(
        "initial_trials",
        "64",
        "random trials before the first query",
        int,
        targets=("coordinator.loop.initial_trials",),
    ),
    Argument("candidates", "1000", "candidates per query", int, targets=("coordinator.loop.candidates",)),
)


def skill_arguments(skill: Skill) -> tuple[Argument, ...]:
    """The arguments that a skill declares of its physical set-up; empty text leaves the node's default."""
    hints = typing.get_type_hints(skill.physical_options)
    fields: dict[str, Any] = {f.name: f for f in dataclasses.fields(skill.physical_options)}
    return tuple(
        Argument(
            name,
            "",
            f"{fields[name].metadata.get('doc', name)}, for a physical arm and skill {skill.name} "
            f"(default {fields[name].default})",
            hints[name],
            targets=(f"world.{name}",),
            skill=skill.name,
            only="physical",
            empty=fields[name].default,
        )
        for name in skill.arguments
    )


def all_arguments() -> tuple[Argument, ...]:
    """Arguments of every graph, and those of all skills that can be loaded."""
    known = {a.name: a for a in ARGUMENTS}
    for name in skills.names():
        try:
            declared = skill_arguments(skills.load(name))
        except ConfigError:
            continue  # said when that skill is asked for
        for argument in declared:
            known.setdefault(argument.name, argument)
    return tuple(known.values())


def parse_arguments(texts: Sequence[str]) -> dict[str, str]:
    """Read ``name:=value`` words.

    Raises:
        ConfigError: a word without ``:=``, an unknown name, or a value not allowed.
    """
    known = {a.name: a for a in all_arguments()}
    values: dict[str, str] = {}
    for word in texts:
        name, separator, value = word.partition(":=")
        if not separator:
            raise ConfigError(f"{word!r}: expected name:=value")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"unknown argument {name!r}{hint} Arguments: {', '.join(known)}")
        known[name].parse(value)
        values[name] = value
    return values


PHYSICAL_DEFAULTS = {"arm_output": "auto"}
"""What launch/physical_arm.launch.py changes."""


def show_warning(text: str) -> None:
    """Where a warning goes unless somebody else wants it."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def resolve(
    typed: Mapping[str, str],
    defaults: Mapping[str, str] | None = None,
    *,
    within: str = "",
    warn: Callable[[str], None] = show_warning,
) -> list[NodeCommand]:
    """Every node with its parameters.

    What was typed wins over the params file, also where it equals a default; the file wins over ``defaults``, and these
    over the nodes' own. Which nodes run follows from the value that won.

    Args:
        typed: texts of the arguments that somebody gave, and of no others.
        defaults: of a launch file, where they differ from the graph's.
        within: namespace in which the graph's own lies, as a launch file may push one.
        warn: told what is left out of the params file.

    Raises:
        ConfigError: a value that is not allowed, an argument that skill or accelerator do not have, nodes that would
            disagree, or a params file that cannot be used.
    """
    return Decision(all_arguments(), nodes_of, typed, defaults or {}, within).commands(warn)


def typed_of(configurations: Mapping[str, str]) -> dict[str, str]:
    """Our arguments among launch configurations, before defaults are declared: what the user or a file above gave."""
    return {a.name: configurations[a.name] for a in all_arguments() if a.name in configurations}


def show_arguments() -> str:
    """The arguments as text, for --show-args."""
    lines = ["Arguments (pass as name:=value):"]
    for a in all_arguments():
        allowed = a.allowed()
        lines.append(f"\n    '{a.name}':\n        {a.doc}{'. Choices: ' + ', '.join(allowed) if allowed else ''}")
        lines.append(f"        (default: '{a.default}')")
    return "\n".join(lines)
