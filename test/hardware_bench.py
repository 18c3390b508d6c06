"""A bench for tests of what moves: processes in one ROS domain, a driver that says what it is told, a lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from conftest import ROOT, fresh_environment, until
from test_physical_arm import ARM, motion

from memristor_bdnn import skills
from memristor_bdnn.motion.plan import MotionPlan

TEST = Path(__file__).parent
SKILL = skills.load("pouring")


class Bench:
    """Processes in one ROS domain, and a client among them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder, fresh_environment()
        for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE"):
            os.environ[name] = self.environment[name]
        self.processes: list[subprocess.Popen[str]] = []
        self._clients: list[Any] = []

    def client(self, **options: Any) -> Any:
        from memristor_bdnn.nodes.client import GraphClient

        self._clients.append(GraphClient("bench_client", **options))
        return self._clients[-1]

    def script(self, name: str, *words: object, **environment: str) -> subprocess.Popen[str]:
        """A script of this folder; its output goes to NAME.log in the bench's folder."""
        return self._start(name, [sys.executable, str(TEST / f"{name}.py"), *map(str, words)], environment)

    def node(self, executable: str, *parameters: str, **environment: str) -> subprocess.Popen[str]:
        path = Path(sys.prefix) / "lib" / "memristor_bdnn" / executable
        options = [word for p in parameters for word in ("-r" if p.startswith("__") else "-p", p)]
        return self._start(executable, [sys.executable, str(path), "--ros-args", *options], environment)

    def _start(self, name: str, words: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        with open(self.log(name), "w") as log:
            process = subprocess.Popen(
                words,
                env={**self.environment, **environment},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=ROOT,
            )
        self.processes.append(process)
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def says(self, name: str, text: str) -> bool:
        return text in self.log(name).read_text()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10.0)


class Driver:
    """A driver's process, told what to publish."""

    def __init__(self, bench: Bench, reliability: str = "reliable", durability: str = "volatile") -> None:
        self.process = bench.script("scripted_joints", reliability, durability)

    def say(self, joints: dict[str, float] | None, **fields: Any) -> None:
        message = None if joints is None else {"name": list(joints), "position": list(joints.values()), **fields}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()


class Lab:
    """The physical world's node, a mock for its arm, and goals to it."""

    def __init__(self, bench: Bench, *parameters: str) -> None:
        self.bench = bench
        self.mock = bench.node("mock_controller_node")
        quick = ["port.velocity_scaling:=1.0", "port.acceleration_scaling:=1.0", "port.stale_after:=5.0"]
        given = ["enable_hardware:=true", "arm_output:=topic", "port.latency:=2.0", *quick, *parameters]
        self.world = bench.node("physical_world_node", *given)
        self.client = bench.client()
        from memristor_bdnn.nodes.joint_states import JointStates

        self.states = JointStates(self.client.node, ARM.joint_names)
        ready = lambda: self.client.peers.is_ready("pouring_world") and self.states.last() is not None  # noqa: E731
        until(ready, 60.0)

    def goal(self, duration: float = 4.0) -> Any:
        """A trial whose plan swings a joint there and back, once a phase."""
        from memristor_bdnn.action import ExecuteTrial
        from memristor_bdnn.srv import ResetWorld

        from memristor_bdnn.nodes import convert

        found = self.client.call("pouring_world", ResetWorld, "reset", ResetWorld.Request(), 20.0)
        assert found.success, found.message
        context = convert.row_from_message(found.context, SKILL.context_space)
        rng = np.random.default_rng(0)
        parameters = SKILL.sample_candidates(context, 1, rng)[0]
        there = motion(duration)
        parts = tuple(there if i % 2 == 0 else there.reversed() for i in range(len(SKILL.phases)))
        plan = MotionPlan(SKILL.phases, parts, object_in_tool=np.eye(4))
        return ExecuteTrial.Goal(
            context=found.context,
            parameters=convert.table(SKILL.parameter_space.names, parameters),
            plan=convert.plan_to_message(plan, ARM.joint_names),
        )

    def start(self, duration: float = 4.0) -> list[Any]:
        """Send a goal; its result will be in the list. Returns while the arm moves."""
        from memristor_bdnn.action import ExecuteTrial

        results: list[Any] = []
        goal = self.goal(duration)

        def act() -> None:
            try:
                results.append(self.client.act("pouring_world", ExecuteTrial, "execute_trial", goal, 120.0))
            except Exception as error:  # of a world that has left
                results.append(error)

        threading.Thread(target=act, daemon=True).start()
        until(self.moves, 30.0)
        return results

    def moves(self) -> bool:
        """Whether positions differ over 0.2 s of states; on a busy machine none may come for as long."""
        number, deadline = self.states.track(-1)[-1].number, time.monotonic() + 1.5
        while time.monotonic() < deadline:
            seen = self.states.track(number)
            if seen and seen[-1].measured - seen[0].measured >= 0.2:
                return bool(np.abs(seen[-1].positions - seen[0].positions).max() > 1e-4)
            time.sleep(0.02)
        return False

    def assert_stays(self) -> None:
        until(lambda: not self.moves(), 5.0)
        where = self.states.last()
        time.sleep(1.0)
        np.testing.assert_allclose(self.states.last(), where, atol=1e-4)

    def set(self, name: str, value: Any) -> Any:
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.client.call("pouring_world", SetParameters, "set_parameters", request, 20.0).results[0]

    def change(self, transition: int) -> bool:
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.client.call("pouring_world", ChangeState, "change_state", request, 20.0).success)
