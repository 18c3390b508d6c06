"""Messages on topics that no publisher of ours sends: nodes that listen must survive every one."""

from __future__ import annotations

from typing import Any

import numpy as np

from memristor_bdnn.benchmark.faults.requests import NUMBERS, WORDS


class Publishers:
    """Sends odd messages on the topics that nodes listen to.

    Attributes:
        trajectories: messages sent to the controller of the lab.
    """

    def __init__(self, node: Any, lab: str, nodes: tuple[str, ...]) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import JointState
        from trajectory_msgs.msg import JointTrajectory

        from memristor_bdnn.msg import SkillDescription

        self.trajectories = 0
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._nodes = nodes
        self._joints = [node.create_publisher(JointState, f"{space}/joint_states", 10) for space in ("", f"/{lab}")]
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._skills = [node.create_publisher(SkillDescription, f"{name}/skill", latched) for name in nodes]
        self._controller = node.create_publisher(
            JointTrajectory, f"/{lab}/joint_trajectory_controller/joint_trajectory", 10
        )

    def send(self, rng: np.random.Generator) -> str:
        """Publish one odd message; says what it was."""
        return (self._joint_state, self._diagnostic, self._skill, self._trajectory)[int(rng.integers(4))](rng)

    def _joint_state(self, rng: np.random.Generator) -> str:
        from sensor_msgs.msg import JointState

        names = [str(rng.choice((*WORDS, "panda_joint1", "left_panda_joint1"))) for _ in range(int(rng.integers(0, 9)))]
        positions = [float(v) for v in rng.choice(NUMBERS, int(rng.integers(0, 9)))]
        publisher = self._joints[int(rng.integers(2))]
        publisher.publish(JointState(name=names, position=positions, velocity=positions[:1]))
        return f"joint_states of {len(names)} names and {len(positions)} positions on {publisher.topic_name}"

    def _diagnostic(self, rng: np.random.Generator) -> str:
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

        name = str(rng.choice((*self._nodes, *WORDS)))
        level = bytes([int(rng.choice([0, 1, 2, 3, 77, 255]))])
        values = [KeyValue(key=str(rng.choice(WORDS)), value=str(rng.choice(WORDS)))]
        status = DiagnosticStatus(level=level, name=name, hardware_id=str(rng.choice(WORDS)), values=values)
        self._diagnostics.publish(DiagnosticArray(status=[status] * int(rng.integers(0, 4))))
        return f"diagnostics of {name[:40]!r}, level {level!r}"

    def _skill(self, rng: np.random.Generator) -> str:
        from memristor_bdnn.msg import Dimension, SkillDescription

        word, number = str(rng.choice(WORDS)), float(rng.choice(NUMBERS))
        message = SkillDescription(name=word, features=[word], phases=[word])
        message.context = [Dimension(name=word, low=number, high=number)]
        publisher = self._skills[int(rng.integers(len(self._skills)))]
        publisher.publish(message)
        return f"a skill {word[:20]!r} on {publisher.topic_name}"

    def _trajectory(self, rng: np.random.Generator) -> str:
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        joints = [f"panda_joint{k}" for k in range(1, int(rng.choice([1, 8, 9])))]
        points = [
            JointTrajectoryPoint(positions=[float(v) for v in rng.choice(NUMBERS, int(rng.choice([0, 7, 8])))])
            for _ in range(int(rng.integers(0, 3)))
        ]
        self._controller.publish(JointTrajectory(joint_names=joints, points=points))
        self.trajectories += 1
        return f"a trajectory of {len(joints)} joints and {len(points)} points to the mock controller"
