"""A planner node with planner:=moveit beside a stand-in move_group, each in a process of its own.

    python test/moveit_bench.py ARM ROWS

plans random pours, each by own and by way of the stand-in, and prints how many were planned and how long that took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from conftest import until
from one_node import EXECUTABLES, OneNode

STAND_IN = Path(__file__).parent / "move_group.py"
GROUP = "arm_of_the_test"


class MoveItBench:
    """Both processes, and a client.

    The caller's environment is one in which moveit_msgs can be imported by what is started from it.
    """

    def __init__(self, folder: Path, arm: str, **parameters: Any) -> None:
        self.prefix = str(parameters.get("moveit.prefix", ""))
        self.folder, self.arm, self.fault = folder, arm, folder / "fault"
        self.log = folder / "move_group.log"
        self.fault.write_text("")
        given = {"arm": arm, "planner": "moveit", "moveit.group": GROUP, "moveit.planning_time": 10.0, **parameters}
        self.node = OneNode(
            folder,
            [str(EXECUTABLES / "planner_node")],
            "pour_planner",
            given,
        )
        self._environment = dict(os.environ)  # with the node's domain
        self.group: Any = None
        try:
            self.start_group()
            self.node.wait_ready()
        except BaseException:
            self.close()
            raise

    def start_group(self) -> None:
        """Start the stand-in in the node's domain, and wait until it has loaded the arm."""
        words = [sys.executable, str(STAND_IN), self.arm, GROUP, str(self.fault), self.prefix]
        with open(self.log, "w") as output:
            self.group = subprocess.Popen(
                words, env=self._environment, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT
            )
        until(lambda: any("ready" in line for line in self.said()) or self.group.poll() is not None, 60.0)
        assert self.group.poll() is None, self.log.read_text()

    def said(self) -> list[dict[str, Any]]:
        """What the stand-in has written about the scenes and questions that it was sent."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def plan(self, context: Any, parameters: Any, fault: str = "", seed: int = 1) -> Any:
        """The result of one PlanMotion goal."""
        from memristor_bdnn.action import PlanMotion

        from memristor_bdnn.nodes.convert import table
        from memristor_bdnn.skills.pouring.context import CONTEXT_SPACE, PARAMETER_SPACE

        self.fault.write_text(fault)
        goal = PlanMotion.Goal(
            context=table(CONTEXT_SPACE.names, context), parameters=table(PARAMETER_SPACE.names, parameters), seed=seed
        )
        result = self.node.client.act("pour_planner", PlanMotion, "plan_motion", goal, 120.0)
        self.node.check_alive()
        return result

    def stop_group(self) -> None:
        """End the stand-in at once."""
        if self.group is not None:
            self.group.kill()
            self.group.wait(10.0)

    def close(self) -> None:
        """End both."""
        self.node.close()
        self.stop_group()


def compare(arm: str, rows: int) -> None:
    """Random pours that a session with the arm would try, planned both ways."""
    import moveit_interfaces

    from memristor_bdnn.errors import PlanningError
    from memristor_bdnn.skills import load

    os.environ.update(moveit_interfaces.environment())
    skill, rng = load("pouring"), np.random.default_rng(5)
    own, planned, seconds = skill.motion(arm, dict(skill.motion_defaults)), np.zeros((2, 2), int), np.zeros((rows, 2))
    with tempfile.TemporaryDirectory() as folder:
        bench = MoveItBench(Path(folder), arm)
        try:
            for i in range(rows):
                context = skill.sample_context(rng)
                parameters = skill.sample_candidates(context, 1, rng, arm)[0]
                begun = time.perf_counter()
                try:
                    own.plan(context, parameters, seed=1)
                    by_own = 1
                except PlanningError:
                    by_own = 0
                seconds[i, 0] = time.perf_counter() - begun
                begun = time.perf_counter()
                planned[by_own, int(bench.plan(context, parameters).error_code == 0)] += 1
                seconds[i, 1] = time.perf_counter() - begun
        finally:
            bench.close()
    (neither, only_moveit), (only_own, both) = planned.tolist()
    print(
        f"{arm}: of {rows} pours both planned {both}, neither {neither}, only own {only_own}, only moveit {only_moveit}"
    )
    print("median seconds: own {:.3f}, moveit {:.3f} with the messages".format(*np.median(seconds, axis=0)))


if __name__ == "__main__":
    compare(sys.argv[1], int(sys.argv[2]))
