"""Start the graph for a physical arm: `ros2 launch memristor_bdnn physical_arm.launch.py enable_hardware:=true ...`.

The same graph as pouring.launch.py with trajectories going to a joint trajectory controller; read
docs/physical_arm.md first. `use_mock_hardware:=true` rehearses it: a mock controller moves, and no arm.
"""

from launch import LaunchDescription
from memristor_bdnn.nodes import graph
from memristor_bdnn.nodes.launching import describe


def generate_launch_description() -> LaunchDescription:
    """A physical arm learns to pour."""
    return describe(graph.PHYSICAL_DEFAULTS)
