"""What an argument, a node and a command line of the graph are. No rclpy here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes.installed import OURS
from memristor_bdnn.nodes.typed import parameter_text

ParameterValue = bool | int | float | str
_TOKEN = "_?[A-Za-z](?:_?[A-Za-z0-9])*_?"
_NAMESPACE = re.compile(f"(?:/?{_TOKEN}(?:/{_TOKEN})*)?")


@dataclass(frozen=True)
class Argument:
    """One argument of the graph, as in ``name:=value``.

    Attributes:
        name: what the user types.
        default: text form, shown to the user; it is not passed on, so that a params file still decides.
        doc: one sentence.
        kind: bool, int, float or str.
        choices: allowed values, or a function that lists them when asked.
        targets: ``role.parameter`` names that receive the value; the roles are those of :class:`NodeSpec`.
        files: suffixes of file names that are allowed beside the choices.
        skill: the only skill that knows the argument; empty for all.
        option_of: the option that the chosen accelerator must have.
        only: ``simulated``, ``physical`` or ``mock``: whose arm the argument is for; empty for all.
        follow: ``role.parameter`` names that always receive the value that won, typed or not.
        agree: whether the nodes must have the same value, for a graph that is none otherwise.
        empty: what empty text stands for, where that is not itself.
    """

    name: str
    default: str
    doc: str
    kind: type = str
    choices: tuple[str, ...] | Callable[[], Sequence[str]] | None = None
    targets: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    skill: str = ""
    option_of: str = ""
    only: str = ""
    agree: bool = False
    empty: ParameterValue | None = None

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
        if text == "" and self.empty is not None:
            return self.empty
        if allowed is not None and text not in (*allowed, self.default) and not text.endswith(self.files or ("\0",)):
            raise ConfigError(f"{self.name}:={text}: choose one of {', '.join(allowed)}")
        if self.kind is bool:
            return text == "true"
        try:
            value: ParameterValue = self.kind(text)
        except ValueError:
            raise ConfigError(f"{self.name}:={text}: expected {self.kind.__name__}") from None
        self._check(text, value)
        return value

    def _check(self, text: str, value: ParameterValue) -> None:
        """Refuse what no parameter of ROS 2 can be, or no namespace."""
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ConfigError(f"{self.name}:={text}: a whole number of 64 bits at most")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{self.name}:={text}: expected a finite number")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ConfigError(f"{self.name}:={text}: not UTF-8, which a parameter must be") from None
        if "\0" in text:
            raise ConfigError(f"{self.name}:={text!r}: a zero byte ends a text")
        if self.name == "namespace" and not _NAMESPACE.fullmatch(text):
            raise ConfigError(
                f"namespace:={text}: letters, digits and single _, no digit first; / between names, such as lab/left"
            )


@dataclass(frozen=True)
class NodeSpec:
    """One node of the graph: its role, its name, its executable, fixed parameters.

    ``when`` is the one condition a graph knows: ``argument=value`` or ``argument!=value``. A node of another package is
    given ``shows``, a file of our share folder, and its end does not end the graph.
    """

    role: str
    name: str
    executable: str
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    when: str = ""
    package: str = OURS
    shows: str = ""
    remappings: Mapping[str, str] = field(default_factory=dict)

    def wanted(self, values: Mapping[str, str]) -> bool:
        """Whether the node runs with these argument texts."""
        if not self.when:
            return True
        name, _, value = self.when.partition("=")
        return (values[name.rstrip("!")] == value) != name.endswith("!")


@dataclass(frozen=True)
class NodeCommand:
    """A node ready to start, every argument applied.

    ``options`` stand before the arguments of ROS; the end of a node that is not ``vital`` ends nothing else.
    """

    name: str
    executable: str
    namespace: str
    params_file: str
    parameters: Mapping[str, ParameterValue]
    log_level: str
    respawn: bool
    environment: Mapping[str, str] = field(default_factory=dict)
    package: str = OURS
    options: tuple[str, ...] = ()
    remappings: Mapping[str, str] = field(default_factory=dict)
    vital: bool = True

    def words(self) -> list[str]:
        """Arguments after the executable except name and namespace; the same with `ros2 launch` and without."""
        result = [*self.options, "--ros-args", "--log-level", self.log_level]
        if self.params_file:
            result += ["--params-file", self.params_file]
        for key, value in self.parameters.items():
            result += ["-p", f"{key}:={parameter_text(value)}"]
        for name, other in self.remappings.items():
            result += ["-r", f"{name}:={other}"]
        return result

    def ros_arguments(self) -> list[str]:
        """Arguments after the executable, name and namespace as launch_ros gives them."""
        result = [*self.words(), "-r", f"__node:={self.name}"]
        if self.namespace:
            result += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        return result
