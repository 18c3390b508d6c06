"""A peer in a process of its own, for tests: heartbeats, and an action that may think long before it accepts.

    scripted_peer.py NAME THINK_S RUN_S

Prints one line for every event: accepted, started, cancelled, done.
"""

import sys
import time
import uuid

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from memristor_bdnn.action import ExecuteTrial
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor


def main(name: str, think_s: float, run_s: float) -> None:
    rclpy.init(args=[])
    node, instance = rclpy.create_node(name), str(uuid.uuid4())
    group = ReentrantCallbackGroup()
    heartbeats = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def beat() -> None:
        status = DiagnosticStatus(level=DiagnosticStatus.OK, name=f"/{name}", hardware_id=instance)
        heartbeats.publish(DiagnosticArray(status=[status]))

    def accept(_: object) -> GoalResponse:
        time.sleep(think_s)
        print("accepted", flush=True)
        return GoalResponse.ACCEPT

    def execute(goal: object) -> object:
        print("started", flush=True)
        end = time.monotonic() + run_s
        while time.monotonic() < end:
            goal.publish_feedback(ExecuteTrial.Feedback(phase="run"))
            if goal.is_cancel_requested:
                print("cancelled", flush=True)
                goal.canceled()
                return ExecuteTrial.Result(error_code=ExecuteTrial.Result.CANCELED, error_msg="canceled")
            time.sleep(0.05)
        print("done", flush=True)
        goal.succeed()
        return ExecuteTrial.Result()

    node.create_timer(0.5, beat, callback_group=group)
    server = ActionServer(
        node,
        ExecuteTrial,
        f"{name}/run",
        execute,
        callback_group=group,
        goal_callback=accept,
        cancel_callback=lambda _: CancelResponse.ACCEPT,
        result_timeout=900,
    )
    executor = MultiThreadedExecutor(8)
    executor.add_node(node)
    print("ready", flush=True)
    executor.spin()
    server.destroy()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
