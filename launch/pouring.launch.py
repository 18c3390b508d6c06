"""Start the pouring graph: `ros2 launch memristor_bdnn pouring.launch.py [name:=value ...]`.

Nodes, parameters and arguments are data in memristor_bdnn.nodes.graph; this file only hands them to
launch. `memristor-bdnn up` starts the same graph where `ros2 launch` is not installed.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from memristor_bdnn.nodes import graph


def start_nodes(context: LaunchContext) -> list[Node]:
    """Resolve the arguments and make one Node action each."""
    values = {a.name: LaunchConfiguration(a.name).perform(context) for a in graph.ARGUMENTS}
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


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then start the nodes."""
    declared = []
    for a in graph.ARGUMENTS:
        # An arm may also be the path of a description, so its choices are checked in resolve().
        allowed = None if a.name == "arm" else a.allowed()
        declared.append(DeclareLaunchArgument(a.name, default_value=a.default, description=a.doc, choices=allowed))
    return LaunchDescription([*declared, OpaqueFunction(function=start_nodes)])
