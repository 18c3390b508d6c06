"""A rehearsal: the graph of a physical arm with a mock controller in place of the arm's. No rclpy here.

Everything that could reach an arm is the mock's own: the controller's name, and the topic of the joint states. An arm
on the same bus hears nothing of a rehearsal, and the rehearsal nothing of the arm.
"""

from __future__ import annotations

from collections.abc import Mapping

from memristor_bdnn.errors import ConfigError

SWITCH = "use_mock_hardware"
CONTROLLER = "mock_arm_controller"
REMAPPINGS = {"joint_states": f"{CONTROLLER}/joint_states"}
"""Of every node in a rehearsal."""
FAULTS = ("none", "reject", "stale", "deviate", "deaf", "lost", "broken")
"""What the mock can do wrong."""
DEFAULTS = {"arm_output": "auto", "enable_hardware": "true", "results": "results/rehearsal"}
"""What a rehearsal changes, unless it is typed or in a params file; its trials are kept apart from those of an arm."""
MARGINS = {"world.port.stale_after": 2.0}
"""Parameters that a rehearsal widens, unless a params file has them: role.parameter and value.

A driver runs in real time and is silent when something is wrong. The mock is a process among others; on a machine that
is busy it may be silent for longer than the 0.5 s that an arm is allowed.
"""
NOTE = (
    f"REHEARSAL: controller {CONTROLLER}, joint states on {REMAPPINGS['joint_states']}. No arm moves, and outcomes are "
    f"what you answer. The mock may be silent for {MARGINS['world.port.stale_after']:g} s (an arm for 0.5 s)"
)


def decided(typed: Mapping[str, str], defaults: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Typed arguments and defaults of a graph, with those of a rehearsal where one was asked for.

    Raises:
        ConfigError: a rehearsal with another controller than the mock.
    """
    typed, defaults = dict(typed), dict(defaults)
    if typed.get(SWITCH, defaults.get(SWITCH, "false")) == "true":
        if typed.get("controller", CONTROLLER) != CONTROLLER:
            raise ConfigError(
                f"controller:={typed['controller']} with {SWITCH}:=true: a rehearsal moves its own controller, "
                f"{CONTROLLER}; leave controller out, or {SWITCH} to move the arm"
            )
        if typed.get("arm_output") == "sim":
            raise ConfigError(f"arm_output:=sim with {SWITCH}:=true: choose action, topic or auto, or leave it out")
        typed["controller"] = CONTROLLER  # whatever a params file says
        defaults |= DEFAULTS
    return typed, defaults
