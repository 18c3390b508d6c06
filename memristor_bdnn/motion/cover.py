"""Spheres that enclose the parts of an arm and what it holds.

Parts whose spheres keep a distance keep it themselves, and distances of spheres cost next to nothing. A convex part is
cut across its longest axis and every slice gets a sphere, for one sphere around a link reaches far beside it (Quinlan,
"Efficient distance computation between non-convex objects", 1994).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.engine import BoxLike

FloatArray = npt.NDArray[np.float64]

SLICES = 6
"""Spheres of one part at most."""
SLACK = 0.002
"""Added to every radius, m: the engine rounds hulls by 1 mm, and its distances are good to 0.1 mm."""
ROUNDED = 0.006
"""How far (m) the engine's bounding box of a link may reach beyond that of its points, and they still be all of it."""
_STEPS = 20
_SIGNS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)


class Spheres(NamedTuple):
    """Balls that enclose a part: the first does by itself, and so do the others together.

    Attributes:
        centres: in the part's frame, (m, 3) m.
        radii: (m,) m.
    """

    centres: FloatArray
    radii: FloatArray


def cover(points: FloatArray) -> Spheres:
    """Spheres around the convex hull of points (n, 3) m; tight, and remembered, for links do not change."""
    return _cover(np.ascontiguousarray(points).tobytes())


@lru_cache(maxsize=256)
def _cover(packed: bytes) -> Spheres:
    """A slice of a hull between two planes is the hull of the points between them and of what lines from points on one
    side to points on the other cut out of the planes; a ball that holds all of these holds the slice.
    """
    points = np.frombuffer(packed).reshape(-1, 3)
    _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    along = points @ axes[0]
    across = float(np.ptp(points @ axes[1:].T, axis=0).max())
    count = int(np.clip(np.ceil(1.5 * np.ptp(along) / max(across, 1e-3)), 1, SLICES))
    cuts = np.linspace(along.min(), along.max(), count + 1)
    balls = [_ball(points)]
    for low, high in itertools.pairwise(cuts):
        inside = points[(along >= low - 1e-12) & (along <= high + 1e-12)]
        balls.append(_ball(np.concatenate([inside, _section(points, along, low), _section(points, along, high)])))
    return Spheres(np.array([centre for centre, _ in balls]), np.array([radius for _, radius in balls]) + SLACK)


def around(points: FloatArray, slices: int) -> Spheres:
    """Spheres around the convex hull of points (n, 3) m, quickly: those of the cylinder around it, cut across its axis.

    Of the axes through the middle of its bounding box that gives the smallest spheres is taken.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2
    squares = (points - middle) ** 2
    wide = (squares.sum(axis=1, keepdims=True) - squares).max(axis=0)  # about each axis, squared
    axis = int((wide + (half / slices) ** 2).argmin())
    centres = np.tile(middle, (slices + 1, 1))
    centres[1:, axis] += half[axis] * (np.arange(1, 2 * slices, 2) / slices - 1)
    radii = np.full(slices + 1, np.sqrt(wide[axis] + (half[axis] / slices) ** 2))
    radii[0] = np.sqrt(squares.sum(axis=1).max())
    return Spheres(centres, radii + SLACK)


def _section(points: FloatArray, along: FloatArray, level: float) -> FloatArray:
    """Where the lines between points (n, 3) on both sides of a plane cross it, (m, 3)."""
    below, above = np.flatnonzero(along < level), np.flatnonzero(along > level)
    share = (level - along[below, None]) / (along[above] - along[below, None])
    crossing = points[below, None] + share[..., None] * (points[above] - points[below, None])
    return np.asarray(crossing.reshape(-1, 3))


def _ball(points: FloatArray) -> tuple[FloatArray, float]:
    """A small ball around points (n, 3): its centre walks towards the farthest (Badoiu and Clarkson, 2003)."""
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    few = points[:: max(len(points) // 400, 1)]
    for k in range(_STEPS):
        farthest = few[((few - centre) ** 2).sum(axis=1).argmax()]
        centre = centre + (farthest - centre) / (k + 2)
    return centre, float(np.sqrt(((points - centre) ** 2).sum(axis=1).max()))


def corners(boxes: Sequence[BoxLike]) -> FloatArray:
    """Corners (8 n, 3) m of boxes in their body's frame."""
    turns = _turns(np.array([box.quaternion for box in boxes], dtype=float))
    halves = np.array([box.half_extents for box in boxes], dtype=float)
    places = np.array([box.position for box in boxes], dtype=float)
    return np.asarray(((_SIGNS * halves[:, None]) @ turns.swapaxes(-1, -2) + places[:, None]).reshape(-1, 3))


def link_points(client: Any, body: int, link: int) -> FloatArray:
    """Points (n, 3) m, in the link's centre-of-mass frame, whose hull holds what the engine collides of a link.

    Of meshes, and of boxes and round shapes, they are the shape's own; of a link that mixes them, or of one whose
    points do not explain the engine's bounding box, the corners of that box. Empty for a link without a shape.
    """
    shapes = client.getCollisionShapeData(body, link)
    kinds = {shape[2] for shape in shapes}
    rotation, position = link_frame(client, body, link)
    if not shapes:
        return np.empty((0, 3))
    points = np.empty((0, 3))
    if kinds == {client.GEOM_MESH}:  # one answer for all meshes of a link
        points = np.array(client.getMeshData(body, link)[1]).reshape(-1, 3)
    elif client.GEOM_MESH not in kinds:
        points = np.concatenate([_shape_points(client, *shape[2:4], *shape[5:7]) for shape in shapes])
    low, high = np.array(client.getAABB(body, link))
    if not _explained(points, rotation, position, low, high):
        points = ((low + high) / 2 + _SIGNS * (high - low) / 2 - position) @ rotation
    return points


def _shape_points(client: Any, kind: int, size: Any, place: Any, turn: Any) -> FloatArray:
    """Corners (8, 3) m of the box around a box, sphere, cylinder or capsule; none (0, 3) for another shape."""
    half = {
        client.GEOM_BOX: np.array(size) / 2,
        client.GEOM_SPHERE: np.full(3, size[0]),
        client.GEOM_CYLINDER: np.array([size[1], size[1], size[0] / 2]),
        client.GEOM_CAPSULE: np.array([size[1], size[1], size[0] / 2 + size[1]]),
    }.get(kind)
    return np.empty((0, 3)) if half is None else np.asarray((_SIGNS * half) @ _turns(np.array([turn]))[0].T + place)


def link_frame(client: Any, body: int, link: int) -> tuple[FloatArray, FloatArray]:
    """Rotation (3, 3) and position (3,) m of a link's centre-of-mass frame in the world now."""
    if link < 0:
        position, turn = client.getBasePositionAndOrientation(body)
    else:
        position, turn = client.getLinkState(body, link, computeForwardKinematics=True)[:2]
    return _turns(np.array([turn]))[0], np.array(position)


def _explained(
    points: FloatArray, rotation: FloatArray, position: FloatArray, low: FloatArray, high: FloatArray
) -> bool:
    """Whether the engine's bounding box of a link is that of its points, turned as the engine turns boxes."""
    if not len(points):
        return False
    middle, half = (points.min(axis=0) + points.max(axis=0)) / 2, np.ptp(points, axis=0) / 2
    centre, reach = rotation @ middle + position, np.abs(rotation) @ (half + ROUNDED)
    return bool((centre - reach <= low).all() and (centre + reach >= high).all())


def _turns(quaternions: FloatArray) -> FloatArray:
    """Rotation matrices (n, 3, 3) of quaternions xyzw (n, 4)."""
    x, y, z, w = quaternions.T / np.linalg.norm(quaternions, axis=1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
