"""The graph as data: which nodes run with which parameters, and the arguments a user may give.

Read by launch/*.launch.py (for `ros2 launch`) and by our own supervisor (`memristor-bdnn up`), so
that both start the same command lines. No rclpy here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from memristor_bdnn.errors import ConfigError

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
        targets: ``node.parameter`` names that receive the value.
    """

    name: str
    default: str
    doc: str
    kind: type = str
    choices: tuple[str, ...] | Callable[[], Sequence[str]] | None = None
    targets: tuple[str, ...] = ()

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
        if allowed is not None and text not in allowed and not (self.name == "arm" and text.endswith(".yaml")):
            raise ConfigError(f"{self.name}:={text}: choose one of {', '.join(allowed)}")
        if self.kind is bool:
            return text == "true"
        try:
            return self.kind(text)  # type: ignore[no-any-return]
        except ValueError:
            raise ConfigError(f"{self.name}:={text}: expected {self.kind.__name__}") from None


@dataclass(frozen=True)
class NodeSpec:
    """One node of the graph: its name, its executable, fixed parameters.

    ``when`` is the one condition a graph knows: ``argument=value`` or ``argument!=value``.
    """

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


def _learners() -> list[str]:
    from memristor_bdnn import learners

    return sorted(learners.names())


def _accelerators() -> list[str]:
    from memristor_bdnn import accelerator

    return list(accelerator.NAMES)


def _arms() -> list[str]:
    from memristor_bdnn.motion import arms

    return list(arms.NAMES)


NODES = (
    NodeSpec("pouring_world", "world_node", when="arm_output=sim"),
    NodeSpec("pouring_world", "physical_world_node", when="arm_output!=sim"),
    NodeSpec("pour_planner", "planner_node"),
    NodeSpec("accelerator", "accelerator_node"),
    NodeSpec("coordinator", "coordinator_node"),
    NodeSpec("recorder", "recorder_node", when="record=true"),
)

_ALL = tuple(dict.fromkeys(node.name for node in NODES))
_SEEDED = ("pouring_world", "pour_planner", "accelerator", "coordinator")

ARGUMENTS = (
    Argument("namespace", "", "namespace of all nodes"),
    Argument("params_file", "", "YAML file of node parameters, applied before the arguments"),
    Argument("use_sim_time", "false", "follow /clock", bool, targets=tuple(f"{n}.use_sim_time" for n in _ALL)),
    Argument(
        "autostart", "true", "configure and activate the nodes", bool, targets=tuple(f"{n}.autostart" for n in _ALL)
    ),
    Argument("use_respawn", "false", "start a node again when it dies", bool, targets=("coordinator.recover",)),
    Argument("log_level", "info", "log level of the nodes", choices=("debug", "info", "warn", "error", "fatal")),
    Argument("learner", "msgld", "learner plugin", choices=_learners, targets=("accelerator.learner",)),
    Argument("accelerator", "simulated", "accelerator", choices=_accelerators, targets=("accelerator.accelerator",)),
    Argument("host", "192.168.1.10", "address of the ESCIM board", targets=("accelerator.host",)),
    Argument(
        "accelerator_options",
        "",
        "more accelerator options as a YAML mapping: '{adc: true}'",
        targets=("accelerator.options",),
    ),
    Argument("port", "7", "port of the ESCIM board", int, targets=("accelerator.port",)),
    Argument(
        "arm",
        "panda",
        "arm description: a name or a YAML file",
        choices=_arms,
        targets=("pouring_world.arm", "pour_planner.arm"),
    ),
    Argument(
        "arm_output",
        "sim",
        "who moves: the simulator, or a controller over its action or topic",
        choices=("sim", "action", "topic", "auto"),
        targets=("pouring_world.arm_output", "coordinator.arm_output"),
    ),
    Argument(
        "enable_hardware", "false", "really move a physical arm", bool, targets=("pouring_world.enable_hardware",)
    ),
    Argument(
        "controller",
        "joint_trajectory_controller",
        "joint trajectory controller of a physical arm",
        targets=("pouring_world.controller",),
    ),
    Argument(
        "joint_prefix",
        "",
        "prefix of a physical arm's joint names",
        targets=("pouring_world.port.joint_prefix", "coordinator.joint_prefix"),
    ),
    Argument("bowl", "white", "bowl on the table, for a physical arm", targets=("pouring_world.bowl",)),
    Argument("cup", "teal", "cup in the hand, for a physical arm", targets=("pouring_world.cup",)),
    Argument("gui", "false", "open the simulator's window", bool, targets=("pouring_world.gui",)),
    Argument("camera", "false", "publish camera images of a pour", bool, targets=("pouring_world.camera",)),
    Argument("record", "false", "record the session as MCAP into the results folder", bool),
    Argument("seed", "0", "seed of every random choice", int, targets=tuple(f"{n}.seed" for n in _SEEDED)),
    Argument(
        "results",
        "results/session",
        "folder of the trial store and the checkpoints",
        targets=("coordinator.results", "recorder.results"),
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


def parse_arguments(texts: Sequence[str], arguments: Sequence[Argument] = ARGUMENTS) -> dict[str, str]:
    """Read ``name:=value`` words.

    Raises:
        ConfigError: a word without ``:=``, an unknown name, or a value not allowed.
    """
    known = {a.name: a for a in arguments}
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


def resolve(
    values: Mapping[str, str], nodes: Sequence[NodeSpec] = NODES, arguments: Sequence[Argument] = ARGUMENTS
) -> list[NodeCommand]:
    """Every node with its parameters, for the given argument texts.

    Raises:
        ConfigError: a value that is not allowed, or a params_file that does not exist.
    """
    merged = {a.name: values.get(a.name, a.default) for a in arguments}
    params_file = merged.get("params_file", "")
    if params_file and not Path(params_file).is_file():
        raise ConfigError(f"params_file:={params_file}: no such file")
    parameters: dict[str, dict[str, ParameterValue]] = {n.name: dict(n.parameters) for n in nodes}
    for argument in arguments:
        text = merged[argument.name]
        value = argument.parse(text)
        if text == argument.default:
            continue
        for target in argument.targets:
            node, _, parameter = target.partition(".")
            if node in parameters:
                parameters[node][parameter] = value
    return [
        NodeCommand(
            name=node.name,
            executable=node.executable,
            namespace=merged["namespace"],
            params_file=str(Path(params_file).resolve()) if params_file else "",
            parameters=parameters[node.name],
            log_level=merged["log_level"],
            respawn=merged["use_respawn"] == "true",
        )
        for node in nodes
        if node.wanted(merged)
    ]


def show_arguments(arguments: Sequence[Argument] = ARGUMENTS) -> str:
    """The arguments as text, for --show-args."""
    lines = ["Arguments (pass as name:=value):"]
    for a in arguments:
        allowed = a.allowed()
        lines.append(f"\n    '{a.name}':\n        {a.doc}{'. Choices: ' + ', '.join(allowed) if allowed else ''}")
        lines.append(f"        (default: '{a.default}')")
    return "\n".join(lines)
