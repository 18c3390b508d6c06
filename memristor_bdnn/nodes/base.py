"""What all nodes share: lifecycle, what they tell of themselves, and (from below) guards and parameters."""

from __future__ import annotations

import os
import socket
import time
import traceback
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile

from memristor_bdnn import config as configuration
from memristor_bdnn.errors import MemristorError
from memristor_bdnn.msg import SkillDescription
from memristor_bdnn.nodes.convert import describe_skill
from memristor_bdnn.nodes.guards import GuardedNode, printable
from memristor_bdnn.skills import Skill

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class SkillNode(GuardedNode):
    """A lifecycle node whose parameters are the fields of configuration dataclasses.

    Subclasses set ``config_type`` and implement :meth:`setup` (heavy imports belong there) and
    :meth:`teardown`; a :class:`MemristorError` raised in ``setup`` fails the configure transition
    with its text in the log. Publishers, subscriptions, timers, clients and services made in ``setup``
    end after ``teardown``.
    """

    def __init__(self, name: str, **defaults: Any) -> None:
        self.active = False
        self._problem = "not configured"
        self._described: Any = None
        super().__init__(name, defaults)
        with self._declares():
            self.declare_parameter(
                "autostart",
                True,
                ParameterDescriptor(
                    description="Configure and activate at start. Takes effect: at start only.", read_only=True
                ),
            )
        # Tells a node that died and came back from the one before.
        self._instance = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._heartbeat = self.create_timer(1.0, self._publish_diagnostics, callback_group=self.group)

    def announce(self, skill: Skill) -> None:
        """Publish what a skill consists of on ~/skill, latched; to be called in :meth:`setup`."""
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
        self.phase, self._problem = "configuring", "being configured"
        self.begin_sections()
        try:
            with self.recording():
                self.config = configuration.build(self.config_type, self.read_section())
                self.setup()
        except Exception as error:
            foreseen = isinstance(error, MemristorError)
            problem = str(error) if foreseen else f"{type(error).__name__}: {error}"
            self.get_logger().error(printable(f"cannot configure: {problem if foreseen else traceback.format_exc()}"))
            self._release(f"cannot configure: {problem}")
            return FAILURE
        self.phase, self._problem = "configured", "configured, not active"
        if unknown := self.unknown_parameters():
            self.get_logger().warning(printable(unknown))
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
        self._release("not configured")
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        self._release("shut down")
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an error in a transition: unconfigured, with nothing left over."""
        self._release("an error in a transition; configure again")
        return SUCCESS

    def _release(self, problem: str) -> None:
        """Back to unconfigured, whatever goes wrong on the way."""
        self.active, self._problem = False, problem
        with self.only_logged("teardown"):
            self.teardown()
        self.destroy_recorded()
        self._described = None
        self.phase = "unconfigured"

    # -- what it tells of itself --------------------------------------------------------------

    def describe(self) -> str:
        """One phrase about what the node runs with, for the log."""
        return type(self).__name__

    def diagnostic_values(self) -> dict[str, Any]:
        """Key figures for /diagnostics."""
        return {}

    def refuse(self) -> str:
        """The reason why the node cannot answer now; empty when it can."""
        return "" if self.active else f"{self.get_name()} is not active: {self._problem or 'inactive'}"

    def _publish_diagnostics(self) -> None:
        """The heartbeat; figures that cannot be told now are left out rather than the heartbeat."""
        values: list[KeyValue] = []
        with self.only_logged("diagnostics"):
            values = [KeyValue(key=k, value=printable(str(v))) for k, v in self.diagnostic_values().items()]
        status = DiagnosticStatus(
            level=DiagnosticStatus.OK if self.active else DiagnosticStatus.WARN,
            name=self.get_fully_qualified_name(),
            message=printable(self._problem or "active"),
            hardware_id=self._instance,
            values=values,
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
