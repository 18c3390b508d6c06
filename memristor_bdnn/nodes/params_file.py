"""A file of node parameters: what it says for which node, and what in it no node would read.

ROS 2 leaves out without a word what it cannot place: a node's name with a letter too few, a parameter that the node
does not have. Here that is an error, or a warning where it may be meant for somebody else. No rclpy here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from memristor_bdnn.config import read_yaml, shown
from memristor_bdnn.errors import ConfigError

MARK = "ros__parameters"
Known = Mapping[str, type | None]
"""Parameters of a node by name, with the type of each; None for any type."""


@dataclass(frozen=True)
class Section:
    """One section: the names of the nodes it is for, with the wildcards ``*`` and ``**``, and what it says."""

    pattern: str
    values: Mapping[str, Any]

    def fits(self, node: str) -> bool:
        """Whether it is for a node, by its full name; as ROS 2 decides it."""
        parts = [_WILD.get(token, f"/{re.escape(token)}") for token in self.pattern.split("/")[1:]]
        return re.fullmatch("".join(parts), node) is not None


_WILD = {"*": r"/\w+", "**": r"(?:/\w+)*"}


class ParamsFile:
    """The sections of a file, in the order in which they are applied: what comes last wins."""

    def __init__(self, path: str) -> None:
        """Read a file; no path, no sections.

        Raises:
            ConfigError: it cannot be read, or ROS 2 would refuse it.
        """
        self.path = path
        self.sections: list[Section] = []
        if path:
            content = read_yaml(path, "params_file")
            self._walk("", {} if content is None else content)

    def _walk(self, above: str, content: Any) -> None:
        """Collect the sections below a name."""
        if not isinstance(content, Mapping):
            raise ConfigError(f"{self._at(above)}: expected names of nodes and {MARK}, got {shown(content)}")
        for key, value in content.items():
            if not isinstance(key, str):
                raise ConfigError(f"{self._at(above)}: {shown(key)} is no name of a node")
            if key != MARK:
                self._walk(f"{above}/{key.strip('/')}", value)
            elif not above:
                raise ConfigError(f"{self._at('')}: {MARK} stands below the name of a node, such as /**/accelerator")
            elif not isinstance(value, Mapping):
                raise ConfigError(f"{self._at(above)}: expected a mapping below {MARK}, got {shown(value)}")
            else:
                self.sections.append(Section(above, dict(self._flat(above, "", value))))

    def _flat(self, above: str, prefix: str, values: Mapping[Any, Any]) -> list[tuple[str, Any]]:
        """Parameters with their full, dotted names."""
        found: list[tuple[str, Any]] = []
        for key, value in values.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping):
                found += self._flat(above, f"{name}.", value)
            elif value is None:
                raise ConfigError(f"{self._at(above)}: {name} has no value; an empty text is ''")
            else:
                found.append((name, value))
        return found

    def _at(self, pattern: str) -> str:
        return f"params_file {self.path}{f', section {pattern}' if pattern else ''}"

    def of(self, node: str) -> dict[str, Any]:
        """What a node is told, by the node's full name."""
        told: dict[str, Any] = {}
        for section in self.sections:
            if section.fits(node):
                told |= section.values
        return told

    def check(self, started: Mapping[str, Known], others: Collection[str], warn: Callable[[str], None]) -> None:
        """Refuse or report what no node would read.

        Args:
            started: the nodes of the graph by full name, each with its parameters.
            others: full names of nodes that another graph of ours would have; their sections are left alone.
            warn: told about sections that may be for a node of somebody else.

        Raises:
            ConfigError: a name close to that of a node, a parameter that no node of a section has, or a value of
                another type than the parameter's.
        """
        for section in self.sections:
            fitting = {node: known for node, known in started.items() if section.fits(node)}
            if fitting:
                for name, value in section.values.items():
                    self._check_value(section, name, value, fitting)
            elif not any(map(section.fits, others)):
                self._place(section, {*started, *others}, warn)

    def _place(self, section: Section, nodes: Collection[str], warn: Callable[[str], None]) -> None:
        """A section that is for no node of ours."""
        name = section.pattern.rpartition("/")[2]
        ours = {node.rpartition("/")[2] for node in nodes}
        if name not in ours and (near := difflib.get_close_matches(name, ours, n=2, cutoff=0.75)):
            names = " or ".join(f"/**/{n}" for n in near)
            raise ConfigError(f"{self._at(section.pattern)}: no node is called so; did you mean {names}?")
        hint = f": our {name} is {' or '.join(n for n in nodes if n.endswith(f'/{name}'))}" if name in ours else ""
        warn(f"{self._at(section.pattern)} is for no node of this graph and is left out{hint}")

    def _check_value(self, section: Section, name: str, value: Any, fitting: Mapping[str, Known]) -> None:
        """Refuse a parameter that none of the nodes has, or that one of them has with another type."""
        kinds = {node: known[name] for node, known in fitting.items() if name in known}
        if not kinds:
            names = {known for every in fitting.values() for known in every}
            near = difflib.get_close_matches(name, names, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"{self._at(section.pattern)}: {' and '.join(fitting)} has no parameter {name!r}{hint}")
        for node, kind in kinds.items():
            if kind is not None and type(value) is not kind:
                hint = f"; write {value}.0" if kind is float and type(value) is int else ""
                raise ConfigError(
                    f"{self._at(section.pattern)}: {name} = {shown(value)} of {node}: expected {kind.__name__}{hint}"
                )
