"""Pictures for films, quick and without a display: an arm, what it holds, glass that one looks through, beads.

PyBullet's software renderer spends its time on pixels, most of them table and shadow. Here it draws solid bodies only;
the floor is one colour, its shadow is thrown from the pixels that were drawn, glass is drawn apart and laid over, and
spheres are shaded as discs. A picture takes a third of the time and shows what is inside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.bullet import client

FloatArray = npt.NDArray[np.floating[Any]]
Image = npt.NDArray[np.uint8]
Pose = tuple[Any, Any]
"""Position (3,) m and quaternion xyzw (4,)."""

FLOOR = np.array([0.865, 0.880, 0.895])
"""Colour of floor and surroundings: one, so that films stay small and no horizon draws the eye."""
SHADE = 0.22
GLASS = 0.34
"""How much of its own colour a wall of glass has."""
_LIGHT = np.array([-0.30, -0.45, 1.0]) / np.linalg.norm([-0.30, -0.45, 1.0])
_NEAR, _FAR = 0.15, 4.0
_COARSE = 4
"""Shadows are thrown by every so many pixels, and blurred."""


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from.

    Attributes:
        eye, target: world positions, metres.
        field_of_view: vertical, degrees.
    """

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    field_of_view: float = 32.0


def turned(stretches: Sequence[FloatArray], segments: int = 40, begin: float = 0.0, end: float = 2.0) -> dict[str, Any]:
    """A body turned about its z axis.

    Args:
        stretches: of its profile, each (n, 2): radius and height, m, the outside to the right of the way; edges
            between stretches are sharp.
        segments: around the axis.
        begin, end: angles of the part that is made, in half turns; what reaches the axis is made all around.

    Returns:
        ``vertices`` (v, 3) m, unit ``normals`` (v, 3) and ``indices`` (3 t,) of triangles, for :meth:`Studio.add`.
    """
    vertices: list[FloatArray] = []
    normals: list[FloatArray] = []
    indices: list[int] = []
    base, columns = 0, segments + 1
    for part in stretches:
        whole = part[:, 0].min() == 0.0
        angles = math.pi * np.linspace(0.0 if whole else begin, 2.0 if whole else end, columns)
        cosine, sine = np.cos(angles), np.sin(angles)
        tangent = np.gradient(part, axis=0)
        outward = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)
        for (r, z), (nr, nz) in zip(part, outward, strict=True):
            vertices.append(np.stack([r * cosine, r * sine, np.full_like(cosine, z)], axis=1))
            normals.append(np.stack([nr * cosine, nr * sine, np.full_like(cosine, nz)], axis=1))
        for i in range(len(part) - 1):
            for j in range(segments):
                a, b = base + i * columns + j, base + (i + 1) * columns + j
                indices += [a, a + 1, b, b, a + 1, b + 1]
        base += len(part) * columns
    return {
        "vertices": np.concatenate(vertices).tolist(),
        "normals": np.concatenate(normals).tolist(),
        "indices": indices,
    }


def cylinder(radius: float, length: float) -> dict[str, Any]:
    """A cylinder about its centre, for :meth:`Studio.add`; metres."""
    r, h = radius, length / 2
    edges = ([(0.0, -h), (r, -h)], [(r, -h), (r, h)], [(r, h), (0.0, h)])
    return turned([np.array(edge) for edge in edges])


@dataclass(frozen=True)
class Spheres:
    """Many small spheres.

    Attributes:
        positions: centres, (n, 3) m.
        radii: (n,) m.
        colours: (n, 3) in [0, 1].
    """

    positions: FloatArray
    radii: FloatArray
    colours: FloatArray


@dataclass(frozen=True)
class Body:
    """A body of a studio: its number, whether it is glass, and (of glass) how far it reaches, metres."""

    number: int
    glass: bool
    reach: float


class Studio:
    """Draws solid bodies, an arm, glass and spheres on a floor at height 0.

    Args:
        camera: where the pictures are taken from.
        size: width and height of a picture, pixels.
        description: the arm to show, or None.
        glass: how much of its own colour what is made of glass has.
        supersample: drawn larger by this factor and averaged, for smooth edges.

    Raises:
        ConfigError: an absurd size.
    """

    def __init__(
        self,
        camera: Camera,
        size: tuple[int, int],
        description: Any = None,
        glass: float = GLASS,
        supersample: int = 2,
    ) -> None:
        if not (all(16 <= side <= 2048 for side in size) and 1 <= supersample <= 4):
            raise ConfigError(f"picture of {size} pixels, supersample {supersample}: allowed 16 to 2048 and 1 to 4")
        self._out, self._factor, self._own = size, supersample, glass
        self._w, self._h = size[0] * supersample, size[1] * supersample
        self._solid, self._glass = client(), client()
        eye, target = np.array(camera.eye), np.array(camera.target)
        self._view = self._solid.computeViewMatrix(camera.eye, camera.target, (0, 0, 1))
        self._focus = 0.5 * self._h / math.tan(math.radians(camera.field_of_view) / 2)
        self._eye, forward = eye, (target - eye) / np.linalg.norm(target - eye)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        self._axes = np.stack([right, np.cross(right, forward), forward])
        """Right, up and forward of the camera, unit vectors as rows."""
        self._arm: Any = None
        self._places: dict[Body, FloatArray] = {}
        if description is not None:
            from memristor_bdnn.motion.ports.simulated import SimulatedArm

            self._arm = SimulatedArm(self._solid, description)

    # -- what is there ------------------------------------------------------------------------

    def add(self, glass: bool = False, colour: Any = (0.5, 0.5, 0.5), **shape: Any) -> Body:
        """Add a body from the arguments of PyBullet's createVisualShape for a mesh, see :func:`turned`."""
        bullet = self._glass if glass else self._solid
        shape = {"shapeType": bullet.GEOM_MESH, **shape}
        visual = bullet.createVisualShape(rgbaColor=[*colour, 1], specularColor=[0.3, 0.3, 0.3], **shape)
        reach = float(np.linalg.norm(shape["vertices"], axis=1).max()) if glass else 0.0
        body = Body(int(bullet.createMultiBody(0.0, -1, visual, (0, 0, -10))), glass, reach)
        if glass:
            self._places[body] = np.array((0.0, 0.0, -10.0))
        return body

    def place(self, body: Body, pose: Pose) -> None:
        """Put a body somewhere."""
        (self._glass if body.glass else self._solid).resetBasePositionAndOrientation(body.number, *pose)
        if body.glass:
            self._places[body] = np.asarray(pose[0], dtype=float)

    def towards_camera(self, pose: Pose) -> Pose:
        """The pose turned about its own z axis until its x axis looks at the camera; round bodies look the same."""
        position, quaternion = np.asarray(pose[0]), pose[1]
        rotation = np.reshape(self._solid.getMatrixFromQuaternion(quaternion), (3, 3))
        x, y, _ = rotation.T @ (self._eye - position)
        half = math.atan2(y, x) / 2
        turned = self._solid.multiplyTransforms(
            (0, 0, 0), quaternion, (0, 0, 0), (0, 0, math.sin(half), math.cos(half))
        )
        return pose[0], turned[1]

    def above(self, pose: Pose, height: float) -> Pose:
        """The pose moved along its own z axis by a height, metres."""
        moved = self._solid.multiplyTransforms(*pose, (0, 0, height), (0, 0, 0, 1))
        return moved[0], moved[1]

    def pose_arm(self, joints: FloatArray | None, grasp_width: float) -> None:
        """Move the arm to joints (dof,) rad and its hand to an opening, metres."""
        if self._arm is None or joints is None:
            return
        for index, value in zip(self._arm.joints, joints, strict=True):
            self._solid.resetJointState(self._arm.body, index, float(value))
        self._arm.set_grasp_width(grasp_width, at_once=True)

    def hidden(self, eye: Sequence[float], points: FloatArray) -> float:
        """Share of points (n, 3), metres, that the arm as it stands now would hide from a camera at ``eye``."""
        if self._arm is None:
            return 0.0
        hits = self._solid.rayTestBatch([tuple(eye)] * len(points), np.asarray(points, dtype=float).tolist())
        return sum(hit[0] == self._arm.body for hit in hits) / len(points)

    # -- the picture --------------------------------------------------------------------------

    def picture(self, spheres: Spheres | None = None) -> Image:
        """What is there now, uint8 (height, width, 3)."""
        colour, depth = self._drawn(self._solid, (0, 0, self._w, self._h))
        solid = np.isfinite(depth)
        colour[~solid] = FLOOR
        self._throw_shadow(colour, depth, solid, spheres)
        if spheres is not None:
            self._draw_spheres(colour, depth, spheres)
        if (frame := self._frame_of_glass()) is not None:
            left, top, right, bottom = frame
            wall, in_front = self._drawn(self._glass, frame)
            behind = colour[top:bottom, left:right]
            seen = in_front < depth[top:bottom, left:right]
            behind[seen] = (1 - self._own) * behind[seen] + self._own * wall[seen]
        from PIL import Image as Pillow

        large = np.multiply(colour, 255, out=colour).clip(0, 255, out=colour).astype(np.uint8)
        return np.asarray(Pillow.fromarray(large).reduce(self._factor))

    def close(self) -> None:
        """Disconnect; the studio cannot be used afterwards."""
        self._solid.disconnect()
        self._glass.disconnect()

    def _drawn(self, bullet: Any, frame: tuple[int, int, int, int]) -> tuple[FloatArray, FloatArray]:
        """Colours (h, w, 3) in [0, 1] and distances along the view (h, w) m, infinite where nothing is.

        ``frame``: left, top, right and bottom pixel of the part of the picture that is drawn.
        """
        left, top, right, bottom = frame
        w, h, scale = right - left, bottom - top, _NEAR / self._focus
        edges = [(left - self._w / 2), (right - self._w / 2), (self._h / 2 - bottom), (self._h / 2 - top)]
        _, _, pixels, depth, bodies = bullet.getCameraImage(
            w,
            h,
            self._view,
            bullet.computeProjectionMatrix(*(scale * edge for edge in edges), _NEAR, _FAR),
            renderer=bullet.ER_TINY_RENDERER,
            lightDirection=_LIGHT.tolist(),
            lightColor=(1.0, 0.99, 0.97),
            lightDistance=3.5,
            shadow=0,
            lightAmbientCoeff=0.60,
            lightDiffuseCoeff=0.44,
            lightSpecularCoeff=0.15,
        )
        colour = np.reshape(pixels, (h, w, 4))[:, :, :3].astype(np.float32) / 255
        ndc = 2 * np.reshape(depth, (h, w)).astype(np.float32) - 1
        along = 2 * _NEAR * _FAR / (_FAR + _NEAR - ndc * (_FAR - _NEAR))
        along[np.reshape(bodies, (h, w)) < 0] = np.inf
        return colour, along

    def _frame_of_glass(self) -> tuple[int, int, int, int] | None:
        """Left, top, right and bottom pixel of the part of the picture with glass in it; None where there is none."""
        if not self._places:
            return None
        centres, along = self._pixels(np.array(list(self._places.values())))
        reach = self._focus * np.array([body.reach for body in self._places]) / np.maximum(along, _NEAR)
        low, high = (centres - reach[:, None]).min(axis=0), (centres + reach[:, None]).max(axis=0)
        left, top = max(int(low[0]), 0), max(int(low[1]), 0)
        right, bottom = min(int(high[0]) + 1, self._w), min(int(high[1]) + 1, self._h)
        return (left, top, right, bottom) if right - left > 1 and bottom - top > 1 else None

    def _pixels(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pixel coordinates (n, 2), x and y, and distances along the view (n,) of points (n, 3)."""
        x, y, along = self._axes @ (points - self._eye).T
        safe = np.maximum(along, 1e-3)
        at = np.stack([self._w / 2 + self._focus * x / safe, self._h / 2 - self._focus * y / safe], axis=1)
        return at, along

    def _throw_shadow(self, colour: FloatArray, depth: FloatArray, solid: Any, spheres: Spheres | None) -> None:
        """Darken the floor where what was drawn stands in the light."""
        rows, columns = np.nonzero(solid[::_COARSE, ::_COARSE])
        y, x = rows * _COARSE + 0.5, columns * _COARSE + 0.5
        along = depth[rows * _COARSE, columns * _COARSE]
        ray = np.stack([(x - self._w / 2) / self._focus, (self._h / 2 - y) / self._focus, np.ones(len(x))], axis=1)
        points = self._eye + (ray * along[:, None]) @ self._axes
        if spheres is not None:
            points = np.concatenate([points, spheres.positions])
        ground = points - _LIGHT * (points[:, 2:] / _LIGHT[2])
        at = (self._pixels(ground)[0] // (2 * _COARSE)).astype(int)
        small = (self._h // (2 * _COARSE) + 1, self._w // (2 * _COARSE) + 1)
        at = at[((at >= 0) & (at < small[::-1])).all(axis=1)]
        count = np.bincount(at[:, 1] * small[1] + at[:, 0], minlength=small[0] * small[1]).reshape(small)
        from PIL import Image as Pillow
        from PIL import ImageFilter

        mask = Pillow.fromarray((255 * np.minimum(count / 1.5, 1)).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(1.6)
        )
        large = mask.resize((small[1] * 2 * _COARSE, small[0] * 2 * _COARSE), Pillow.Resampling.BILINEAR)
        shade = np.asarray(large, dtype=np.float32)[: self._h, : self._w] / 255
        shade = np.where(solid, np.float32(0), shade)
        colour *= (1 - SHADE * shade)[..., None]

    def _draw_spheres(self, colour: FloatArray, depth: FloatArray, spheres: Spheres) -> None:
        """Shaded discs, nearer ones over farther ones, hidden by what stands before them."""
        centres, along = self._pixels(spheres.positions)
        radii = self._focus * spheres.radii / along
        light = self._axes @ _LIGHT * (1, 1, -1)
        for k in np.argsort(-along):
            (x, y), r = centres[k], radii[k]
            left, top = max(int(x - r), 0), max(int(y - r), 0)
            end, bottom = min(int(x + r) + 2, self._w), min(int(y + r) + 2, self._h)
            if left >= end or top >= bottom:
                continue
            u = (np.arange(left, end) + 0.5 - x)[None, :] / r
            v = (y - np.arange(top, bottom) - 0.5)[:, None] / r
            rest = 1 - u**2 - v**2
            height = np.sqrt(np.maximum(rest, 0))
            front = along[k] - spheres.radii[k] * height
            part = (slice(top, bottom), slice(left, end))
            seen = (rest > 0) & (front < depth[part] + 0.002)
            lit = 0.55 + 0.5 * np.maximum(u * light[0] + v * light[1] + height * light[2], 0)
            glint = np.maximum(lit - 0.98, 0) * 2.0
            shaded = np.minimum(lit[..., None] * spheres.colours[k] + glint[..., None], 1.0)
            colour[part][seen] = shaded[seen]
            depth[part][seen] = front[seen]
