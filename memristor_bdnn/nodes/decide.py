"""What each node of a graph is told: of what was typed, what a params file says, and the defaults. No rclpy here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from memristor_bdnn import skills
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes import rehearsal
from memristor_bdnn.nodes.arguments import Argument, NodeCommand, NodeSpec, ParameterValue
from memristor_bdnn.nodes.environment import discovery_of
from memristor_bdnn.nodes.installed import OURS, executable_path, shared_file
from memristor_bdnn.nodes.params_file import ParamsFile
from memristor_bdnn.skills import Skill


class Decision:
    """The arguments of one graph while they are decided: typed, then params file, then defaults."""

    def __init__(
        self,
        arguments: Sequence[Argument],
        nodes_of: Callable[[Skill], tuple[NodeSpec, ...]],
        typed: Mapping[str, str],
        defaults: Mapping[str, str],
        within: str,
    ) -> None:
        """
        Args:
            arguments: all that there are.
            nodes_of: the nodes of a skill's graph.
            typed: texts of the arguments that somebody gave.
            defaults: of a launch file.
            within: namespace in which the graph's own lies.
        """
        self.typed, self.defaults = typed, defaults = rehearsal.decided(typed, defaults)
        self._nodes_of = nodes_of
        self.arguments = {a.name: a for a in arguments}
        self.texts = {name: typed.get(name, defaults.get(name, a.default)) for name, a in self.arguments.items()}
        for name in ("namespace", "discovery", "log_level", "record", "rviz", rehearsal.SWITCH):  # in no params file
            self.arguments[name].parse(self.texts[name])
        path = self.texts["params_file"]
        if path and not os.path.exists(path):
            raise ConfigError(f"params_file:={path}: no such file")
        self.file = ParamsFile(path)
        self.above = "".join(f"/{p.strip('/')}" for p in (within, self.texts["namespace"]) if p.strip("/"))
        self.skill = self._choose_skill()
        self.nodes = self._nodes_of(self.skill)
        self.told = self._told(self.nodes)
        self.parameters: dict[str, dict[str, ParameterValue]] = {n.role: dict(n.parameters) for n in self.nodes}

    def _full(self, node: NodeSpec) -> str:
        return f"{self.above}/{node.name}"

    def _told(self, nodes: Sequence[NodeSpec]) -> dict[str, dict[str, Any]]:
        """What the params file says, by role."""
        return {node.role: self.file.of(self._full(node)) for node in nodes}

    def _choose_skill(self) -> Skill:
        """The skill decides what two of the nodes are called; the others are asked first what the file wants."""
        if "skill" not in self.typed:
            named = [
                n for n in self._nodes_of(skills.load(self.texts["skill"])) if n.role in ("accelerator", "coordinator")
            ]
            wanted = {str(told.get("skill", self.texts["skill"])) for told in self._told(named).values()}
            if len(wanted) == 1:  # otherwise the coordinator refuses, before a trial is paid for
                self.texts["skill"] = wanted.pop()
        return skills.load(self.texts["skill"])

    def commands(self, warn: Callable[[str], None]) -> list[NodeCommand]:
        """Decide every argument, check the file, and make the commands."""
        for argument in self.arguments.values():
            if argument.name in self.typed:
                self._type(argument)
            else:
                self._leave(argument)
        for argument in self.arguments.values():
            for target in argument.follow:
                role, _, parameter = target.partition(".")
                self.parameters[role][parameter] = argument.parse(self.texts[argument.name])
        if self.texts[rehearsal.SWITCH] == "true":
            for target, margin in rehearsal.MARGINS.items():
                role, _, parameter = target.partition(".")
                if parameter not in self.told[role]:
                    self.parameters[role][parameter] = margin
        if self.texts["planner"] == "moveit" and self.texts["joint_prefix"]:
            # A cell's robot model has the prefix in its joints as joint_states has.
            if "moveit.prefix" not in self.told["planner"]:
                self.parameters["planner"]["moveit.prefix"] = self.texts["joint_prefix"]
        started = [node for node in self.nodes if node.wanted(self.texts)]
        for argument in self.arguments.values():
            if argument.name in self.typed and self.texts[argument.name] != argument.default:
                _check_fits(argument, self.texts[argument.name], self.texts)
        if self.file.sections:
            self._check_file(started, warn)
        path = self.texts["params_file"]
        file = str(Path(path).resolve()) if path else ""
        return [self._command(node, file) for node in started]

    def _command(self, node: NodeSpec, file: str) -> NodeCommand:
        ours = node.package == OURS
        if not ours:  # refused before anything starts
            try:
                executable_path(node.executable, node.package)
            except ConfigError as error:
                raise ConfigError(f"{node.when.replace('=', ':=')}: {error}, or leave it out") from error
        everywhere = rehearsal.REMAPPINGS if self.texts[rehearsal.SWITCH] == "true" else {}
        return NodeCommand(
            name=node.name,
            executable=node.executable,
            namespace=self.texts["namespace"],
            params_file=file if ours else "",
            parameters=self.parameters[node.role],
            log_level=self.texts["log_level"],
            respawn=ours and self.texts["use_respawn"] == "true",
            environment=discovery_of(self.texts["discovery"], os.environ),
            package=node.package,
            options=("-d", str(shared_file(node.shows))) if node.shows else (),
            remappings={**everywhere, **node.remappings},
            vital=ours,
        )

    def _type(self, argument: Argument) -> None:
        """Pass on what was typed, whatever the file says."""
        value = argument.parse(self.texts[argument.name])
        for target in argument.targets:
            role, _, parameter = target.partition(".")
            self.parameters[role][parameter] = value

    def _leave(self, argument: Argument) -> None:
        """Let the file decide; where it says nothing, a launch file's default."""
        fallback, found = self.defaults.get(argument.name, argument.default), {}
        for target in argument.targets:
            role, _, parameter = target.partition(".")
            if parameter in self.told[role]:
                found[target] = _text(self.told[role][parameter])
            elif argument.name in self.defaults:
                self.parameters[role][parameter] = argument.parse(fallback)
        if not found:
            return
        for target, text in found.items():
            try:
                argument.parse(text)
            except ConfigError as error:
                raise ConfigError(f"params_file {self.file.path}, {target}: {error}") from error
        values = {target: found.get(target, fallback) for target in argument.targets}
        if argument.agree and len(set(values.values())) > 1:
            names = {node.role: node.name for node in self.nodes}
            each = ", ".join(f"{v or repr(v)} for {names[t.partition('.')[0]]}" for t, v in values.items())
            raise ConfigError(
                f"params_file {self.file.path}: the nodes would disagree on {argument.name}: {each}; give it to all of"
                f" them, or type {argument.name}:={next(iter(found.values()))}"
            )
        if argument.name != "skill":
            self.texts[argument.name] = next(iter(found.values()))

    def _check_file(self, started: Sequence[NodeSpec], warn: Callable[[str], None]) -> None:
        """Refuse what no node would read."""
        try:
            from memristor_bdnn.nodes.known import parameters_of
        except ImportError as error:
            return warn(f"params_file {self.file.path} is not checked: {error}")
        prefixes = {name.partition(".")[0] for section in self.file.sections for name in section.values}
        known = {
            self._full(n): parameters_of(n.executable, self.skill, self.texts, prefixes)
            for n in started
            if n.package == OURS
        }
        for node in started:
            if node.role == "world":  # decides which world runs; the simulated one has no such parameter
                known[self._full(node)].setdefault("arm_output", str)
        every = [node for name in skills.names() for node in self._nodes_if_loaded(name)]
        self.file.check(known, {self._full(node) for node in every}, warn)
        return None

    def _nodes_if_loaded(self, skill: str) -> tuple[NodeSpec, ...]:
        try:
            return self._nodes_of(skills.load(skill))
        except ConfigError:
            return ()  # said when that skill is asked for


def _text(value: Any) -> str:
    """A value of a params file as somebody would have typed it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_fits(argument: Argument, text: str, merged: Mapping[str, str]) -> None:
    """Refuse an argument that would be ignored."""
    if argument.skill and argument.skill != merged["skill"]:
        raise ConfigError(f"{argument.name}:={text} is an argument of skill {argument.skill}, not of {merged['skill']}")
    simulated = merged["arm_output"] == "sim"
    if argument.only == "physical" and simulated:
        raise ConfigError(f"{argument.name}:={text} is for a physical arm: it needs arm_output:=action, topic or auto")
    if argument.only == "simulated" and not simulated:
        raise ConfigError(f"{argument.name}:={text} is for a simulated arm, but arm_output:={merged['arm_output']}")
    if argument.only == "mock" and merged[rehearsal.SWITCH] != "true":
        raise ConfigError(f"{argument.name}:={text} is for a rehearsal: it needs {rehearsal.SWITCH}:=true")
    if argument.option_of:
        from memristor_bdnn import accelerator

        fields = [f.name for f in dataclasses.fields(accelerator.load(merged["accelerator"]).config_type)]
        if argument.option_of not in fields:
            raise ConfigError(
                f"{argument.name}:={text}: accelerator {merged['accelerator']} has no such option; it has "
                f"{', '.join(fields)}"
            )
