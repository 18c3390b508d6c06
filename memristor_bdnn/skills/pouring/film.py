"""Pictures of a pour of the store: the same seed and plan give the same pour again, seen through glass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from transforms3d.quaternions import quat2mat

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
ELEVATIONS, TURNS = (math.radians(27), math.radians(48)), (0.0, math.radians(35), -math.radians(35))
LOOKED_AT = 5
"""Moments of a pour at which it is asked what the arm hides."""


class PourStudio:
    """Draws snapshots of a pour, vessels of glass.

    Args:
        setup: the scene.
        arm: description of the arm, or None.
        camera: see :func:`chosen_camera`.
        size: width and height of a picture, pixels.
    """

    def __init__(self, setup: TrialSetup, arm: Any, camera: Camera, size: tuple[int, int]) -> None:
        self._studio = Studio(camera, size, arm)
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


def cameras(context: PourContext, parameters: PourParameters, yaw: float) -> list[Camera]:
    """Places for the camera, the best first if the arm hides nothing: both sides of the pour's plane, then askew."""
    high = context.bowl_height + parameters.axis_in_bowl_z + 0.7 * context.cup_height
    wide = max(context.bowl_diameter, 0.14) + 0.8 * context.cup_height
    target = np.array(BOWL_POSITION) + (0.0, 0.0, 0.52 * high)
    sides = sorted((yaw + math.pi / 2, yaw - math.pi / 2), key=lambda a: 0.2 * math.sin(a) - math.cos(a))
    found = []
    for elevation in ELEVATIONS:
        for turn in TURNS:
            for azimuth in (side + turn for side in sides):
                flat = math.cos(elevation)
                way = (math.cos(azimuth) * flat, math.sin(azimuth) * flat, math.sin(elevation))
                eye = target + np.array(way) * (0.30 + 1.55 * max(wide, 0.9 * high))
                found.append(Camera(tuple(eye.tolist()), tuple(target.tolist()), 34.0))
    return found


def chosen_camera(places: Sequence[Camera], setup: TrialSetup, arm: Any, moments: Sequence[Snapshot]) -> Camera:
    """The place from which the arm hides least of bowl and cup at some moments of the pour."""
    if arm is None or not moments:
        return places[0]
    studio = Studio(places[0], (16, 16), arm)
    bowl, cup = bowl_of(setup.context), cup_of(setup.context)
    hidden = np.zeros(len(places))
    try:
        for moment in moments:
            studio.pose_arm(moment.joints, moment.grasp_width)
            points = np.concatenate([_rings(bowl, moment.bowl), _rings(cup, moment.cup)])
            hidden += [studio.hidden(place.eye, points) for place in places]
    finally:
        studio.close()
    worse = np.round(hidden / len(moments), 1)  # a little more of it is no reason to look from elsewhere
    return places[int(np.argmin(worse))]


def _rings(vessel: Vessel, pose: Any) -> npt.NDArray[np.float64]:
    """Points (24, 3) on a vessel's rim and at half its height, metres."""
    turn = np.linspace(0.0, 2 * math.pi, 12, endpoint=False)
    rim = 0.5 * vessel.top_diameter * np.stack([np.cos(turn), np.sin(turn), 0.0 * turn], axis=1)
    top = 0.5 * vessel.height if vessel.centred else vessel.height
    points = np.concatenate([rim + (0.0, 0.0, height) for height in (top, top - 0.5 * vessel.height)])
    x, y, z, w = pose[1]
    return points @ quat2mat((w, x, y, z)).T + np.asarray(pose[0])


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
    moments: list[tuple[Snapshot, str, float]] = []
    reports = 0
    with PouringWorld(WorldConfig(arm=arm)) as world:
        world.reset(trial.seed, PourContext.from_array(context))
        control = PourParameters.from_array(parameters)

        def take(phase: str) -> None:
            moments.append((world.snapshot(), phase, world.fraction_in_bowl()))

        def look(phase: str, share: float) -> None:
            nonlocal reports
            every = EVERY.get(phase, 0)
            if every and reports % every == 0 and not (phase == "approach" and share < 1 - SHOWN_OF_APPROACH):
                take(phase)
            reports += 1

        if plan is None:
            world.pour_cup_alone(control, progress=look)
        else:
            world.pour_with_arm(plan, progress=look)
        take("end")
        setup = world.setup
    places = cameras(setup.context, control, 0.0 if plan is None else float(plan.details["yaw"]))
    step = max(len(moments) // LOOKED_AT, 1)
    camera = chosen_camera(places, setup, description, [moment for moment, _, _ in moments[::step]])
    studio = PourStudio(setup, description, camera, size)
    try:
        return [Shot(studio.picture(moment), phase, done) for moment, phase, done in moments]
    finally:
        studio.close()
