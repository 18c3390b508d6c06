"""A driver in a process of its own, for tests: publishes the joint state it is told on its standard input, at 50 Hz.

    scripted_joints.py RELIABILITY DURABILITY

A line is {"name": [...], "position": [...]} (NaN and Infinity allowed), or null for silence.
"""

import json
import sys
import threading
import time

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState


def main(reliability: str, durability: str) -> None:
    rclpy.init(args=[])
    node = rclpy.create_node("scripted_joints")
    qos = QoSProfile(
        depth=5, reliability=ReliabilityPolicy[reliability.upper()], durability=DurabilityPolicy[durability.upper()]
    )
    publisher = node.create_publisher(JointState, "joint_states", qos)
    told = {"message": None}

    def publish() -> None:
        while True:
            if (message := told["message"]) is not None:
                publisher.publish(message)
            time.sleep(0.02)

    threading.Thread(target=publish, daemon=True).start()
    for line in sys.stdin:
        fields = json.loads(line)
        told["message"] = None if fields is None else JointState(**fields)


if __name__ == "__main__":
    main(*sys.argv[1:])
