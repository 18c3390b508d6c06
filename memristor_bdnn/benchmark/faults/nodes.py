"""Every kind of node as a child of the campaign: the simulated graph, and a lab with a mock controller."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memristor_bdnn.benchmark.faults.findings import Tally
from memristor_bdnn.benchmark.faults.processes import Caller, NodeFailed, NodeProcess, choose_domain, until

LAB = "lab"
"""Namespace of the physical world, its planner and the mock controller."""
UNCONFIGURED, INACTIVE, ACTIVE = 1, 2, 3
STATES = {UNCONFIGURED: "unconfigured", INACTIVE: "inactive", ACTIVE: "active"}
_CONFIGURE, _CLEANUP, _ACTIVATE, _DEACTIVATE = 1, 2, 3, 4
_PATH = {
    (UNCONFIGURED, INACTIVE): (_CONFIGURE,),
    (UNCONFIGURED, ACTIVE): (_CONFIGURE, _ACTIVATE),
    (INACTIVE, UNCONFIGURED): (_CLEANUP,),
    (INACTIVE, ACTIVE): (_ACTIVATE,),
    (ACTIVE, INACTIVE): (_DEACTIVATE,),
    (ACTIVE, UNCONFIGURED): (_DEACTIVATE, _CLEANUP),
}


class House:
    """All nodes under test, and how to talk to them.

    Attributes:
        nodes: by role: world, planner, accelerator, coordinator, recorder, lab, controller.
        caller: calls them.
        results: folder that the nodes were given.
    """

    def __init__(self, folder: Path, skill: str, seed: int) -> None:
        from memristor_bdnn import skills
        from memristor_bdnn.nodes.client import GraphClient
        from memristor_bdnn.nodes.graph import NodeCommand, resolve

        self.folder, self.results = folder, folder / "work" / "results"
        self.results.mkdir(parents=True)
        choose_domain()
        values = {"skill": skill, "seed": str(seed), "results": str(self.results), "record": "true"}
        values |= {"initial_trials": "4", "candidates": "50"}
        commands = resolve(values)
        roles = dict(zip(("world", "planner", "accelerator", "coordinator", "recorder"), commands, strict=True))
        lab = {"skill": skill, "namespace": LAB, "arm_output": "topic", "results": str(self.results)}
        roles["lab"] = resolve(lab)[0]
        roles["controller"] = NodeCommand(
            "joint_trajectory_controller", "mock_controller_node", LAB, "", {}, "info", False
        )
        self.skill = skills.load(skill)
        self.nodes = {role: NodeProcess(command, folder / "work") for role, command in roles.items()}
        self.client = GraphClient("faults")
        self.caller = Caller(self.client)

    def state(self, node: NodeProcess) -> int:
        """Lifecycle state of a node."""
        from lifecycle_msgs.srv import GetState

        return int(self.caller.call(node, GetState, "get_state", GetState.Request()).current_state.id)

    def change(self, node: NodeProcess, wanted: int) -> bool:
        """Bring a node into a state; False when a transition failed."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        for step in _PATH.get((self.state(node), wanted), ()):
            request = ChangeState.Request(transition=Transition(id=step))
            if not self.caller.call(node, ChangeState, "change_state", request, 60.0).success:
                return False
        return True

    def wait_active(self, node: NodeProcess, timeout_s: float = 90.0) -> bool:
        """Whether a node that was started is active in time."""

        def active() -> bool:
            try:
                return not node.alive or self.state(node) == ACTIVE
            except NodeFailed:
                return False

        return until(active, timeout_s) and node.alive

    def revive(self, tally: Tally, case: int, done: str, error: NodeFailed, node: NodeProcess) -> None:
        """Note a death or a silence, and start the node again."""
        time.sleep(0.3)  # a process that is about to die
        happened = str(error) if node.alive else node.how_it_ended()
        tally.found("crashed", case, done, happened)
        node.stop()
        node.start()
        if not self.wait_active(node):
            raise RuntimeError(f"{node.full_name} does not come up again: {node.how_it_ended()}")

    def peak_bytes(self) -> dict[str, int]:
        """Largest resident memory of every node so far."""
        return {role: node.peak_bytes() for role, node in self.nodes.items()}

    def close(self) -> None:
        """End all nodes."""
        self.client.close()
        for node in self.nodes.values():
            node.stop()


@contextmanager
def house(folder: Path, skill: str, seed: int) -> Iterator[House]:
    """All nodes, active; ended at the end of the block."""
    made = House(folder, skill, seed)
    try:
        for node in made.nodes.values():
            if not made.wait_active(node):
                raise RuntimeError(f"{node.full_name} does not become active: {node.how_it_ended()}")
        yield made
    finally:
        made.close()


def snapshot(folder: Path, leave_out: Path) -> dict[str, Any]:
    """Every file, link and folder below ``folder`` with its content, without those below ``leave_out``."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path == leave_out or leave_out in path.parents or path.suffix == ".log":
            continue
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = "folder" if path.is_dir() else "special"
    return found
