"""Arms by name or YAML file: built in, or from any package's entry-point group ``memristor_bdnn.arms``.

An arm plugin is an :class:`ArmDescription`, or a function without arguments that returns one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.description import ArmDescription, from_file
from memristor_bdnn.registry import Registry

_NAMES = ("panda", "kuka_iiwa", "ur3e", "ur3e_2f85", "ur5e", "ur5e_2f85", "ur10e", "ur10e_2f85")
BUILT_IN = {name: f"memristor_bdnn.motion.arms.built_in:{name}" for name in _NAMES}


def _check(name: str, plugin: Any) -> None:
    """Refuse what is neither a description nor gives one of the same name."""
    try:
        arm = plugin if isinstance(plugin, ArmDescription) else plugin()
    except Exception as error:  # a plugin's function may fail in any way; its name and reason must be said
        raise ConfigError(f"arm {name!r} cannot be described: {type(error).__name__}: {error}") from error
    if not isinstance(arm, ArmDescription):
        raise ConfigError(f"arm {name!r}: {plugin!r} is no ArmDescription, and no function that returns one")
    if arm.name != name:
        raise ConfigError(f"arm {name!r}: its description is named {arm.name!r}; both must be the same")


REGISTRY = Registry("arm", BUILT_IN, _check)
names = REGISTRY.names


def load(name: str | Path) -> ArmDescription:
    """An arm by name, or one described in a YAML file.

    Raises:
        ConfigError: no such name (with the choices) or file, a plugin that fails, or a value that is not allowed.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if str(name) not in names():
            raise ConfigError(f"arm {str(name)!r} is unknown: choose one of {', '.join(names())} or give a .yaml file")
        plugin = REGISTRY.load(str(name))
        arm: ArmDescription = plugin if isinstance(plugin, ArmDescription) else plugin()
        return arm
    return from_file(path)


def available() -> dict[str, str]:
    """Name -> the first line of its description, or why it cannot be loaded."""
    table = {}
    for name in names():
        try:
            plugin = REGISTRY.load(name)
        except ConfigError as error:
            table[name] = f"not available: {error}"
            continue
        if isinstance(plugin, ArmDescription):  # its docstring is that of the class, not of this arm
            table[name] = f"{plugin.dof} joints, {Path(plugin.urdf).name}"
        else:
            table[name] = (plugin.__doc__ or "no description").strip().splitlines()[0]
    return table


__all__ = ["REGISTRY", "ArmDescription", "available", "load", "names"]
