"""How a push looks: plain shapes for RViz, and pictures without a display."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.bullet import client
from memristor_bdnn.motion.shapes import Shape
from memristor_bdnn.skills.pushing.geometry import OBJECT, ends, goal_of, tip_height, yaw_of
from memristor_bdnn.skills.pushing.scene import finger_corners
from memristor_bdnn.skills.pushing.spaces import TOLERANCE, Context, Parameters

FloatArray = npt.NDArray[np.floating[Any]]
Image = npt.NDArray[np.uint8]

VIEWS = ("side", "top", "arm")
ITEM = (0.16, 0.44, 0.56, 1.0)
GOAL = (0.88, 0.64, 0.35, 1.0)
LINE = (0.15, 0.20, 0.23, 0.8)
_TABLE = (0.86, 0.84, 0.80, 1.0)
_FINGERS = (0.35, 0.38, 0.40, 1.0)
FINGER_FACES = (
    *(0, 1, 3, 0, 3, 2, 4, 7, 5, 4, 6, 7, 0, 4, 5, 0, 5, 1),
    *(2, 3, 7, 2, 7, 6, 0, 2, 6, 0, 6, 4, 1, 5, 7, 1, 7, 3),
)
"""Triangles of the closed fingers, of their corners."""
_SKY = np.array([0.93, 0.95, 0.97])


@dataclass(frozen=True)
class Snapshot:
    """Poses of everything movable at one moment, enough to draw it.

    Attributes:
        item: of the object: position (3,) m and quaternion xyzw (4,).
        fingers: the same of fingers that move by themselves, or None.
        joints: arm joint positions (dof,) rad, or None without an arm.
    """

    item: tuple[Any, Any]
    fingers: tuple[Any, Any] | None
    joints: FloatArray | None


def scene_shapes(context: Context, item: FloatArray | None = None) -> list[Shape]:
    """Object and goal region; the object at a pose (4, 4), by default where it stands before a push."""
    if item is None:
        item = np.eye(4)
        c, s = math.cos(yaw_of(context)), math.sin(yaw_of(context))
        item[:2, :2], item[:3, 3] = [[c, -s], [s, c]], (*OBJECT, context.height / 2)
    disc = np.eye(4)
    disc[:3, 3] = (*goal_of(context), 0.0005)
    size = (float(context.length), float(context.width), float(context.height))
    return [
        Shape("object", "box" if context.box else "cylinder", item, size, ITEM),
        Shape("goal", "cylinder", disc, (2 * TOLERANCE, 2 * TOLERANCE, 0.001), GOAL),
    ]


def plan_shapes(context: Context, parameters: Parameters) -> list[Shape]:
    """Object, goal region and the line of the fingertips during the push."""
    tip = float(tip_height(context))
    points = np.array([[*point[0], tip] for point in ends(context, parameters)])
    return [*scene_shapes(context), Shape("push", "line", np.eye(4), (0.004, 0.0, 0.0), LINE, points)]


class Stage:
    """A second physics client that only holds what is seen; it follows snapshots of the world.

    Args:
        context: of the scene.
        description: the arm to show, or None.
        gui: show a window instead of rendering in memory.

    Raises:
        ConfigError: a window is wanted and there is no display.
    """

    def __init__(self, context: Context, description: Any = None, gui: bool = False) -> None:
        if gui and not os.environ.get("DISPLAY"):
            raise ConfigError("gui needs a display, and DISPLAY is not set: leave gui off, or use the camera")
        self._bullet: Any = client(gui)
        bullet = self._bullet
        if gui:
            bullet.configureDebugVisualizer(bullet.COV_ENABLE_GUI, 0)
            bullet.resetDebugVisualizerCamera(0.8, 50, -35, [*OBJECT, 0.0])
        self._table = self._body(
            bullet.createVisualShape(
                bullet.GEOM_BOX, halfExtents=[1.3, 1.3, 0.02], rgbaColor=_TABLE, specularColor=[0.1, 0.1, 0.1]
            ),
            (0.45, 0.0, -0.0205),
        )
        self._moving: dict[str, int] = {}
        for shape in scene_shapes(context):
            self._moving[shape.name] = self._body(self._visual(shape), shape.pose[:3, 3].tolist())
        corners = finger_corners()
        fingers = bullet.createVisualShape(
            bullet.GEOM_MESH, vertices=corners, indices=list(FINGER_FACES), rgbaColor=_FINGERS
        )
        self._moving["fingers"] = self._body(fingers, (0.0, 0.0, -1.0))
        self._follower: Any = None
        if description is not None:
            from memristor_bdnn.motion.ports.simulated import SimulatedArm

            self._follower = SimulatedArm(bullet, description)
            self._follower.set_grasp_width(0.0, at_once=True)

    def show(self, snapshot: Snapshot) -> None:
        """Move everything to the poses of a snapshot."""
        place = self._bullet.resetBasePositionAndOrientation
        place(self._moving["object"], *snapshot.item)
        if snapshot.fingers is not None:
            place(self._moving["fingers"], *snapshot.fingers)
        if self._follower is not None and snapshot.joints is not None:
            for index, value in zip(self._follower.joints, snapshot.joints, strict=True):
                self._bullet.resetJointState(self._follower.body, index, float(value))

    def picture(self, view: str = "side", width: int = 640, height: int = 480, supersample: int = 2) -> Image:
        """Render what is shown now, uint8 (height, width, 3).

        Args:
            view: ``side``, ``top``, or ``arm`` (from the arm's left).
            width, height: pixels.
            supersample: rendered larger by this factor and averaged, for smooth edges.

        Raises:
            ConfigError: an unknown view or an absurd size.
        """
        if view not in VIEWS:
            raise ConfigError(f"unknown view {view!r}: choose one of {', '.join(VIEWS)}")
        if not (16 <= width <= 4096 and 16 <= height <= 4096 and 1 <= supersample <= 4):
            raise ConfigError(
                f"picture of {width} x {height} pixels, supersample {supersample}: allowed 16 to 4096 pixels and 1 to 4"
            )
        bullet, (w, h) = self._bullet, (width * supersample, height * supersample)
        x, y = OBJECT
        arm = self._follower is not None
        eye, target, up, angle = {
            "side": (
                ((x + 0.55, y - 0.95, 0.75), (x - 0.12, y, 0.14), (0, 0, 1), 36.0)
                if arm
                else ((x - 0.45, y - 0.55, 0.5), (x + 0.06, y, 0.02), (0, 0, 1), 24.0)
            ),
            "top": ((x + 0.05, y, 1.1), (x + 0.05, y, 0.0), (1, 0, 0), 34.0),
            "arm": ((x - 0.25, y + 0.85, 0.65), (x, y, 0.08), (0, 0, 1), 38.0),
        }[view]
        _, _, pixels, _, segments = bullet.getCameraImage(
            w,
            h,
            bullet.computeViewMatrix(eye, target, up),
            bullet.computeProjectionMatrixFOV(angle, w / h, 0.05, 6.0),
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
        image[np.reshape(segments, (h, w)) < 0] = 255 * _SKY
        image = image.reshape(height, supersample, width, supersample, 3).mean(axis=(1, 3))
        return np.clip(image, 0, 255).astype(np.uint8)

    def close(self) -> None:
        """Disconnect."""
        self._bullet.disconnect()

    def _visual(self, shape: Shape) -> int:
        bullet = self._bullet
        if shape.kind == "box":
            half = [s / 2 for s in shape.size]
            return int(bullet.createVisualShape(bullet.GEOM_BOX, halfExtents=half, rgbaColor=shape.colour))
        return int(
            bullet.createVisualShape(
                bullet.GEOM_CYLINDER, radius=shape.size[0] / 2, length=shape.size[2], rgbaColor=shape.colour
            )
        )

    def _body(self, shape: int, position: Any) -> int:
        return int(self._bullet.createMultiBody(0.0, -1, shape, position))
