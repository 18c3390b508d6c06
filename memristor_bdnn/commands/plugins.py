"""What one plugin is and which options it has, with defaults, as text or JSON."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
import typing
from typing import Any

from memristor_bdnn import accelerator, acquisitions, learners, skills
from memristor_bdnn.config import choices_of, shown
from memristor_bdnn.device import presets
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion import arms, free_space
from memristor_bdnn.parsing import meant

KINDS: dict[str, Any] = {
    "skills": skills,
    "learners": learners,
    "accelerators": accelerator,
    "acquisitions": acquisitions,
    "arms": arms,
    "planners": free_space,
}
"""Kind of plugins -> the folder that knows them by name."""


def names(kind: str) -> list[str]:
    """Every name of a kind, presets too."""
    return list(presets.NAMES) if kind == "presets" else list(KINDS[kind].available())


def found(word: str) -> list[tuple[str, str]]:
    """Kind and name of every plugin that is meant: all of a kind (``learners``), or those called so.

    Raises:
        ConfigError: neither; with the nearest names.
    """
    if word in (*KINDS, "presets"):
        return [(word, name) for name in names(word)]
    hits = [(kind, name) for kind in (*KINDS, "presets") for name in names(kind) if name == word]
    if not hits:
        known = [*KINDS, "presets", *(name for kind in (*KINDS, "presets") for name in names(kind))]
        raise ConfigError(
            f"info {word!r}: neither a kind of plugins ({', '.join((*KINDS, 'presets'))}) nor the name of one"
            f"{meant(word, known)}"
        )
    return hits


def described(kind: str, name: str) -> dict[str, Any]:
    """A plugin: kind, name, description, and the options that it takes by group.

    Raises:
        ConfigError: it cannot be loaded (with the reason).
    """
    if kind == "presets":
        fields = {k: shown(v) for k, v in dataclasses.asdict(presets.load(name)).items()}
        return {"kind": kind, "name": name, "text": "a device preset; its values:", "options": {}, "values": fields}
    text = KINDS[kind].available()[name]
    if text.startswith("not available: "):
        raise ConfigError(text.removeprefix("not available: "))
    return {"kind": kind, "name": name, "text": text, "options": _options(kind, name), "values": {}}


def _options(kind: str, name: str) -> dict[str, list[dict[str, Any]]]:
    """Flag or section -> rows of options; empty for plugins that take none."""
    if kind == "learners":
        return {"--learner-option": rows(learners.learner_class(name).config_type)}
    if kind == "accelerators":
        return {"--accelerator-option": rows(accelerator.load(name).config_type)}
    if kind == "skills":
        skill = skills.load(name)
        groups = {"world": skill.world_options, "motion": skill.motion_options, "set-up": skill.physical_options}
        return {group: found for group, cls in groups.items() if (found := rows(cls))}
    return {}


def rows(cls: Any, prefix: str = "") -> list[dict[str, Any]]:
    """Options of a configuration dataclass: name (groups dotted), default, allowed, unit, doc, source."""
    hints, table = typing.get_type_hints(cls), []
    for field in dataclasses.fields(cls):
        inner = next((t for t in (hints[field.name], *typing.get_args(hints[field.name])) if _group(t)), None)
        if inner is not None:
            table += rows(inner, f"{prefix}{field.name}.")
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        table.append(
            {
                "name": prefix + field.name,
                "default": "must be given" if default is dataclasses.MISSING else default,
                "allowed": _allowed(field.metadata),
                **{key: field.metadata.get(key, "") for key in ("unit", "doc", "source")},
            }
        )
    return table


def _group(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _allowed(meta: Any) -> str:
    choices = choices_of(meta)
    if choices is not None:
        return ", ".join(map(str, choices))
    low, high = meta.get("low"), meta.get("high")
    if low is None and high is None:
        return ""
    if high is None:
        return f"{low:g} and above"
    return f"up to {high:g}" if low is None else f"{low:g} to {high:g}"


def text_of(plugin: dict[str, Any]) -> str:
    """A described plugin for a person, as wide as the terminal."""
    width = max(shutil.get_terminal_size().columns, 40)
    lines = [f"{plugin['kind'].removesuffix('s')} {plugin['name']}: {plugin['text']}"]
    lines += [f"  {name} = {value}" for name, value in plugin["values"].items()]
    for group, options in plugin["options"].items():
        lines.append(f"\n  {group}{' NAME=VALUE' if group.startswith('--') else ' options'}:")
        for o in options:
            value = "empty" if o["default"] in (None, "") else shown(o["default"])
            lines.append(f"    {o['name']} = {value}{' ' + o['unit'] if o['unit'] and value != 'empty' else ''}")
            more = "; ".join(t for t in (o["doc"], f"allowed {o['allowed']}" if o["allowed"] else "") if t)
            lines += textwrap.wrap(more, width, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines)
