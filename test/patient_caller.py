"""A caller in a process of its own, for tests: sends one goal, prints ok or the error.

patient_caller.py PEER TIMEOUT_S [ACTION GOAL_FILE]
"""

import sys
from pathlib import Path

from memristor_bdnn.action import ExecuteTrial
from rclpy.serialization import deserialize_message

from memristor_bdnn.errors import MemristorError
from memristor_bdnn.nodes.client import GraphClient


def main(peer: str, timeout_s: float, action: str = "run", file: str = "") -> None:
    goal = deserialize_message(Path(file).read_bytes(), ExecuteTrial.Goal) if file else ExecuteTrial.Goal()
    with GraphClient("patient_caller") as client:
        client.peers.wait_ready((peer,), 30.0)
        try:
            client.act(peer, ExecuteTrial, action, goal, timeout_s)
            print("ok", flush=True)
        except MemristorError as error:
            print(f"{type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:])
