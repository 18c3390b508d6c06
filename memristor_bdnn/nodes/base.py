"""What all four nodes share: lifecycle, declared parameters, diagnostics, clean shutdown."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import sys
import threading
import time
import traceback
import typing
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions

from memristor_bdnn import config as configuration
from memristor_bdnn.errors import ConfigError, MemristorError
from memristor_bdnn.msg import SkillDescription
from memristor_bdnn.nodes.convert import describe_skill
from memristor_bdnn.skills import Skill

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class SkillNode(LifecycleNode):
    """A lifecycle node whose parameters are the fields of one configuration dataclass.

    Subclasses set ``config_type`` and implement :meth:`setup` (heavy imports belong there) and
    :meth:`teardown`; a :class:`MemristorError` raised in ``setup`` fails the configure transition
    with its text in the log.
    """

    config_type: type[Any]

    def __init__(self, name: str, **defaults: Any) -> None:
        super().__init__(name)
        self.group = ReentrantCallbackGroup()
        self.config: Any = None
        self.active = False
        self._problem = "not configured"
        self._sections: dict[str, tuple[type[Any], str]] = {}
        self._described: Any = None
        self.declare_section(self.config_type, "", defaults)
        self.declare_parameter(
            "autostart", True, ParameterDescriptor(description="configure and activate at start", read_only=True)
        )
        self.add_on_set_parameters_callback(self._validate)
        # Tells a node that died and came back from the one before.
        self._instance = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._heartbeat = self.create_timer(1.0, self._publish_diagnostics, callback_group=self.group)

    # -- parameters ---------------------------------------------------------------------------

    def declare_section(
        self, cls: type[Any], prefix: str, defaults: dict[str, Any] | None = None, key: str | None = None
    ) -> None:
        """Declare every field of a configuration as a parameter ``prefix.field`` with its range.

        Args:
            cls: the configuration dataclass.
            prefix: of the parameters' names; empty for none.
            defaults: values that differ from the fields' defaults.
            key: name of the section for :meth:`read_section`; the prefix when left out.

        Raises:
            ConfigError: a field without prefix has the name of a parameter of another section.
        """
        key = prefix if key is None else key
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            default = (defaults or {}).get(field.name, field.default)
            if isinstance(default, tuple):
                default = list(default)
            full = f"{prefix}.{field.name}" if prefix else field.name
            if default in (None, []) or not isinstance(default, bool | int | float | str | list):
                continue
            if not self.has_parameter(full):
                self.declare_parameter(full, default, descriptor(field, hints[field.name]))
            elif key not in self._sections and any(full in self._fields_of(other) for other in self._sections):
                raise ConfigError(f"{cls.__name__}.{field.name}: the node has a parameter {full!r} already; rename it")
        self._sections[key] = (cls, prefix)

    def _fields_of(self, key: str) -> dict[str, str]:
        """Parameter name -> field of a section."""
        cls, prefix = self._sections[key]
        return {f"{prefix}.{f.name}" if prefix else f.name: f.name for f in dataclasses.fields(cls)}

    def read_section(self, key: str = "") -> dict[str, Any]:
        """The parameters of a declared section as plain values."""
        values: dict[str, Any] = {}
        for full, field in self._fields_of(key).items():
            if self.has_parameter(full):
                values[field] = _plain(self.get_parameter(full).value)
        return values

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        """Refuse a value that the configuration would refuse, with the same words."""
        for key, (cls, _) in self._sections.items():
            names = self._fields_of(key)
            changes = {names[p.name]: _plain(p.value) for p in parameters if p.name in names}
            try:
                if changes:
                    known = {} if self.config is None and not key else self.read_section(key)
                    configuration.build(cls, {**known, **changes})
            except ConfigError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def announce(self, skill: Skill) -> None:
        """Publish what a skill consists of on ~/skill, latched."""
        if self._described is None:
            latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            self._described = self.create_publisher(SkillDescription, "~/skill", latched)
        self._described.publish(describe_skill(skill))

    # -- lifecycle ----------------------------------------------------------------------------

    def setup(self) -> None:
        """Make what the node works with; called on configure."""
        raise TypeError(f"{type(self).__name__} must implement setup()")

    def teardown(self) -> None:
        """Release what :meth:`setup` made; called on cleanup and shutdown, also after a failed setup."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters and run :meth:`setup`; a bad value fails with its explanation."""
        try:
            self.config = configuration.build(self.config_type, self.read_section())
            self.setup()
        except MemristorError as error:
            self._problem = str(error)
            self.get_logger().error(f"cannot configure: {error}")
            self.teardown()
            return FAILURE
        except Exception as error:
            self._problem = f"{type(error).__name__}: {error}"
            self.get_logger().error(f"cannot configure: {traceback.format_exc()}")
            self.teardown()
            return FAILURE
        self._problem = "configured, not active"
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start answering."""
        self.active, self._problem = True, ""
        self.get_logger().info(f"active ({self.describe()})")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop answering; keeps everything that was made."""
        self.active, self._problem = False, "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release what configure made."""
        self.teardown()
        self._problem = "not configured"
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        self.active = False
        self.teardown()
        return SUCCESS

    def describe(self) -> str:
        """One phrase about what the node runs with, for the log."""
        return type(self).__name__

    def diagnostic_values(self) -> dict[str, Any]:
        """Key figures for /diagnostics."""
        return {}

    def refuse(self) -> str:
        """The reason why the node cannot answer now; empty when it can."""
        return "" if self.active else f"{self.get_name()} is not active: {self._problem or 'inactive'}"

    def offer(
        self, kind: Any, name: str, execute: Callable[[Any], Any], failed: int, accept: Any = None
    ) -> ActionServer:
        """An action server whose result always has a reason: an unexpected error becomes error_code ``failed``."""

        def guarded(goal: ServerGoalHandle) -> Any:
            try:
                return execute(goal)
            except Exception as error:
                self.get_logger().error(f"{name}: {traceback.format_exc()}")
                goal.abort()
                return kind.Result(error_code=failed, error_msg=f"{type(error).__name__}: {error}")

        return ActionServer(
            self,
            kind,
            name,
            guarded,
            callback_group=self.group,
            goal_callback=accept or (lambda _: GoalResponse.ACCEPT),
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def _publish_diagnostics(self) -> None:
        level = DiagnosticStatus.OK if self.active else DiagnosticStatus.WARN
        values = [KeyValue(key=k, value=str(v)) for k, v in self.diagnostic_values().items()]
        status = DiagnosticStatus(
            level=level,
            name=self.get_fully_qualified_name(),
            message=self._problem or "active",
            hardware_id=self._instance,
            values=values,
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def descriptor(field: Any, hint: Any) -> ParameterDescriptor:
    """A parameter descriptor with the field's description, unit, choices and range."""
    meta = field.metadata
    text = meta.get("doc", "")
    if meta.get("unit"):
        text += f" [{meta['unit']}]"
    choices = configuration.choices_of(meta)
    if choices:
        text += f" Choices: {', '.join(map(str, choices))}."
    result = ParameterDescriptor(description=text)
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


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else list(value)


def spin(node_class: Callable[..., SkillNode], **arguments: Any) -> int:
    """Run a node until a signal asks it to stop.

    The signals only set an event: a second SIGINT during shutdown finds nothing to interrupt.

    Returns:
        0 after SIGINT or SIGTERM, 1 when the node could not be created or autostart failed.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    code = 0
    node: SkillNode | None = None
    try:
        node = node_class(**arguments)
        executor = MultiThreadedExecutor(num_threads=6)
        executor.add_node(node)
        if node.get_parameter("autostart").value and not _autostart(node):
            code = 1
            stop.set()
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.2)
    except ExternalShutdownException:
        pass
    except MemristorError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    finally:
        if node is not None:
            node.active = False
            node.teardown()
            node.destroy_node()
        rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads still inside an aborted callback must not keep the process: state is already saved.
    os._exit(code)


def _autostart(node: SkillNode) -> bool:
    return node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
