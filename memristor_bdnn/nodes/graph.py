"""The graph as data: which nodes run with which parameters, and the arguments a user may give.

Read by launch/*.launch.py (for `ros2 launch`) and by our own supervisor (`memristor-bdnn up`), so
that both start the same command lines. No rclpy here.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from memristor_bdnn import skills
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills import Skill

ParameterValue = bool | int | float | str


@dataclass(frozen=True)
class Argument:
    """One argument of the graph, as in ``name:=value``.

    Attributes:
        name: what the user types.
        default: text form; a value equal to the default is not passed on, so that a parameter
            file still decides.
        doc: one sentence.
        kind: bool, int, float or str.
        choices: allowed values, or a function that lists them when asked.
        targets: ``role.parameter`` names that receive the value; the roles are those of :class:`NodeSpec`.
        files: suffixes of file names that are allowed beside the choices.
        skill: the only skill that knows the argument; empty for all.
        option_of: the option that the chosen accelerator must have.
        only: ``simulated`` or ``physical``: whose arm the argument is for; empty for both.
    """

    name: str
    default: str
    doc: str
    kind: type = str
    choices: tuple[str, ...] | Callable[[], Sequence[str]] | None = None
    targets: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    skill: str = ""
    option_of: str = ""
    only: str = ""

    def allowed(self) -> tuple[str, ...] | None:
        """The allowed values as text, or None for any."""
        if self.kind is bool:
            return ("true", "false")
        if self.choices is None:
            return None
        return tuple(self.choices() if callable(self.choices) else self.choices)

    def parse(self, text: str) -> ParameterValue:
        """The typed value. Raises ConfigError naming the argument, the value and the choices."""
        allowed = self.allowed()
        if allowed is not None and text not in allowed and not (self.files and text.endswith(self.files)):
            raise ConfigError(f"{self.name}:={text}: choose one of {', '.join(allowed)}")
        if self.kind is bool:
            return text == "true"
        try:
            return self.kind(text)  # type: ignore[no-any-return]
        except ValueError:
            raise ConfigError(f"{self.name}:={text}: expected {self.kind.__name__}") from None


@dataclass(frozen=True)
class NodeSpec:
    """One node of the graph: its role, its name, its executable, fixed parameters.

    ``when`` is the one condition a graph knows: ``argument=value`` or ``argument!=value``.
    """

    role: str
    name: str
    executable: str
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    when: str = ""

    def wanted(self, values: Mapping[str, str]) -> bool:
        """Whether the node runs with these argument texts."""
        if not self.when:
            return True
        name, _, value = self.when.partition("=")
        return (values[name.rstrip("!")] == value) != name.endswith("!")


@dataclass(frozen=True)
class NodeCommand:
    """A node ready to start, every argument applied."""

    name: str
    executable: str
    namespace: str
    params_file: str
    parameters: Mapping[str, ParameterValue]
    log_level: str
    respawn: bool

    def ros_arguments(self) -> list[str]:
        """Arguments after the executable, the same that launch_ros gives to a node."""
        result = ["--ros-args", "-r", f"__node:={self.name}"]
        if self.namespace:
            result += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        result += ["--log-level", self.log_level]
        if self.params_file:
            result += ["--params-file", self.params_file]
        for key, value in self.parameters.items():
            result += ["-p", f"{key}:={parameter_text(value)}"]
        return result


def parameter_text(value: ParameterValue) -> str:
    """A value as YAML on a command line; text that YAML would read as something else is quoted."""
    if isinstance(value, str):
        return value if value and isinstance(yaml.safe_load(value), str) else f"'{value}'"
    return str(value).lower() if isinstance(value, bool) else repr(value)


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
    )


_SKILLED = ("world", "planner", "accelerator", "coordinator")
_ALL = (*_SKILLED, "recorder")


def _for(roles: Sequence[str], parameter: str) -> tuple[str, ...]:
    return tuple(f"{role}.{parameter}" for role in roles)


ARGUMENTS = (
    Argument("namespace", "", "namespace of all nodes"),
    Argument("params_file", "", "YAML file of node parameters, applied before the arguments"),
    Argument("use_sim_time", "false", "follow /clock", bool, targets=_for(_ALL, "use_sim_time")),
    Argument("autostart", "true", "configure and activate the nodes", bool, targets=_for(_ALL, "autostart")),
    Argument("use_respawn", "false", "start a node again when it dies", bool, targets=("coordinator.recover",)),
    Argument("log_level", "info", "log level of the nodes", choices=("debug", "info", "warn", "error", "fatal")),
    Argument("skill", skills.DEFAULT, "what is learned", choices=_names("skills"), targets=_for(_SKILLED, "skill")),
    Argument("learner", "msgld", "learner plugin", choices=_names("learners"), targets=("accelerator.learner",)),
    Argument(
        "recipe",
        "",
        "recipe of the skill for the learner; empty: what the skill recommends",
        targets=("accelerator.recipe",),
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
        files=(".yaml", ".yml"),
    ),
    Argument(
        "arm_output",
        "sim",
        "who moves: the simulator, or a controller over its action or topic",
        choices=("sim", "action", "topic", "auto"),
        targets=("world.arm_output", "coordinator.arm_output"),
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
    fields = {f.name: f for f in dataclasses.fields(skill.physical_options)}
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


def resolve(values: Mapping[str, str]) -> list[NodeCommand]:
    """Every node with its parameters, for the given argument texts.

    Raises:
        ConfigError: a value that is not allowed, an argument that skill or accelerator do not have, or a params_file
            that does not exist.
    """
    arguments = all_arguments()
    merged = {a.name: values.get(a.name, a.default) for a in arguments}
    params_file = merged["params_file"]
    if params_file and not Path(params_file).is_file():
        raise ConfigError(f"params_file:={params_file}: no such file")
    skill = skills.load(merged["skill"])
    nodes = nodes_of(skill)
    parameters: dict[str, dict[str, ParameterValue]] = {n.role: dict(n.parameters) for n in nodes}
    for argument in arguments:
        text = merged[argument.name]
        if text == argument.default:
            continue
        value = argument.parse(text)
        _check_fits(argument, text, merged)
        for target in argument.targets:
            role, _, parameter = target.partition(".")
            parameters[role][parameter] = value
    return [
        NodeCommand(
            name=node.name,
            executable=node.executable,
            namespace=merged["namespace"],
            params_file=str(Path(params_file).resolve()) if params_file else "",
            parameters=parameters[node.role],
            log_level=merged["log_level"],
            respawn=merged["use_respawn"] == "true",
        )
        for node in nodes
        if node.wanted(merged)
    ]


def _check_fits(argument: Argument, text: str, merged: Mapping[str, str]) -> None:
    """Refuse an argument that would be ignored."""
    if argument.skill and argument.skill != merged["skill"]:
        raise ConfigError(f"{argument.name}:={text} is an argument of skill {argument.skill}, not of {merged['skill']}")
    simulated = merged["arm_output"] == "sim"
    if argument.only == "physical" and simulated:
        raise ConfigError(f"{argument.name}:={text} is for a physical arm: it needs arm_output:=action, topic or auto")
    if argument.only == "simulated" and not simulated:
        raise ConfigError(f"{argument.name}:={text} is for a simulated arm, but arm_output:={merged['arm_output']}")
    if argument.option_of:
        from memristor_bdnn import accelerator

        fields = [f.name for f in dataclasses.fields(accelerator.load(merged["accelerator"]).config_type)]
        if argument.option_of not in fields:
            raise ConfigError(
                f"{argument.name}:={text}: accelerator {merged['accelerator']} has no such option; it has "
                f"{', '.join(fields)}"
            )


def show_arguments() -> str:
    """The arguments as text, for --show-args."""
    lines = ["Arguments (pass as name:=value):"]
    for a in all_arguments():
        allowed = a.allowed()
        lines.append(f"\n    '{a.name}':\n        {a.doc}{'. Choices: ' + ', '.join(allowed) if allowed else ''}")
        lines.append(f"        (default: '{a.default}')")
    return "\n".join(lines)
