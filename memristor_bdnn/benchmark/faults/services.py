"""Hostile requests to every service and action: an answer in time, with a reason, and nothing else is touched."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.benchmark.faults import motions, mutate, requests
from memristor_bdnn.benchmark.faults.findings import Tally
from memristor_bdnn.benchmark.faults.messages import Publishers
from memristor_bdnn.benchmark.faults.nodes import ACTIVE, INACTIVE, LAB, UNCONFIGURED, House, house, snapshot
from memristor_bdnn.benchmark.faults.processes import NodeFailed
from memristor_bdnn.benchmark.faults.requests import Known, Place, Request

MEMORY_BYTES = 1_500_000_000
SERVICE_S, GOAL_S = 20.0, 60.0
"""Longest wait for an answer."""
MESSAGES = 0.05
"""Share of the calls that are messages on topics."""
BLOCK, AWAKE = 50, 0.6
"""So many calls, and how often all nodes are active during them."""
DAMAGED = 30
"""Damaged checkpoints in the results folder."""


_MAKERS: tuple[tuple[Callable[[np.random.Generator, Known], Request], float], ...] = (
    (requests.predict, 18.0),
    (requests.select, 14.0),
    (requests.add, 12.0),
    (requests.save, 9.0),
    (requests.load, 9.0),
    (requests.reset, 12.0),
    (requests.label, 9.0),
    (motions.plan, 6.0),
    (requests.transition, 4.0),
    (requests.learn, 3.0),
    (motions.execute, 3.0),
    (requests.active, 1.0),
)
"""What is asked, and how often."""


def run(tally: Tally, folder: Path, calls: int, skill: str, case: int | None, progress: Callable[[int], None]) -> None:
    """Send ``calls`` requests, each a case."""
    with house(folder, skill, tally.seed) as nodes:
        known = _prepare(tally, nodes, folder)
        watch = _Watch(nodes)
        before = snapshot(folder, nodes.results)
        asleep = ""
        for number in range(calls) if case is None else [case]:
            rng = tally.rng(number)
            if number % BLOCK == 0:
                asleep = _sleep(tally, nodes, number, asleep)
            tally.count("calls")
            if rng.random() < MESSAGES:
                _message(tally, nodes, watch, rng, number)
            else:
                request = _draw(rng, known)
                if request.role == asleep:
                    request.bad = None if request.name == "change_state" else True
                    request.text += ", the node is not active"
                _one(tally, nodes, known, request, number)
            watch.look(tally, number)
            if number % 25 == 0:
                before = _compare(tally, folder, nodes, before, number)
            progress(number + 1)
            if tally.given_up:
                break
        _compare(tally, folder, nodes, before, calls)
        for role, size in nodes.peak_bytes().items():
            if size > MEMORY_BYTES:
                tally.found("crashed", calls, "all calls", f"{role} needed {size / 1e9:.1f} GB at its peak")


def _prepare(tally: Tally, nodes: House, folder: Path) -> Known:
    """Teach the learner, draw what can be executed, lay out files that no node may touch, and damaged checkpoints."""
    outside = folder / "outside"
    outside.mkdir()
    (outside / "keep.txt").write_text("nobody may change this\n")
    results = nodes.results
    os.symlink(outside, results / "link_out")
    os.symlink(outside / "keep.txt", results / "link_file.npz")
    os.mkfifo(results / "fifo.npz")
    (results / "folder.npz").mkdir()
    places = {"world": _place(nodes, "world"), "lab": _place(nodes, "lab")}
    known = Known(nodes.skill, results, outside, places, {})
    _teach(nodes)
    _save(nodes, "good.npz")
    good = (results / "good.npz").read_bytes() if (results / "good.npz").exists() else b""
    for k in range(DAMAGED if good else 0):
        name = f"damaged_{k}.npz"
        content, text = mutate.checkpoint(tally.rng(10**9 + k), good)
        (results / name).write_bytes(content)
        known.checkpoints[name] = text
    known.checkpoints |= {"fifo.npz": "a FIFO", "folder.npz": "a folder", "link_file.npz": "a link out of the folder"}
    return known


def _place(nodes: House, role: str) -> Place:
    """A context of a world and a motion that can be planned in it."""
    from memristor_bdnn.action import PlanMotion
    from memristor_bdnn.nodes.convert import table
    from memristor_bdnn.srv import ResetWorld

    skill = nodes.skill
    for seed in range(200):
        answer = nodes.caller.call(nodes.nodes[role], ResetWorld, "reset", ResetWorld.Request(seed=seed))
        context = np.array(answer.context.values)
        chosen = skill.sample_candidates(context, 1, np.random.default_rng(seed), "panda")[0]
        goal = PlanMotion.Goal(context=answer.context, parameters=table(skill.parameter_space.names, chosen), seed=seed)
        planned = nodes.caller.act(nodes.nodes["planner"], PlanMotion, "plan_motion", goal, GOAL_S)
        if planned is not None and not planned.error_code:
            return Place(context, chosen, planned.plan)
    raise RuntimeError(f"no motion could be planned for {role}")


def _teach(nodes: House) -> None:
    from memristor_bdnn.action import Learn
    from memristor_bdnn.nodes.convert import floats, table

    rng, names = np.random.default_rng(0), nodes.skill.feature_names
    x = rng.uniform(-1, 1, (12, len(names)))
    goal = Learn.Goal(x=table(names, x), y=floats((x[:, 0] > 0).astype(float)), from_scratch=True)
    nodes.caller.act(nodes.nodes["accelerator"], Learn, "learn", goal, 120.0)


def _save(nodes: House, name: str) -> str:
    """Write a checkpoint; its sum, or nothing when the node refuses."""
    from memristor_bdnn.srv import SaveCheckpoint

    request = SaveCheckpoint.Request(path=name)
    answer = nodes.caller.call(nodes.nodes["accelerator"], SaveCheckpoint, "save_checkpoint", request, SERVICE_S)
    return str(answer.sha256) if answer.success else ""


def _load(nodes: House, name: str) -> bool:
    from memristor_bdnn.srv import LoadCheckpoint

    request = LoadCheckpoint.Request(path=name, strict=True)
    return bool(nodes.caller.call(nodes.nodes["accelerator"], LoadCheckpoint, "load_checkpoint", request, 20.0).success)


def _sleep(tally: Tally, nodes: House, case: int, asleep: str) -> str:
    """Wake the node that slept, and now and then put another one to sleep; its role, or nothing."""
    if asleep:
        if not nodes.change(nodes.nodes[asleep], ACTIVE):
            raise RuntimeError(f"{asleep} does not become active again")
        if asleep == "accelerator" and not _load(nodes, "good.npz"):
            _teach(nodes)
    rng = tally.rng(2 * 10**9 + case)
    if rng.random() < AWAKE:
        return ""
    role = str(rng.choice(("world", "planner", "accelerator", "coordinator", "lab")))
    nodes.change(nodes.nodes[role], int(rng.choice([UNCONFIGURED, INACTIVE])))
    tally.count("spells of sleep")
    return role


def _draw(rng: np.random.Generator, known: Known) -> Request:
    """A random request to a random node."""
    makers, weights = zip(*_MAKERS, strict=True)
    return makers[int(rng.choice(len(makers), p=np.array(weights) / sum(weights)))](rng, known)


# -- one call --------------------------------------------------------------------------------------


def _one(tally: Tally, nodes: House, known: Known, request: Request, case: int) -> None:
    node = nodes.nodes[request.role]
    done = f"{node.full_name} {request.name}: {request.text}"
    loads, saves = request.name == "load_checkpoint", request.name == "save_checkpoint"
    try:
        if request.name == "execute_trial" and request.role == "world":
            _stand(nodes, known.places["world"])
        before = _save(nodes, "probe.npz") if loads else ""
        kept = _session_files(known.results) if saves else {}
        if request.action:
            answer = nodes.caller.act(node, request.kind, request.name, request.message, GOAL_S, request.cancel_after)
        else:
            answer = nodes.caller.call(node, request.kind, request.name, request.message, SERVICE_S)
        tally.count("goals" if request.action else "services")
        _judge(tally, request, answer, done, case)
        if saves and kept != {n: c for n, c in _session_files(known.results).items() if n in kept}:
            tally.found("lost", case, done, "a file of the session was overwritten")
        if loads:
            _judge_load(tally, nodes, answer, before, done, case)
        if request.name == "change_state" and request.bad and nodes.state(node) != ACTIVE:
            tally.found("wrongly_accepted", case, done, "the node is not active any more")
            nodes.change(node, ACTIVE)
    except NodeFailed as error:
        nodes.revive(tally, case, done, error, node)
        if request.role == "accelerator" and not _load(nodes, "good.npz"):
            _teach(nodes)


def _stand(nodes: House, place: Place) -> None:
    """Bring the simulated world into the context that the plan is for."""
    from memristor_bdnn.nodes.convert import table
    from memristor_bdnn.srv import ResetWorld

    context = table(nodes.skill.context_space.names, place.context)
    request = ResetWorld.Request(seed=1, given=True, context=context)
    nodes.caller.call(nodes.nodes["world"], ResetWorld, "reset", request, SERVICE_S)


def _session_files(results: Path) -> dict[str, bytes]:
    """What a session keeps, which no checkpoint may replace."""
    found = {path.name: path.read_bytes() for path in sorted(results.glob("*.jsonl"))}
    return found | {path.name: path.open("rb").read(8) for path in sorted(results.glob("*.mcap"))}


def _judge(tally: Tally, request: Request, answer: Any, done: str, case: int) -> None:
    """An answer must have a reason if it says no, must say no to what is bad, and hold finite numbers otherwise."""
    if answer is None:  # a goal that was not even accepted
        tally.count("refused")
        if request.bad is False:
            tally.found("crashed", case, done, "a right goal was rejected")
        return
    refused = bool(answer.error_code) if request.action else not answer.success
    reason = getattr(answer, "error_msg" if request.action else "message", "no words in this type")
    tally.count("refused" if refused else "taken")
    if refused and not reason:
        tally.found("crashed", case, done, "refused without a reason")
    # An earlier request may have left a checkpoint there that knows more labels: then the refusal is right.
    if refused and request.bad is False and "it is not overwritten" not in reason:
        tally.found("crashed", case, done, f"a right request was refused: {reason}")
    if not refused and request.bad:
        tally.found("wrongly_accepted", case, done, "it was taken")
    if not refused and request.name == "predict":
        p = answer.prediction
        numbers = [*p.mean, *p.std, *answer.sample_data]
        if len(p.mean) != len(p.std) or not p.mean or not all(math.isfinite(v) for v in numbers):
            tally.found("wrongly_accepted", case, done, f"predicted {list(p.mean)[:3]} +- {list(p.std)[:3]}")


def _judge_load(tally: Tally, nodes: House, answer: Any, before: str, done: str, case: int) -> None:
    """A refused file leaves no trace; after an accepted one predictions are numbers."""
    from memristor_bdnn.nodes.convert import table
    from memristor_bdnn.srv import Predict

    if not answer.success:
        after = _save(nodes, "probe.npz")
        if before and after != before:
            tally.found("diverged", case, done, f"refused ({answer.message}), but the learner is not what it was")
        return
    names = nodes.skill.feature_names
    request = Predict.Request(candidates=table(names, np.zeros((3, len(names)))), samples=5)
    prediction = nodes.caller.call(nodes.nodes["accelerator"], Predict, "predict", request, SERVICE_S)
    p = prediction.prediction
    if not prediction.success or len(p.mean) != 3 or not all(math.isfinite(v) for v in [*p.mean, *p.std]):
        text = f"accepted, and then predicts {list(p.mean)} ({prediction.message})"
        tally.found("wrongly_accepted", case, done, text)
    _load(nodes, "good.npz")


# -- topics, the arm, files ------------------------------------------------------------------------


class _Watch:
    """Hears whether the arm of the lab is told to move although its hardware was never enabled."""

    def __init__(self, nodes: House) -> None:
        from trajectory_msgs.msg import JointTrajectory

        world, planner = nodes.skill.node_names
        self.publishers = Publishers(
            nodes.client.node, LAB, (f"/{world}", f"/{planner}", "/accelerator", "/coordinator")
        )
        self.heard = 0
        topic = f"/{LAB}/joint_trajectory_controller/joint_trajectory"
        self._subscription = nodes.client.node.create_subscription(JointTrajectory, topic, self._hear, 50)

    def _hear(self, _: Any) -> None:
        self.heard += 1

    def look(self, tally: Tally, case: int) -> None:
        """Note a motion that nobody enabled."""
        if self.heard > self.publishers.trajectories:
            tally.found("wrongly_accepted", case, "the calls so far", "the arm was moved, enable_hardware is false")
            self.publishers.trajectories = self.heard


def _message(tally: Tally, nodes: House, watch: _Watch, rng: np.random.Generator, case: int) -> None:
    """Publish an odd message; every node must live on."""
    done = watch.publishers.send(rng)
    tally.count("messages")
    time.sleep(0.05)
    for node in nodes.nodes.values():
        if not node.alive:
            nodes.revive(tally, case, done, NodeFailed(node.how_it_ended()), node)


def _compare(tally: Tally, folder: Path, nodes: House, before: dict[str, Any], case: int) -> dict[str, Any]:
    """Note what changed outside the results folder; what is there now."""
    after = snapshot(folder, nodes.results)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            tally.found("lost", case, "the calls so far", f"{name}, outside the results folder, was made or changed")
    return after
