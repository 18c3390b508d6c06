"""Start the graph of any skill: `ros2 launch memristor_bdnn skill.launch.py skill:=NAME [name:=value ...]`.

Nodes, parameters and arguments are data in memristor_bdnn.nodes.graph; `memristor-bdnn up` starts the
same graph where `ros2 launch` is not installed.
"""

from launch import LaunchDescription
from memristor_bdnn.nodes.launching import describe


def generate_launch_description() -> LaunchDescription:
    """A simulated arm learns the skill."""
    return describe()
