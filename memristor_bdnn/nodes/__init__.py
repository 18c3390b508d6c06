"""The four ROS 2 nodes: thin shells around the library; `run` is what their executables call."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

from memristor_bdnn.errors import MemristorError
from memristor_bdnn.nodes import environment, typed
from memristor_bdnn.processes import end_with

# executable -> (module, class, keyword arguments). Three executables preset the accelerator's learner.
EXECUTABLES: dict[str, tuple[str, str, dict[str, str]]] = {
    "world": ("world", "WorldNode", {}),
    "physical_world": ("physical_world", "PhysicalWorldNode", {}),
    "planner": ("planner", "PlannerNode", {}),
    "accelerator": ("accelerator", "AcceleratorNode", {}),
    "msgld": ("accelerator", "AcceleratorNode", {"default_learner": "msgld"}),
    "eapu": ("accelerator", "AcceleratorNode", {"default_learner": "eapu"}),
    "mcmc": ("accelerator", "AcceleratorNode", {"default_learner": "mcmc"}),
    "coordinator": ("coordinator", "CoordinatorNode", {}),
    "recorder": ("recorder", "RecorderNode", {}),
    "mock_controller": ("mock_controller", "MockControllerNode", {}),
}


END_WITH_PARENT = "MEMRISTOR_BDNN_END_WITH_PARENT"
"""Set by our launch files: `ros2 launch`, killed, leaves its children behind."""


def run(executable: str) -> int:
    """Run one node until SIGINT or SIGTERM; returns the exit code (0 on a requested stop).

    Until the node spins there is nothing to save, so an early signal ends the process at once
    with code 0 instead of a traceback.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    if os.environ.pop(END_WITH_PARENT, ""):
        end_with(os.getppid(), signal.SIGTERM)
    try:
        discovery = environment.choose_discovery(os.environ)
        environment.prepare_logs(os.environ)
        sys.argv[:] = typed.outrank_files(sys.argv)
        module, name, arguments = EXECUTABLES[executable]
        node_class = getattr(importlib.import_module(f"memristor_bdnn.nodes.{module}"), name)
        from memristor_bdnn.nodes.spinning import spin

        def make(**options: str) -> Any:
            node = node_class(**options)
            node.get_logger().info(discovery)
            return node

        return spin(make, **arguments)
    except Exception as error:
        # What ROS 2 itself refuses: a params file that it cannot read, a parameter of another type.
        if not isinstance(error, MemristorError) and not type(error).__module__.startswith("rclpy"):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return 1
