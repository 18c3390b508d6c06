"""The graph as a `ros2 launch` description; imported by the launch files only."""

from __future__ import annotations

from collections.abc import Mapping

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, Shutdown
from launch_ros.actions import Node

from launch import Action, LaunchContext, LaunchDescription
from memristor_bdnn.nodes import END_WITH_PARENT, graph, rehearsal


def describe(defaults: Mapping[str, str] | None = None) -> LaunchDescription:
    """Declare the graph's arguments, then start its nodes.

    What stands in the launch configurations before the declarations was typed, or given by a launch file that includes
    this one; it wins over a params file. A default declared here does not.

    Args:
        defaults: defaults that differ from those of the graph.
    """
    defaults = defaults or {}
    typed: dict[str, str] = {}

    def remember(context: LaunchContext) -> None:
        typed.clear()
        typed.update(graph.typed_of(context.launch_configurations))

    def start(context: LaunchContext) -> list[Action]:
        # Left as found: what was declared here must not look typed to a launch file that is included next.
        for argument in graph.all_arguments():
            if argument.name not in typed:
                context.launch_configurations.pop(argument.name, None)
        return _nodes(context, typed, defaults)

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
    return LaunchDescription([OpaqueFunction(function=remember), *declared, OpaqueFunction(function=start)])


def _nodes(context: LaunchContext, typed: Mapping[str, str], defaults: Mapping[str, str]) -> list[Action]:
    within = context.launch_configurations.get("ros_namespace", "")
    commands = graph.resolve(typed, defaults, within=within)
    notes = [LogInfo(msg=rehearsal.NOTE)] if any(c.name == rehearsal.CONTROLLER for c in commands) else []
    return notes + [
        Node(
            package=command.package,
            executable=command.executable,
            name=command.name,
            namespace=command.namespace,
            # The same words as without `ros2 launch`; launch_ros reads text in `parameters` as YAML.
            arguments=command.words(),
            additional_env={**command.environment, END_WITH_PARENT: "1"},
            output="screen",
            respawn=command.respawn,
            respawn_delay=1.0,
            on_exit=None if command.respawn or not command.vital else Shutdown(reason=f"{command.name} ended"),
        )
        for command in commands
    ]
