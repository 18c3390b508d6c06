"""Plans and trials that cannot be: starts, contexts, parameters and trajectories that are spoilt in one way."""

from __future__ import annotations

from typing import Any

import numpy as np

from memristor_bdnn.benchmark.faults.requests import NUMBERS, SEEDS, WORDS, Known, Request, contexts, table


def plan(rng: np.random.Generator, known: Known) -> Request:
    """Plans for contexts, parameters and starts that cannot be."""
    from sensor_msgs.msg import JointState

    from memristor_bdnn.action import PlanMotion

    context, first, worse = contexts(rng, known, right=0.7)  # one thing wrong at a time finds more
    chosen, second, bad = table(rng, known.skill.parameter_space.names, known.places["world"].parameters)
    start = JointState()
    if rng.random() < 0.5:
        first_motion = known.places["world"].plan.trajectories[0]
        joints, where = list(first_motion.joint_names), [float(v) for v in first_motion.points[0].positions]
        kind = str(rng.choice(("fewer", "more", "number", "names", "other")))
        if kind == "fewer":
            joints, where = joints[:-1], where[:-1]
        elif kind == "more":
            where.append(0.0)
        elif kind == "number":
            where[0] = float(rng.choice(NUMBERS[:5]))
        elif kind == "names":
            joints[0] = str(rng.choice(WORDS))
        else:
            where = [v + 40.0 for v in where]
        start, second = JointState(name=joints, position=where), f"{second}, start {kind}"
        bad = bad or kind not in ("more",)
    message = PlanMotion.Goal(context=context, parameters=chosen, start=start, seed=int(rng.choice(SEEDS)))
    text = f"context {first}, parameters {second}"
    return Request("planner", PlanMotion, "plan_motion", message, text, True if bad or worse else None, True)


def execute(rng: np.random.Generator, known: Known) -> Request:
    """Trials whose plan is spoilt; in the simulated world, or in the lab where nothing may move."""
    import copy

    from memristor_bdnn.action import ExecuteTrial
    from memristor_bdnn.nodes.convert import table as message_of

    role = "lab" if rng.random() < 0.4 else "world"
    skill, place = known.skill, known.places[role]
    motion = copy.deepcopy(place.plan)
    text, bad = _spoil(rng, motion)
    context = message_of(skill.context_space.names, place.context)
    chosen = message_of(skill.parameter_space.names, place.parameters)
    if rng.random() < 0.2:
        chosen, about, worse = table(rng, skill.parameter_space.names, place.parameters)
        text, bad = f"{text}, parameters {about}", True if bad or worse else None
    goal = ExecuteTrial.Goal(
        trial_id=(0, 2**64 - 1)[int(rng.integers(2))], context=context, parameters=chosen, plan=motion
    )
    goal.seed = int(rng.choice(SEEDS))
    cancel = float(rng.random() * 0.3) if rng.random() < 0.3 else -1.0
    verdict = True if bad or role == "lab" else None
    return Request(role, ExecuteTrial, "execute_trial", goal, f"plan {text}", verdict, True, cancel)


def _spoil(rng: np.random.Generator, motion: Any) -> tuple[str, bool | None]:
    """Make one thing of a plan wrong; what, and whether it must be refused."""
    trajectory = motion.trajectories[int(rng.integers(len(motion.trajectories)))]
    point = trajectory.points[int(rng.integers(len(trajectory.points)))]
    number = float(rng.choice(NUMBERS[:3]))
    kind = int(rng.integers(16))
    if kind == 0:
        return "right", None
    if kind == 1:
        motion.phases = [*motion.phases, "more"]
        return "with a phase more", True
    if kind == 2:
        motion.phases, motion.trajectories = [], []
        return "empty", True
    if kind == 3:
        motion.trajectories = motion.trajectories[:-1]
        return "with a trajectory less", True
    if kind == 4:
        point.positions[0] = number
        return f"with position {number}", True
    if kind == 5:
        point.velocities[0] = number
        return f"with velocity {number}", True
    if kind == 6:
        point.accelerations[-1] = number
        return f"with acceleration {number}", True
    if kind == 7:
        point.positions = point.positions[:-1]
        return "with a position less in a point", True
    if kind == 8:
        trajectory.points = []
        return "without points", True
    if kind == 9:
        trajectory.points = [trajectory.points[0]] * 2
        return "whose times stand still", True
    if kind == 10:
        trajectory.joint_names = trajectory.joint_names[:-1]
        return "with a joint less", True
    if kind == 11:
        trajectory.joint_names = [trajectory.joint_names[0]] * len(trajectory.joint_names)
        return "with one joint seven times", True
    if kind == 12:
        motion.object_in_tool.orientation.w = number
        return f"with a quaternion of {number}", True
    if kind == 13:
        motion.object_in_tool.position.x = number
        return f"with a pose at {number}", True
    if kind == 14:
        motion.grip_width = number
        return f"with grip width {number}", True
    motion.details.values.append(1.0)
    return "with a detail without name", True
