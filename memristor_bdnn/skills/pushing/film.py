"""Pictures of a push of the store: the trial simulated again, seen from above the goal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion import arms
from memristor_bdnn.skills.pushing.geometry import OBJECT, goal_of
from memristor_bdnn.skills.pushing.picture import FINGER_FACES, Snapshot
from memristor_bdnn.skills.pushing.scene import finger_corners
from memristor_bdnn.skills.pushing.spaces import TOLERANCE, Context, context_of, score_of
from memristor_bdnn.skills.records import Shot
from memristor_bdnn.skills.studio import Camera, Studio, cylinder

FloatArray = npt.NDArray[np.floating[Any]]

ITEM, GOAL, MARK, FINGERS = (0.13, 0.45, 0.60), (0.93, 0.60, 0.20), (0.98, 0.95, 0.80), (0.35, 0.38, 0.40)
SHOWN_OF_APPROACH, SHOWN_OF_RETREAT = 0.3, 0.4
"""The part of the approach that is shown last, and of the retreat that is shown first."""
EVERY = {"approach": 5, "push": 2, "retreat": 6, "wait": 6}
"""A picture at every so many reports of progress, which come 20 times a simulated second."""
ELEVATION, AZIMUTH = math.radians(42), math.radians(-50)


class PushStudio:
    """Draws snapshots of a push: the object with its centre marked, and the goal region.

    Args:
        context: of the scene.
        arm: description of the arm, or None.
        size: width and height of a picture, pixels.
    """

    def __init__(self, context: Context, arm: Any, size: tuple[int, int]) -> None:
        goal = np.asarray(goal_of(context))
        middle = (np.asarray(OBJECT) + goal) / 2
        way = (math.cos(AZIMUTH) * math.cos(ELEVATION), math.sin(AZIMUTH) * math.cos(ELEVATION), math.sin(ELEVATION))
        target = np.array((*middle, 0.05))
        eye = target + np.array(way) * (0.42 + 1.2 * float(context.goal_distance))
        camera = Camera(tuple(eye.tolist()), tuple(target.tolist()), 34.0)
        self._studio = studio = Studio(camera, size, arm, glass=0.62)
        self._height = float(context.height)
        shape = box if context.box else round_item
        self._item = studio.add(glass=True, colour=ITEM, **shape(context))
        self._mark = studio.add(colour=MARK, **cylinder(0.006, 0.002))
        studio.place(studio.add(colour=GOAL, **cylinder(TOLERANCE, 0.002)), ((*goal, 0.0), (0, 0, 0, 1)))
        self._fingers = studio.add(colour=FINGERS, vertices=finger_corners(), indices=list(FINGER_FACES))

    def picture(self, snapshot: Snapshot) -> npt.NDArray[np.uint8]:
        """What a snapshot of the world looks like, uint8 (height, width, 3)."""
        studio = self._studio
        studio.pose_arm(snapshot.joints, 0.0)
        studio.place(self._item, snapshot.item)
        studio.place(self._mark, studio.above(snapshot.item, self._height / 2 + 0.001))
        if snapshot.fingers is not None:
            studio.place(self._fingers, snapshot.fingers)
        return studio.picture()

    def close(self) -> None:
        """Free the renderers."""
        self._studio.close()


def box(context: Context) -> dict[str, Any]:
    """The object of a context with flat faces, for :meth:`Studio.add`."""
    half = np.array([context.length, context.width, context.height], dtype=float) / 2
    vertices: list[list[float]] = []
    normals: list[list[float]] = []
    indices: list[int] = []
    for axis in range(3):
        for side in (-1.0, 1.0):
            u, v = np.roll(np.eye(3), axis + 1, axis=1)[:2] if side > 0 else np.roll(np.eye(3), axis + 1, axis=1)[1::-1]
            normal = side * np.eye(3)[axis]
            start = len(vertices)
            vertices += [(half * (normal + a * u + b * v)).tolist() for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
            normals += [normal.tolist()] * 4
            indices += [start, start + 1, start + 2, start, start + 2, start + 3]
    return {"vertices": vertices, "normals": normals, "indices": indices}


def round_item(context: Context) -> dict[str, Any]:
    """The same of a cylinder."""
    return cylinder(float(context.length) / 2, float(context.height))


def shots(skill: Any, trial: Any, arm: str, size: tuple[int, int]) -> list[Shot]:
    """Simulate a trial again (same seed, same outcome) and take pictures from when the hand is near.

    Args:
        skill: the pushing skill.
        trial: has ``context`` (8,), ``parameters`` (5,) and ``seed``, as a trial of the store.
        arm: that carried it out; empty when the fingers moved by themselves.
        size: width and height, pixels.

    Raises:
        PlanningError: the arm cannot carry out this trial.
    """
    context, parameters, seed = np.asarray(trial.context), np.asarray(trial.parameters), int(trial.seed)
    plan = None
    if arm:
        motion = skill.motion(arm)
        try:
            # over ROS a plan's times are rounded; the trial that was executed had them so
            plan = motion.plan(context, parameters, seed=seed).as_sent()
        finally:
            motion.close()
    world, found, reports = skill.world(arm), list[Shot](), 0
    studio = PushStudio(context_of(context), arms.load(arm) if arm else None, size)
    goal = np.asarray(goal_of(context_of(context)))

    def take(phase: str) -> None:
        seen = world.snapshot()
        away = float(np.linalg.norm(np.asarray(seen.item[0][:2]) - goal))
        found.append(Shot(studio.picture(seen), phase, (score_of(away) + 1) / 2))

    def look(phase: str, share: float) -> None:
        nonlocal reports
        early = phase == "approach" and share < 1 - SHOWN_OF_APPROACH
        late = phase == "retreat" and share > SHOWN_OF_RETREAT
        if reports % EVERY.get(phase, 1) == 0 and not early and not late:
            take(phase)
        reports += 1

    try:
        world.reset(seed, context)
        world.execute(parameters, plan, progress=look)
        take("end")
    finally:
        world.close()
        studio.close()
    return found
