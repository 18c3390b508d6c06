"""The graph as a `ros2 launch` description; imported by the launch files only."""

from __future__ import annotations

from collections.abc import Mapping

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from memristor_bdnn.nodes import graph


def describe(defaults: Mapping[str, str] | None = None) -> LaunchDescription:
    """Declare the graph's arguments, then start its nodes.

    Args:
        defaults: defaults that differ from those of the graph.
    """
    defaults = defaults or {}
    declared = [
        DeclareLaunchArgument(
            a.name,
            default_value=defaults.get(a.name, a.default),
            description=a.doc,
            # Where a file is allowed too, or text may stay empty, the choices are checked in resolve().
            choices=None if a.files or not a.default else a.allowed(),
        )
        for a in graph.all_arguments()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start_nodes)])


def _start_nodes(context: LaunchContext) -> list[Node]:
    values = {a.name: LaunchConfiguration(a.name).perform(context) for a in graph.all_arguments()}
    return [
        Node(
            package="memristor_bdnn",
            executable=command.executable,
            name=command.name,
            namespace=command.namespace,
            parameters=([command.params_file] if command.params_file else []) + [dict(command.parameters)],
            arguments=["--ros-args", "--log-level", command.log_level],
            output="screen",
            respawn=command.respawn,
            respawn_delay=1.0,
            on_exit=None if command.respawn else Shutdown(reason=f"{command.name} ended"),
        )
        for command in graph.resolve(values)
    ]
