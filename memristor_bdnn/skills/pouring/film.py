"""Pictures of a pour of the store: the same seed and plan give the same pour again, seen through glass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import build
from memristor_bdnn.motion import arms
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION
from memristor_bdnn.skills.pouring.motion import NODE_DEFAULTS, PlannerConfig, PourPlanner
from memristor_bdnn.skills.pouring.records import Snapshot, WorldConfig
from memristor_bdnn.skills.pouring.render import lathe
from memristor_bdnn.skills.pouring.setup import TrialSetup
from memristor_bdnn.skills.pouring.vessels import Vessel, bowl_of, cup_of
from memristor_bdnn.skills.pouring.world import PouringWorld
from memristor_bdnn.skills.records import Shot
from memristor_bdnn.skills.studio import Body, Camera, Spheres, Studio

BEADS = np.array([(0.90, 0.36, 0.08), (0.96, 0.62, 0.10), (0.84, 0.20, 0.14)])
"""Warm colours, which stand out from glass and floor."""
BOWL_GLASS, CUP_GLASS = (0.68, 0.83, 0.93), (0.62, 0.86, 0.80)
SHOWN_OF_APPROACH = 0.2
"""The last part of the approach, in which cup and bowl are both in the picture, as a share."""
EVERY = {"settle": 0, "approach": 3, "tilt": 2, "pour": 2, "wait": 4}
"""A picture at every so many reports of progress, which come 20 times a simulated second; 0 for none."""
ELEVATION = math.radians(27)


class PourStudio:
    """Draws snapshots of a pour from the side of its plane, vessels of glass.

    Args:
        setup: the scene.
        parameters: of the pour.
        arm: description of the arm, or None.
        yaw: of the pour's plane, radians.
        size: width and height of a picture, pixels.
    """

    def __init__(
        self, setup: TrialSetup, parameters: PourParameters, arm: Any, yaw: float, size: tuple[int, int]
    ) -> None:
        self._studio = Studio(camera_of(setup.context, parameters, yaw), size, arm)
        self._vessels = [self._add(bowl_of(setup.context), BOWL_GLASS), self._add(cup_of(setup.context), CUP_GLASS)]
        n = len(setup.radii)
        self._radii, self._colours = setup.radii, BEADS[np.arange(n) % len(BEADS)]

    def picture(self, snapshot: Snapshot) -> npt.NDArray[np.uint8]:
        """What a snapshot of the world looks like, uint8 (height, width, 3)."""
        studio = self._studio
        studio.pose_arm(snapshot.joints, snapshot.grasp_width)
        for (solid, glass), pose in zip(self._vessels, (snapshot.bowl, snapshot.cup), strict=True):
            turned = studio.towards_camera(pose)
            studio.place(solid, turned)
            studio.place(glass, turned)
        return studio.picture(Spheres(snapshot.beads, self._radii, self._colours))

    def close(self) -> None:
        """Free the renderers."""
        self._studio.close()

    def _add(self, vessel: Vessel, colour: tuple[float, float, float]) -> tuple[Body, Body]:
        """A vessel whose far half is solid and whose near half is glass; its own x axis is to look at the camera."""
        solid = self._studio.add(colour=colour, **lathe(vessel, 40, "far"))
        return solid, self._studio.add(glass=True, colour=colour, **lathe(vessel, 40, "near"))


def camera_of(context: PourContext, parameters: PourParameters, yaw: float) -> Camera:
    """From the side of the pour's plane that looks towards the arm rather than over its shoulder."""
    azimuth = max(yaw + math.pi / 2, yaw - math.pi / 2, key=lambda a: math.cos(a) - 0.2 * math.sin(a))
    high = context.bowl_height + parameters.axis_in_bowl_z + 0.7 * context.cup_height
    wide = max(context.bowl_diameter, 0.14) + 0.8 * context.cup_height
    target = np.array(BOWL_POSITION) + (0.0, 0.0, 0.52 * high)
    way = (math.cos(azimuth) * math.cos(ELEVATION), math.sin(azimuth) * math.cos(ELEVATION), math.sin(ELEVATION))
    eye = target + np.array(way) * (0.30 + 1.55 * max(wide, 0.9 * high))
    return Camera(tuple(eye.tolist()), tuple(target.tolist()), 34.0)


def shots(trial: Any, arm: str, size: tuple[int, int]) -> list[Shot]:
    """Simulate a trial that an arm executed, or the cup alone, and take pictures from when the cup is near.

    Args:
        trial: with context, parameters and seed, as a trial store keeps it.
        arm: name or YAML file; empty for the cup alone.
        size: width and height, pixels.

    Raises:
        MemristorError: it cannot be planned or executed again.
    """
    plan, description = None, None
    context, parameters = np.array(trial.context), np.array(trial.parameters)
    if arm:
        description = arms.load(arm)
        planner = PourPlanner(description, build(PlannerConfig, NODE_DEFAULTS))
        try:
            # over ROS a plan's times are rounded; the trial that was executed had them so
            plan = planner.plan(context, parameters, seed=trial.seed).as_sent()
        finally:
            planner.close()
    found: list[Shot] = []
    reports = 0
    with PouringWorld(WorldConfig(arm=arm)) as world:
        world.reset(trial.seed, PourContext.from_array(context))
        control = PourParameters.from_array(parameters)
        yaw = 0.0 if plan is None else float(plan.details["yaw"])
        studio = PourStudio(world.setup, control, description, yaw, size)

        def take(phase: str) -> None:
            found.append(Shot(studio.picture(world.snapshot()), phase, world.fraction_in_bowl()))

        def look(phase: str, share: float) -> None:
            nonlocal reports
            every = EVERY.get(phase, 0)
            if every and reports % every == 0 and not (phase == "approach" and share < 1 - SHOWN_OF_APPROACH):
                take(phase)
            reports += 1

        try:
            if plan is None:
                world.pour_cup_alone(control, progress=look)
            else:
                world.pour_with_arm(plan, progress=look)
            take("end")
        finally:
            studio.close()
    return found
