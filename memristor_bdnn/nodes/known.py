"""Which parameters the nodes of a graph have, read from the configurations that they declare."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Collection, Mapping
from typing import Any

from memristor_bdnn.skills import Skill

OF_EVERY_NODE: dict[str, type | None] = {
    "autostart": bool,
    "use_sim_time": bool,
    "start_type_description_service": bool,
}


def parameters_of(
    executable: str, skill: Skill, chosen: Mapping[str, str], prefixes: Collection[str] = ()
) -> dict[str, type | None]:
    """Parameters of a node by name, with their types.

    Args:
        executable: of the node.
        skill: what is learned.
        chosen: ``learner``, ``recipe`` and ``accelerator`` by name.
        prefixes: learners and planners of free space whose options are wanted; loading a learner takes a second.

    Raises:
        ConfigError: no such learner, planner or accelerator.
    """
    from memristor_bdnn.nodes import EXECUTABLES

    module, name, _ = EXECUTABLES[executable.removesuffix("_node")]
    node = getattr(importlib.import_module(f"memristor_bdnn.nodes.{module}"), name)
    known = OF_EVERY_NODE | _fields(node.config_type)
    for prefix, cls in _sections(module, skill, chosen, prefixes):
        known |= _fields(cls, prefix)
    if module == "coordinator":
        from memristor_bdnn.nodes.coordinator import SAID_BY_GOALS

        known = {name: kind for name, kind in known.items() if name.removeprefix("loop.") not in SAID_BY_GOALS}
    if module == "accelerator":
        from memristor_bdnn.active import recipes

        for field, value in recipes.options(skill, chosen["learner"], chosen["recipe"]).items():
            if _declared(value):
                known.setdefault(f"{chosen['learner']}.{field}", None)
    return known


def _sections(module: str, skill: Skill, chosen: Mapping[str, str], prefixes: Collection[str]) -> list[tuple[str, Any]]:
    """What a node declares beside its own configuration: prefix and dataclass."""
    if module == "world":
        return [("world", skill.world_options)]
    if module == "planner":
        from memristor_bdnn.motion import free_space

        found = [(name, free_space.load(name).options) for name in free_space.names() if name in prefixes]
        return [("planner", skill.motion_options), *found]
    if module == "physical_world":
        from memristor_bdnn.motion.ports.base import PortConfig

        return [("port", PortConfig), ("", skill.physical_options)]
    if module == "coordinator":
        from memristor_bdnn.active.loop import LoopConfig

        return [("loop", LoopConfig)]
    if module == "accelerator":
        from memristor_bdnn import accelerator, learners

        found = [(name, learners.learner_class(name).config_type) for name in learners.names() if name in prefixes]
        return [*found, ("", accelerator.load(chosen["accelerator"]).config_type)]
    return []


def _fields(cls: Any, prefix: str = "") -> dict[str, type | None]:
    """The fields of a configuration that a node declares as parameters."""
    known: dict[str, type | None] = {}
    for field in dataclasses.fields(cls):
        if _declared(field.default):
            kind = None if isinstance(field.default, list | tuple) else type(field.default)
            known[f"{prefix}.{field.name}" if prefix else field.name] = kind
    return known


def _declared(default: Any) -> bool:
    """Whether a field with this default becomes a parameter."""
    return isinstance(default, bool | int | float | str | list | tuple) and default not in ([], ())
