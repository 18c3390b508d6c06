"""Scenes and queries for benchmarks and tests of motion planning: open, hard, and random tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import PlanningError
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.ik.base import IKSolver
from memristor_bdnn.motion.kinematics import rotation, transform

FloatArray = npt.NDArray[np.float64]

# Where tools are put, m.
LOW, HIGH = (0.25, -0.55, 0.12), (0.7, 0.55, 0.65)


class Box(NamedTuple):
    """A box: half extents, position (m), quaternion xyzw."""

    half_extents: tuple[float, float, float]
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)


def open_scene(model: CollisionModel) -> None:
    """A table with a bowl-sized block on it."""
    model.clear_obstacles()
    model.add_obstacle("bowl", [Box((0.09, 0.09, 0.04), (0.5, 0.0, 0.04))])


def hard_scene(model: CollisionModel) -> None:
    """A wall across the table on one side and a shelf with three boards on the other."""
    model.clear_obstacles()
    model.add_obstacle("wall", [Box((0.3, 0.015, 0.25), (0.55, 0.15, 0.25))])
    model.add_obstacle(
        "shelf",
        [
            Box((0.16, 0.2, 0.01), (0.55, -0.4, 0.02)),
            Box((0.16, 0.2, 0.01), (0.55, -0.4, 0.35)),
            Box((0.16, 0.2, 0.01), (0.55, -0.4, 0.68)),
            Box((0.16, 0.01, 0.34), (0.55, -0.6, 0.35)),
            Box((0.01, 0.2, 0.34), (0.71, -0.4, 0.35)),
        ],
    )


def random_scene(model: CollisionModel, rng: np.random.Generator, boxes: int = 5) -> None:
    """Boxes of random size, place and turn standing on the table in front of the arm."""
    model.clear_obstacles()
    base_x, base_y = model.arm.mount_position
    for i in range(boxes):
        half = rng.uniform((0.03, 0.03, 0.05), (0.1, 0.1, 0.2))
        while True:
            x, y = rng.uniform((-0.1, -0.6), (0.75, 0.6))
            if np.hypot(x - base_x, y - base_y) > 0.35:  # not on top of the base
                break
        turn = rng.uniform(0, np.pi)
        model.add_obstacle(
            f"box {i + 1}",
            [Box(tuple(half), (0.0, 0.0, 0.0))],
            (x, y, half[2]),
            (0.0, 0.0, float(np.sin(turn / 2)), float(np.cos(turn / 2))),
        )


def random_query(model: CollisionModel, solver: IKSolver, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Two free configurations at random tool poses over the table, the second at least 0.3 m from the first.

    Of the second pose's solutions the one nearest to the first configuration is taken, as a user would.
    """
    first = random_configuration(model, solver, rng)
    for _ in range(1000):
        second = random_configuration(model, solver, rng, near=first)
        ends = model.chain.fk(np.stack([first, second]))[:, :3, 3]
        if np.linalg.norm(ends[1] - ends[0]) > 0.3:
            return first, second
    raise PlanningError("no_ik", "no second free configuration 0.3 m away from the first in 1000 tries")


def random_configuration(
    model: CollisionModel, solver: IKSolver, rng: np.random.Generator, near: FloatArray | None = None
) -> FloatArray:
    """A free configuration whose tool is over the table, pointing between sideways and down."""
    for _ in range(1000):
        heading, dip = rng.uniform(-np.pi, np.pi), rng.uniform(0.0, np.pi / 2)
        turn = rotation((0, 0, 1), heading) @ rotation((0, 1, 0), np.pi / 2 + dip)
        pose = transform(turn @ rotation((0, 0, 1), rng.uniform(-np.pi, np.pi)), rng.uniform(LOW, HIGH))
        free = rng.uniform(*solver.free_range, 1 if near is None else 16)
        q, valid = solver.solve(np.repeat(pose[None], len(free), axis=0), free)
        solutions = q[valid]
        if near is not None:
            solutions = solutions[np.argsort(np.linalg.norm(solutions - near, axis=1))]
        for found in solutions:
            if model.free(found):
                return np.asarray(found)
    raise PlanningError("collision", "no free configuration over the table in 1000 tries")
