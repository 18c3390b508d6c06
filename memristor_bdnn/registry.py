"""Plugins by name, the same way for every kind: a table of what is built in, and entry points of other packages.

A colcon build of this package carries no entry-point metadata, hence the table. Nothing is imported before it
is asked for by name, so a plugin that cannot be imported harms nobody who does not use it.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from memristor_bdnn.errors import ConfigError


@dataclass(frozen=True)
class Plugin:
    """Where a name leads: "module:attribute", and the distribution that brought it ("" for built in)."""

    name: str
    target: str
    distribution: str = ""


class Registry:
    """One kind of plugins.

    Args:
        kind: singular, as messages name it: ``learner``.
        built_in: name -> "module:attribute".
        check: called with (name, loaded object); raises ConfigError saying what it lacks.
    """

    def __init__(self, kind: str, built_in: Mapping[str, str], check: Callable[[str, Any], None] | None = None) -> None:
        self.kind, self.built_in, self._check = kind, dict(built_in), check
        self.group = f"memristor_bdnn.{kind}s"

    def names(self) -> list[str]:
        """Every name that :meth:`load` knows: the built-in ones first, then plugins in alphabetical order."""
        return [*self.built_in, *sorted(set(self._found()) - set(self.built_in))]

    def plugin(self, name: str) -> Plugin:
        """Where a name leads, without importing it.

        Raises:
            ConfigError: unknown (with the choices), or given by two packages, or a built-in name taken by a package.
        """
        found = self._found()
        points = found.get(name, [])
        if name in self.built_in:
            if points:
                raise ConfigError(
                    f"{self.kind} {name!r} is built in, but {_sources(points)} also calls a {self.kind} so: "
                    "rename that one, or uninstall it"
                )
            return Plugin(name, self.built_in[name])
        if not points:
            near = difflib.get_close_matches(str(name), self.names(), n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ConfigError(f"{self.kind} = {name!r}: choose one of {', '.join(self.names()) or 'none'}{hint}")
        if len(points) > 1:
            raise ConfigError(f"{self.kind} {name!r} is given by {_sources(points)}: uninstall all but one")
        return points[0]

    def load(self, name: str) -> Any:
        """The class or function behind a name, checked.

        Raises:
            ConfigError: see :meth:`plugin`; or it cannot be imported (with the reason), or is no plugin of this kind.
        """
        plugin = self.plugin(name)
        module, _, attribute = plugin.target.partition(":")
        try:
            loaded = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a plugin's module may fail in any way; its name and reason must be said
            raise ConfigError(
                f"{self.kind} {name!r} ({plugin.target}) cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        if self._check is not None:
            self._check(name, loaded)
        return loaded

    def available(self) -> dict[str, str]:
        """Name -> the first line of its description, or why it cannot be loaded."""
        table = {}
        for name in self.names():
            try:
                text = (getattr(self.load(name), "__doc__", None) or "no description").strip()
                table[name] = text.splitlines()[0]
            except ConfigError as error:
                table[name] = f"not available: {error}"
        return table

    def _found(self) -> dict[str, list[Plugin]]:
        """Entry points by name; a package found twice on the path counts once."""
        found: dict[str, list[Plugin]] = {}
        for point in _entry_points(self.group):
            source = point.dist.name if point.dist is not None else "an unknown package"
            plugin = Plugin(point.name, point.value, source)
            if plugin not in found.setdefault(point.name, []):
                found[point.name].append(plugin)
        return found


_listed: dict[str, tuple[Any, Any]] = {}


def _entry_points(group: str) -> Any:
    """Entry points of a group, listed anew when packages may have come or gone: to read them all takes 8 ms."""
    state = (importlib.metadata.entry_points, [(folder, _changed(folder)) for folder in sys.path])
    if group not in _listed or _listed[group][0] != state:
        _listed[group] = state, importlib.metadata.entry_points(group=group)
    return _listed[group][1]


def _changed(folder: str) -> int:
    """When something was last put into a folder, or taken out, ns; 0 where there is none."""
    try:
        return os.stat(folder or os.curdir).st_mtime_ns
    except (OSError, ValueError):
        return 0


def _sources(plugins: list[Plugin]) -> str:
    return " and ".join(f"package {p.distribution} ({p.target})" for p in plugins)
