"""Frozen configuration dataclasses whose fields know their unit, range and source.

One declaration serves the library (validated construction), the YAML files in config/, the
command line and the ROS parameters of the nodes.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import stat
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from memristor_bdnn.errors import ConfigError

T = TypeVar("T")
LARGEST_FILE = 4 << 20
"""Bytes of a YAML file at most; ours have a few thousand."""
MOST_VALUES = 200_000
"""Values of a YAML file at most, every alias counted as what it stands for."""
CHANGES = ("live", "cleanup", "start")
_MERGE = "tag:yaml.org,2002:merge"


class Loader(yaml.SafeLoader):
    """Plain YAML in which 50e-9 is the number that it looks like; YAML 1.1 would want a point and a sign in it."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def option(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | Callable[[], Sequence[Any]] | None = None,
    unit: str = "",
    source: str = "",
    changes: str = "cleanup",
    files: bool = False,
) -> Any:
    """Declare one field of a configuration dataclass.

    Args:
        default: the value used when nothing is given.
        doc: one sentence for a person; becomes the ROS parameter's description.
        low: smallest allowed value, included.
        high: largest allowed value, included.
        choices: the allowed values, for names; or a function that lists them when a value is checked (plugins).
        unit: SI or the unit in the field's name; empty for pure numbers.
        source: paper and section, or "assumption".
        changes: when a node obeys a new value: ``live``, from the next goal or request on; ``cleanup``, when the node
            is configured again (refused until then); ``start``, only when the process starts (read-only while it runs).
        files: whether text may also name a file; a running node takes files from nobody, only names.
    """
    if changes not in CHANGES:
        raise ValueError(f"changes = {changes!r}: choose one of {', '.join(CHANGES)}")
    meta = {"doc": doc, "low": low, "high": high, "choices": choices, "unit": unit, "source": source}
    return dataclasses.field(default=default, metadata={**meta, "changes": changes, "files": files})


def choices_of(meta: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The allowed values in a field's metadata as they are now, or None for any."""
    choices = meta.get("choices")
    if choices is None:
        return None
    return tuple(choices() if callable(choices) else choices)


def check(config: Any) -> None:
    """Validate every field of a configuration; call it from ``__post_init__``.

    Raises:
        ConfigError: naming class, field, value and what is allowed.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        converted = _coerce(value, hints[field.name], f"{type(config).__name__}.{field.name}")
        if converted is not value:
            object.__setattr__(config, field.name, converted)
        _check_bounds(f"{type(config).__name__}.{field.name}", converted, field.metadata)


def check_field(cls: type[Any], field: str, value: Any) -> None:
    """Validate one value for itself, whatever the other fields are. Raises ConfigError as :func:`check` does."""
    name, hint = f"{cls.__name__}.{field}", typing.get_type_hints(cls)[field]
    meta = next(f.metadata for f in dataclasses.fields(cls) if f.name == field)
    _check_bounds(name, _coerce(value, hint, name), meta)


def build(cls: type[T], values: Mapping[str, Any] | None = None) -> T:
    """Make a configuration from a mapping, refusing unknown names and wrong types.

    Args:
        cls: a frozen dataclass whose ``__post_init__`` calls :func:`check`.
        values: field values by name; nested dataclasses are given as mappings.

    Raises:
        ConfigError: an unknown key (with the nearest names), a wrong type or a value out of range.
    """
    values = {} if values is None else dict(values)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"{cls.__name__} has no option {name!r}{hint} Options: {', '.join(fields)}")
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping):
            values[name] = build(hints[name], value)
    return cls(**values)


def read_yaml(path: str | Path, what: str = "file") -> Any:
    """What a YAML file holds: the one way by which a file of a user comes in. ``what`` it is names it in an error.

    Raises:
        ConfigError: it cannot be read, is no regular file, is too large, not UTF-8, not YAML, gives a name twice, is
            nested too deeply, or holds aliases that contain themselves or multiply.
    """
    try:
        text = regular_bytes(path, what).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} {path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    return parse_yaml(text, f"{what} {path}")


def parse_yaml(text: str, what: str) -> Any:
    """What a YAML text holds, bounded in size and depth. Raises ConfigError, see :func:`read_yaml`."""
    try:
        _measure(yaml.compose(text, Loader=Loader), {})
        return yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ConfigError(f"{what} is not valid YAML: {error.problem or error.context}{where}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-99-99
        raise ConfigError(f"{what} is not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise ConfigError(f"{what} is nested too deeply") from None


def yaml_mapping(text: str, what: str) -> dict[str, Any]:
    """Options given as the text of one YAML mapping, none for empty text. Raises ConfigError as :func:`parse_yaml`."""
    value = parse_yaml(text, what) if text.strip() else {}
    if not isinstance(value, dict):
        raise ConfigError(f"{what} = {shown(text)}: expected a mapping such as '{{adc: true}}'")
    return {str(key): item for key, item in value.items()}


def merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Options of both, the second winning; groups of options likewise, one by one."""
    result = dict(values)
    for name, value in more.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def regular_bytes(path: str | Path, what: str, most: int = LARGEST_FILE) -> bytes:
    """The content of a file; a pipe or a device could block for ever or never end.

    Raises:
        OSError: it cannot be read.
        ConfigError: it is no regular file, or has more than ``most`` bytes.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"cannot read {what} {path}: it is no regular file")
        if status.st_size > most:
            raise ConfigError(f"{what} {path} has {status.st_size} bytes: at most {most} are read")
        return file.read(most + 1)


def _measure(node: yaml.Node | None, sizes: dict[int, int]) -> int:
    """Values below a node with aliases written out; refuses names given twice and what does not end.

    Raises:
        yaml.YAMLError: as a reader of YAML would, with the place.
    """
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    known = sizes.get(id(node))
    if known is not None:
        if not known:
            raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
        return known
    sizes[id(node)] = 0
    names: set[str] = set()
    children: list[yaml.Node] = []
    for item in node.value:
        children += item if isinstance(item, tuple) else (item,)
        if isinstance(item, tuple) and isinstance(item[0], yaml.ScalarNode) and item[0].tag != _MERGE:
            if item[0].value in names:
                raise yaml.MarkedYAMLError(problem=f"{item[0].value!r} is given twice", problem_mark=item[0].start_mark)
            names.add(item[0].value)
    total = 1 + sum(_measure(child, sizes) for child in children)
    if total > MOST_VALUES:
        raise yaml.MarkedYAMLError(problem=f"more than {MOST_VALUES} values", problem_mark=node.start_mark)
    sizes[id(node)] = total
    return total


def from_yaml(cls: type[T], path: str | Path, section: str | None = None) -> T:
    """Load a configuration from a YAML file, or from one top-level section of it.

    Raises:
        ConfigError: see :func:`read_yaml`; the file or the section is no mapping, or :func:`build` refuses a value.
    """
    content = read_yaml(path, "configuration")
    content = {} if content is None else content
    if section is not None and isinstance(content, Mapping):
        content = content.get(section)
        content = {} if content is None else content
    if not isinstance(content, Mapping):
        where = f"{path}: section {section}" if section is not None else f"{path}"
        raise ConfigError(f"{where}: expected a mapping of option names to values, got {type(content).__name__}")
    try:
        return build(cls, content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def shown(value: Any) -> str:
    """A value for an error message of one line; a long one is cut off."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _coerce(value: Any, hint: Any, name: str) -> Any:
    """Return value as the hinted type where that loses nothing; raise ConfigError otherwise."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        errors = []
        for arm in typing.get_args(hint):
            if arm is type(None):
                continue
            try:
                return _coerce(value, arm, name)
            except ConfigError as error:
                errors.append(error)
        raise errors[0]
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ConfigError(f"{name} = {shown(value)}: expected a list")
        arms = typing.get_args(hint)
        if len(arms) == 2 and arms[1] is Ellipsis:
            arms = (arms[0],) * len(value)
        if len(arms) != len(value):
            raise ConfigError(f"{name} = {shown(value)}: expected {len(arms)} values, got {len(value)}")
        items = tuple(_coerce(v, a, name) for v, a in zip(value, arms, strict=True))
        return value if isinstance(value, tuple) and items == value else items
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"{name} = {shown(value)}: expected a finite number")
        return float(value) if not isinstance(value, float) else value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint in (str, bool) or dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
    elif hint not in (int, float):
        return value
    raise ConfigError(
        f"{name} = {shown(value)}: expected {getattr(hint, '__name__', hint)}, got {type(value).__name__}"
    )


def _check_bounds(name: str, value: Any, meta: Mapping[str, Any]) -> None:
    choices, low, high, unit = choices_of(meta), meta.get("low"), meta.get("high"), meta.get("unit", "")
    if choices is not None and value not in choices:
        raise ConfigError(f"{name} = {shown(value)}: choose one of {', '.join(map(str, choices))}")
    items = value if isinstance(value, tuple) else (value,)
    for item in items:
        if not isinstance(item, int | float) or isinstance(item, bool):
            continue
        if (low is not None and item < low) or (high is not None and item > high):
            span = f"[{'-inf' if low is None else low}, {'inf' if high is None else high}]"
            raise ConfigError(f"{name} = {item!r}: allowed {span}{' ' + unit if unit else ''}")
