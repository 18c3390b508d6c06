"""One motion over a controller's action, in a process that has control_msgs; prints what became of it as JSON.

action_route.py CANCEL_AFTER_S WAIT_S
"""

import json
import sys
import threading
import time

from test_physical_arm import ARM, motion

from memristor_bdnn.errors import ArmError
from memristor_bdnn.motion.ports.base import PortConfig
from memristor_bdnn.nodes.arm_port import ControllerPort
from memristor_bdnn.nodes.client import GraphClient


def main(cancel_after: float, wait: float) -> None:
    with GraphClient("action_route") as client:
        # A machine that stalls is not the subject.
        calm = {"stale_after": 5.0, "latency": 2.0, "path_tolerance": 1.0}
        checks = PortConfig(enable_hardware=True, velocity_scaling=1.0, acceleration_scaling=1.0, **calm)
        port = ControllerPort(client.node, ARM, checks, "joint_trajectory_controller", "action")
        cancel, result = threading.Event(), {"reason": "", "text": ""}
        if cancel_after >= 0:
            threading.Timer(cancel_after, cancel.set).start()
        try:
            port.execute(motion(3.0), cancelled=cancel.is_set)
        except ArmError as error:
            result = {"reason": error.reason, "text": str(error)}
        begin = port.states.last()[0]
        time.sleep(wait)
        result["moved"] = abs(float(port.states.last()[0]) - float(begin))
        result["from_home"] = abs(float(port.states.last()[0]) - ARM.home[0])
        port.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
