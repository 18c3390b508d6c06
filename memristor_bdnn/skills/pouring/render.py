"""Draws snapshots of a pour without a display: lathe-turned vessels, beads, table and arm."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.bullet import client
from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION
from memristor_bdnn.skills.pouring.setup import TrialSetup
from memristor_bdnn.skills.pouring.vessels import Vessel, bowl_of, cup_of
from memristor_bdnn.skills.studio import Camera, turned

FloatArray = npt.NDArray[np.floating[Any]]
Image = npt.NDArray[np.uint8]

VIEWS = ("side", "arm", "front")

# Glazes of the named vessels, red green blue in [0, 1].
COLOURS: dict[str, tuple[float, float, float]] = {
    "white": (0.94, 0.93, 0.90),
    "red": (0.75, 0.17, 0.14),
    "red_speckled": (0.70, 0.30, 0.25),
    "brown": (0.47, 0.30, 0.20),
    "yellow": (0.93, 0.75, 0.25),
    "blue_white": (0.62, 0.74, 0.86),
    "green": (0.33, 0.55, 0.36),
    "blue": (0.20, 0.36, 0.62),
    "tan": (0.82, 0.71, 0.55),
    "small_green": (0.45, 0.66, 0.44),
    "orange": (0.90, 0.49, 0.18),
    "small_blue": (0.31, 0.50, 0.74),
    "purple": (0.48, 0.34, 0.60),
    "lime": (0.66, 0.78, 0.32),
    "large_red": (0.66, 0.15, 0.16),
    "teal": (0.16, 0.52, 0.53),
    "large_orange": (0.88, 0.44, 0.14),
    "olive1": (0.47, 0.49, 0.22),
    "olive2": (0.50, 0.52, 0.25),
    "olive3": (0.53, 0.55, 0.28),
    "olive4": (0.56, 0.58, 0.32),
    "blue3D": (0.17, 0.40, 0.72),
    "cyan3D": (0.25, 0.68, 0.76),
    "green3D": (0.28, 0.60, 0.34),
    "yellow3D": (0.95, 0.80, 0.22),
    "orange3D": (0.93, 0.53, 0.17),
    "red3D": (0.80, 0.20, 0.19),
}
_BEADS = ((0.97, 0.78, 0.26), (0.93, 0.42, 0.29), (0.98, 0.93, 0.82), (0.36, 0.66, 0.71))
_TABLE = (0.86, 0.84, 0.80)
_SKY = np.array([0.93, 0.95, 0.97])


def lathe(vessel: Vessel, segments: int = 48, half: str = "") -> dict[str, Any]:
    """A double-walled vessel with a rounded rim, turned about its axis, as :func:`memristor_bdnn.skills.studio.turned`.

    Args:
        vessel: the vessel.
        segments: around the axis.
        half: empty for the whole; ``near`` for the walls on the side of the x axis, ``far`` for all the rest.
    """
    begin, end = {"": (0.0, 2.0), "near": (-0.5, 0.5), "far": (0.5, 1.5)}[half]
    profile = _profile(vessel)
    if half == "near":  # base and floor belong to the far half as a whole
        profile = [part for part in profile if part[:, 0].min() > 0.0]
    return turned(profile, segments, begin, end)


def _profile(v: Vessel) -> list[FloatArray]:
    """Stretches of (radius, height) from under the base, up outside, over the rim, down inside."""
    floor, top = v.bottom, v.bottom + v.height
    wall = v.wall
    rim = wall / 2 / math.cos(v.slope)
    outer = [(float(v.outer_radius(h)), floor + h) for h in np.linspace(0, v.height - rim, 8)]
    inner = [(float(v.inner_radius(h)), floor + h) for h in np.linspace(v.height - rim, wall + rim, 8)]
    middle = (outer[-1][0] + inner[0][0]) / 2
    arc = [(middle + rim * math.cos(t), top - rim + rim * math.sin(t)) for t in np.linspace(0, math.pi, 9)]
    foot = inner[-1][0]
    corner = [
        (foot - rim * (1 - math.cos(t)), floor + wall + rim * (1 - math.sin(t))) for t in np.linspace(0, math.pi / 2, 5)
    ]
    stretches = [
        [(0.0, floor), (outer[0][0], floor)],
        outer,
        arc,
        inner + corner[1:],
        [corner[-1], (0.0, floor + wall)],
    ]
    return [np.array(s) for s in stretches]


class Stage:
    """A second physics client that only holds what is seen; it follows snapshots of the world.

    Args:
        setup: the scene.
        description: the arm to show, or None.
        gui: show a window instead of rendering in memory.

    Raises:
        ConfigError: a window is wanted and there is no display.
    """

    def __init__(self, setup: TrialSetup, description: Any = None, gui: bool = False) -> None:
        if gui and not os.environ.get("DISPLAY"):
            raise ConfigError("gui needs a display, and DISPLAY is not set: leave gui off, or use the camera")
        self._bullet = client(gui)
        self._setup = setup
        bullet = self._bullet
        if gui:
            bullet.configureDebugVisualizer(bullet.COV_ENABLE_GUI, 0)
            bullet.resetDebugVisualizerCamera(0.75, 40, -25, [0.45, 0.0, 0.1])
        self._table = self._body(
            bullet.createVisualShape(
                bullet.GEOM_BOX, halfExtents=[1.3, 1.3, 0.02], rgbaColor=[*_TABLE, 1], specularColor=[0.1, 0.1, 0.1]
            ),
            (0.45, 0.0, -0.0205),
        )
        self._bowl = self._vessel(bowl_of(setup.context), COLOURS[setup.bowl_name])
        self._cup = self._vessel(cup_of(setup.context), COLOURS[setup.cup_name])
        self._beads = []
        for k, radius in enumerate(setup.radii.tolist()):
            shape = bullet.createVisualShape(bullet.GEOM_SPHERE, radius=radius, rgbaColor=[*_BEADS[k % len(_BEADS)], 1])
            self._beads.append(self._body(shape, (0.0, 0.0, -1.0)))
        self._arm: int | None = None
        if description is not None:
            from memristor_bdnn.motion.ports.simulated import SimulatedArm

            self._follower = SimulatedArm(bullet, description)
            self._arm = self._follower.body

    def show(self, snapshot: Any) -> None:
        """Move everything to the poses of a :class:`memristor_bdnn.skills.pouring.world.Snapshot`."""
        place = self._bullet.resetBasePositionAndOrientation
        place(self._bowl, *snapshot.bowl)
        place(self._cup, *snapshot.cup)
        for bead, position in zip(self._beads, snapshot.beads.tolist(), strict=True):
            place(bead, position, (0, 0, 0, 1))
        if self._arm is not None and snapshot.joints is not None:
            for index, value in zip(self._follower.joints, snapshot.joints, strict=True):
                self._bullet.resetJointState(self._arm, index, float(value))
            self._follower.set_grasp_width(snapshot.grasp_width, at_once=True)

    def picture(self, camera: Camera, width: int = 640, height: int = 480, supersample: int = 2) -> Image:
        """Render what is shown now.

        Args:
            width, height: of the picture, pixels.
            supersample: rendered larger by this factor and averaged, for smooth edges.

        Returns:
            uint8 (height, width, 3).
        """
        if not (16 <= width <= 4096 and 16 <= height <= 4096 and 1 <= supersample <= 4):
            raise ConfigError(
                f"picture of {width} x {height} pixels, supersample {supersample}: allowed 16 to 4096 pixels and 1 to 4"
            )
        bullet, (w, h) = self._bullet, (width * supersample, height * supersample)
        view = bullet.computeViewMatrix(camera.eye, camera.target, (0, 0, 1))
        lens = bullet.computeProjectionMatrixFOV(camera.field_of_view, w / h, 0.05, 6.0)
        _, _, pixels, _, segments = bullet.getCameraImage(
            w,
            h,
            view,
            lens,
            renderer=bullet.ER_TINY_RENDERER,
            lightDirection=(-0.35, -0.55, 1.6),
            lightColor=(1.0, 0.99, 0.96),
            lightDistance=3.5,
            shadow=1,
            lightAmbientCoeff=0.62,
            lightDiffuseCoeff=0.42,
            lightSpecularCoeff=0.12,
        )
        image = np.reshape(pixels, (h, w, 4))[:, :, :3].astype(np.float32)
        bodies = np.reshape(segments, (h, w))
        backdrop = np.broadcast_to(255 * _backdrop(h)[:, None], image.shape)
        image[bodies < 0] = backdrop[bodies < 0]
        # The table fades into the backdrop, which also hides where the renderer's shadow map ends.
        table = bodies == self._table
        fade = _fade(camera, w, h)[table][:, None]
        image[table] = (1 - fade) * image[table] + fade * backdrop[table]
        image = image.reshape(height, supersample, width, supersample, 3).mean(axis=(1, 3))
        return np.clip(image, 0, 255).astype(np.uint8)

    def close(self) -> None:
        """Disconnect."""
        self._bullet.disconnect()

    def _vessel(self, vessel: Vessel, colour: tuple[float, float, float]) -> int:
        shape = self._bullet.createVisualShape(
            self._bullet.GEOM_MESH,
            **lathe(vessel),
            rgbaColor=[*colour, 1],
            specularColor=[0.4, 0.4, 0.4],
        )
        return self._body(shape, BOWL_POSITION)

    def _body(self, shape: int, position: tuple[float, float, float]) -> int:
        return int(self._bullet.createMultiBody(0.0, -1, shape, position))


def camera_for(view: str, setup: TrialSetup, arm: bool) -> Camera:
    """The camera of a named view, framed for the scene.

    Raises:
        ConfigError: an unknown view.
    """
    if view not in VIEWS:
        raise ConfigError(f"unknown view {view!r}: choose one of {', '.join(VIEWS)}")
    x, y, _ = BOWL_POSITION
    size = setup.context.bowl_diameter / 2 + setup.context.bowl_height + 2 * setup.context.cup_height + 0.06
    if view == "arm":
        # To the left of the arm, where its elbow is seldom in the way.
        return Camera((x - 0.25, y + 0.75, 0.6), (x + 0.02, y, 0.1), 34.0)
    direction = (0.25, -1.0, 0.42 if arm else 0.62) if view == "side" else (1.0, -0.12, 0.35)
    reach = max(size, 0.24) * 1.9
    unit = np.array(direction) / np.linalg.norm(direction)
    target = np.array([x - (0.2 if arm else -0.02), y, 0.29 if arm else 0.35 * size])
    eye = target + unit * (max(reach, 1.8) if arm else reach)
    return Camera(tuple(eye.tolist()), tuple(target.tolist()))


def _backdrop(h: int) -> npt.NDArray[np.float32]:
    """A soft vertical gradient behind the scene, (h, 3)."""
    t = np.linspace(0, 1, h)[:, None]
    return (_SKY * (1 - 0.10 * t)).astype(np.float32)


def _fade(camera: Camera, w: int, h: int) -> npt.NDArray[np.float32]:
    """How far each pixel (h, w) of the table plane is blended into the backdrop, 0 near the bowl to 1."""
    eye, target = np.array(camera.eye), np.array(camera.target)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    scale = math.tan(math.radians(camera.field_of_view) / 2)
    x = (np.arange(w) + 0.5 - w / 2) * 2 * scale / h
    y = (h / 2 - np.arange(h) - 0.5) * 2 * scale / h
    ray = forward + x[None, :, None] * right + y[:, None, None] * up
    distance = eye[2] / np.maximum(-ray[..., 2], 1e-3)
    ground = eye[:2] + distance[..., None] * ray[..., :2]
    t = np.clip((np.linalg.norm(ground - (0.35, 0.0), axis=-1) - 0.45) / 0.45, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)
