"""Parameters of a node: fields of configuration dataclasses, and when a new value of one is obeyed.

A parameter is live (obeyed from the next goal or request on), or takes effect after cleanup (refused while the node is
configured), or is given at start only (read-only). Its description says which.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import threading
import traceback
import typing
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter

from memristor_bdnn import config as configuration
from memristor_bdnn.errors import ConfigError, MemristorError

EFFECT = {"live": "at once", "cleanup": "after cleanup", "start": "at start only"}
LONGEST = 4096
"""Characters of a text, and values of a list, that a peer may set."""
_PLUGIN_NAME = re.compile(r"[\w-]*")


class ParameterNode(LifecycleNode):
    """A lifecycle node whose parameters are declared in sections, each the fields of one dataclass.

    Attributes:
        config: the node's own section, an instance of ``config_type``; None before the first configure. It is made anew
            when a live parameter was set.
        phase: ``unconfigured``, ``configuring`` or ``configured``.
    """

    config_type: type[Any]

    def __init__(self, name: str, defaults: dict[str, Any]) -> None:
        self.config: Any = None
        self.phase = "unconfigured"
        self._sections: dict[str, tuple[type[Any], str]] = {}
        self._lasting: set[str] = set()
        self._in_use: set[str] = set()
        self._given: set[str] = set()
        self._at_start: dict[str, Any] = {}
        self._bad: dict[str, str] = {}
        self._declaring: int | None = None
        super().__init__(name)
        self._given |= set(self._parameter_overrides)
        self.declare_section(self.config_type, "", defaults)
        self.add_on_set_parameters_callback(self._validate)
        self.add_post_set_parameters_callback(self._obey)

    # -- for nodes ----------------------------------------------------------------------------

    def review(self, changes: dict[str, Any]) -> str:
        """A node's own reason to refuse a set of parameters; empty when it is fine.

        Args:
            changes: new values by full parameter name; each is allowed by its field already.
        """
        return ""

    def changed(self, names: set[str]) -> None:
        """Called after parameters of a configured node were set and :attr:`config` was made anew."""

    def declare_section(
        self,
        cls: type[Any],
        prefix: str,
        defaults: dict[str, Any] | None = None,
        key: str | None = None,
        leave_out: Sequence[str] = (),
    ) -> None:
        """Declare every field of a configuration as a parameter ``prefix.field`` with its range.

        Declared again, a section takes over new defaults where nobody gave a value, and with another dataclass it
        replaces the old one.

        Args:
            cls: the configuration dataclass.
            prefix: of the parameters' names; empty for none.
            defaults: values that differ from the fields' defaults.
            key: name of the section for :meth:`read_section`; the prefix when left out.
            leave_out: fields that are no parameters.

        Raises:
            ConfigError: a field has the name of a parameter of another section, or a given value is not allowed.
        """
        key = prefix if key is None else key
        if key in self._sections and self._sections[key][0] is not cls:
            self._forget(key)
        hints = typing.get_type_hints(cls)
        known = key in self._sections
        for field in dataclasses.fields(cls):
            default = (defaults or {}).get(field.name, field.default)
            default = list(default) if isinstance(default, tuple) else default
            full = f"{prefix}.{field.name}" if prefix else field.name
            if (
                field.name in leave_out
                or default in (None, [])
                or not isinstance(default, bool | int | float | str | list)
            ):
                continue
            if not self.has_parameter(full):
                self._declare(full, default, descriptor(field, hints[field.name]))
            elif not known:
                raise ConfigError(f"{cls.__name__}.{field.name}: the node has a parameter {full!r} already; rename it")
            elif full not in self._given and plain(self.get_parameter(full).value) != default:
                with self._declares():
                    self.set_parameters([Parameter(full, value=default)])
        self._sections[key] = (cls, prefix)
        self._in_use.add(key)
        if self.phase == "unconfigured":
            self._lasting.add(key)
        bad = [self._bad[full] for full in self._fields_of(key) if full in self._bad]
        if bad:
            raise ConfigError("; ".join(bad))

    def begin_sections(self) -> None:
        """On configure: of the sections, only those that every configuration has are in use so far."""
        self._in_use = set(self._lasting)

    def read_section(self, key: str = "") -> dict[str, Any]:
        """The parameters of a declared section as plain values."""
        return {
            field.name: plain(self.get_parameter(full).value)
            for full, field in self._fields_of(key).items()
            if self.has_parameter(full)
        }

    def given_at_start(self, name: str) -> Any:
        """The value of a parameter when it was declared, before any peer could set it."""
        return self._at_start[name]

    def unknown_parameters(self) -> str:
        """One line about values given at start that no parameter of this node takes; empty when there are none."""
        unknown = [n for n in self._parameter_overrides if not self.has_parameter(n) and "qos_overrides" not in n]
        if not unknown:
            return ""
        return f"given, but not used by this node as it is configured: {', '.join(map(self._near, sorted(unknown)))}"

    # -- sections -----------------------------------------------------------------------------

    def _fields_of(self, key: str) -> dict[str, Any]:
        """Parameter name -> field of a section."""
        cls, prefix = self._sections[key]
        return {f"{prefix}.{f.name}" if prefix else f.name: f for f in dataclasses.fields(cls)}

    def _owner(self, name: str) -> tuple[str, Any]:
        """Section and field of a parameter; ``("", None)`` for one that is no field."""
        for key in self._sections:
            if name in (fields := self._fields_of(key)):
                return key, fields[name]
        return "", None

    def _declare(self, full: str, default: Any, about: ParameterDescriptor) -> None:
        """Declare one parameter; a value given at start that is not allowed is remembered with its reason."""
        with self._declares():
            try:
                self.declare_parameter(full, default, about)
            except (ParameterException, TypeError, ValueError) as error:
                self._bad[full] = str(error)
                self.declare_parameter(full, default, about, ignore_override=True)
        self._at_start[full] = plain(self.get_parameter(full).value)

    def _forget(self, key: str) -> None:
        """Undeclare a section, so that another with the same names can take its place."""
        for full in self._fields_of(key):
            if self.has_parameter(full):
                del self._parameters[full], self._descriptors[full]
            self._given = {name for name in self._given if name != full or name in self._parameter_overrides}
            self._bad.pop(full, None)
        del self._sections[key]
        self._in_use.discard(key)

    @contextmanager
    def _declares(self) -> Iterator[None]:
        """This thread declares parameters: what it sets is no change by a user."""
        self._declaring = threading.get_ident()
        try:
            yield
        finally:
            self._declaring = None

    def _near(self, name: str) -> str:
        near = difflib.get_close_matches(name[:80], self._parameters, n=1)
        return f"{name[:80]!r}" + (f" (did you mean {near[0]!r}?)" if near else "")

    # -- setting ------------------------------------------------------------------------------

    def set_by_message(self, messages: Sequence[Any]) -> SetParametersResult:
        """Set parameters together, as a peer asked: all or none, with a reason; never raises."""
        try:
            parameters = [_from_message(m) for m in messages]
            self._check_asked(parameters)
            # A read-only one that is set to what it is (a dump that is loaded again) is no change.
            changeable = [p for p in parameters if not self._descriptors[p.name].read_only]
            return self.set_parameters_atomically(changeable)
        except MemristorError as error:
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as error:  # what rclpy did not foresee must be an answer, not the node's end
            self.get_logger().error(f"set_parameters: {traceback.format_exc()}")
            return SetParametersResult(successful=False, reason=f"{type(error).__name__}: {error}")

    def _check_asked(self, parameters: Sequence[Parameter]) -> None:
        """What rclpy would refuse without saying what is allowed, or not at all."""
        seen: set[str] = set()
        for p in parameters:
            if not self.has_parameter(p.name):
                raise ConfigError(f"{self.get_name()} has no parameter {self._near(p.name)}")
            if p.name in seen:
                raise ConfigError(f"{p.name} is given twice in one set")
            seen.add(p.name)
            about = self._descriptors[p.name]
            expected = Parameter.Type(about.type)
            if p.type_ == Parameter.Type.NOT_SET:
                raise ConfigError(f"{p.name}: cannot be removed; set a value of type {expected.name.lower()}")
            if p.type_ != expected:
                raise ConfigError(f"{p.name}: expected {expected.name.lower()}, got {p.type_.name.lower()}")
            if isinstance(p.value, Sized) and len(p.value) > LONGEST:
                raise ConfigError(f"{p.name}: {len(p.value)} characters or values, at most {LONGEST}")
            if about.read_only and plain(p.value) != plain(self.get_parameter(p.name).value):
                raise ConfigError(
                    f"{p.name} is read-only while the node runs: give it at start, on the command line or in the "
                    "parameter file"
                )

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        """Refuse a set with the words of the configuration, of the time when it would be obeyed, or of the node."""
        if self._declaring == threading.get_ident():
            return SetParametersResult(successful=True)
        changes = {p.name: plain(p.value) for p in parameters}
        try:
            if self.phase == "configuring":
                raise ConfigError(f"{self.get_name()} is being configured: set parameters before or after")
            for name, value in changes.items():
                self._check_time(name, value)
            self._check_values(changes)
            reason = self.review(changes)
        except MemristorError as error:
            reason = str(error)
        except Exception as error:
            self.get_logger().error(f"review of parameters: {traceback.format_exc()}")
            reason = f"{type(error).__name__}: {error}"
        return SetParametersResult(successful=not reason, reason=reason)

    def _check_time(self, name: str, value: Any) -> None:
        """Raise ConfigError when the new value of a parameter would not be obeyed now, or may not come from a peer."""
        key, field = self._owner(name)
        if field is None or not self.has_parameter(name):
            return
        current = plain(self.get_parameter(name).value)
        if value == current:
            return
        if field.metadata.get("files") and not _PLUGIN_NAME.fullmatch(value) and value != self._at_start.get(name):
            raise ConfigError(
                f"{name} = {value!r}: a file may be given at start only, on the command line or in the parameter "
                "file; while the node runs, choose by name"
            )
        if self.phase == "configured":
            if key not in self._in_use:
                raise ConfigError(f"{name} is not in use now: it takes effect after cleanup, when {key} is chosen")
            if field.metadata.get("changes", "cleanup") != "live":
                raise ConfigError(
                    f"{name} takes effect after cleanup: it is {current!r} until then; deactivate and clean up "
                    f"{self.get_name()}, set it, and configure again"
                )

    def _check_values(self, changes: dict[str, Any]) -> None:
        """Raise ConfigError naming a value that is not allowed: together when configured, else each for itself."""
        for key, (cls, _) in self._sections.items():
            names = self._fields_of(key)
            mine = {names[name].name: value for name, value in changes.items() if name in names}
            if mine and self.phase == "configured" and key in self._in_use:
                configuration.build(cls, {**self.read_section(key), **mine})
            for name, value in mine.items():
                configuration.check_field(cls, name, value)

    def _obey(self, parameters: list[Parameter]) -> None:
        """After a set by a user: from now on live values count."""
        if self._declaring == threading.get_ident():
            return
        names = {p.name for p in parameters}
        self._given |= names
        for name in names:
            self._bad.pop(name, None)
        if self.phase != "configured":
            return
        try:
            if names & set(self._fields_of("")):
                self.config = configuration.build(self.config_type, self.read_section())
            self.changed(names)
        except Exception:
            self.get_logger().error(f"after setting {', '.join(sorted(names))}: {traceback.format_exc()}")


def descriptor(field: Any, hint: Any) -> ParameterDescriptor:
    """A parameter descriptor with the field's description, unit, choices, range and the time when it is obeyed."""
    meta = field.metadata
    text = meta.get("doc", "")
    if meta.get("unit"):
        text += f" [{meta['unit']}]"
    choices = configuration.choices_of(meta)
    if choices:
        text += f" Choices: {', '.join(map(str, choices))}."
    when = meta.get("changes", "cleanup")
    text += f" Takes effect: {EFFECT[when]}."
    if meta.get("files"):
        text += " A file may be given at start only."
    result = ParameterDescriptor(description=text, read_only=when == "start")
    low, high = meta.get("low"), meta.get("high")
    if low is None and high is None:
        return result
    if hint is float:
        bounds = FloatingPointRange()
        bounds.from_value = float(-1e308 if low is None else low)
        bounds.to_value = float(1e308 if high is None else high)
        result.floating_point_range = [bounds]
    elif hint is int:
        span = IntegerRange(
            from_value=int(-(2**62) if low is None else low), to_value=int(2**62 if high is None else high)
        )
        result.integer_range = [span]
    return result


def plain(value: Any) -> Any:
    """A parameter's value as bool, int, float, str, None or list."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def _from_message(message: Any) -> Parameter:
    """A parameter from its message. Raises ConfigError naming a type code or a value that there is not."""
    try:
        return Parameter.from_parameter_msg(message)
    except (TypeError, ValueError) as error:
        codes = ", ".join(f"{t.value} {t.name.lower()}" for t in Parameter.Type)
        raise ConfigError(
            f"{message.name}: no parameter value of type code {message.value.type} ({error}); types: {codes}"
        ) from error
