"""Where the closed hand starts, touches the object and stops, in the table's plane; which pushes make sense."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from memristor_bdnn.skills.pushing.spaces import Context, Parameters

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]

OBJECT = (0.60, 0.0)
"""Where the object stands in the arm's base frame before it is pushed, m."""
FINGERS = (0.0097, 0.0205)
"""Half extents of the closed fingers, along the way they face and across it, m: those of the Panda at mid height (its
URDF's collision mesh: 8.7 x 14.3 mm at the tips, 10.5 x 26.4 mm where they widen)."""
FINGER_LENGTH = 0.040
"""Length of the fingers that may face the object before the palm comes, m (URDF: 46 mm)."""
LOWEST_TIP = 0.012
"""Height of the fingertips over the table when they push a low object, m."""
STANDOFF = 0.075
"""The hand starts this far before the touch: room to come down and to reach its speed, m."""
ACCELERATION = 2.5
"""Of the hand at both ends of the push, m/s^2; within STANDOFF it reaches the highest speed. An object with less
friction than this brakes later than the hand: it leaves the fingers and slides on."""
TURNED = 0.6
"""Largest angle between the fingers' face and their motion, rad: beyond it their edge would do the pushing."""
BITE = 0.004
"""Least overlap of fingers and object across the motion, m."""
REACH = (0.28, 0.74)
"""Distances of the hand from the arm's base axis that leave room for any orientation, m."""
SIDEWAYS = 0.42
"""Half width of the table that is used, m."""
CORNERS = 64
"""Normals that stand for a cylinder's wall; the polygon is 0.06 mm larger than the largest circle."""


class Touch(NamedTuple):
    """The first touch of many pushes; lengths are along the motion from the point nearest to the object's centre.

    Attributes:
        at: where the hand's centre is when the fingers touch, (n,) m; negative.
        hits: whether they touch at all, (n,).
        lever: of the contact's force about the object's centre across the motion, positive to the left, (n,) m.
        slope: angle of the contact's normal against the motion, (n,) rad; positive pushes the object to the left.
    """

    at: FloatArray
    hits: BoolArray
    lever: FloatArray
    slope: FloatArray


def tip_height(context: Context) -> Any:
    """Height of the fingertips over the table during a push, m: low, but the palm stays above the object."""
    return np.maximum(LOWEST_TIP, context.height - FINGER_LENGTH)


def goal_of(context: Context) -> FloatArray:
    """The goal in the arm's base frame, (2,) m."""
    angle = context.goal_direction
    return np.asarray(OBJECT) + context.goal_distance * np.array([np.cos(angle), np.sin(angle)])


def yaw_of(context: Context) -> Any:
    """How the object is turned in the arm's base frame, rad."""
    return context.goal_direction + context.yaw


def heading_of(context: Context, parameters: Parameters) -> Any:
    """Direction of the hand's motion in the arm's base frame, rad."""
    return context.goal_direction + parameters.direction


def facing_of(context: Context, parameters: Parameters) -> Any:
    """Direction that the fingers' face looks in the arm's base frame, rad."""
    return context.goal_direction + parameters.side


def touch(context: Context, parameters: Parameters) -> Touch:
    """First touch of the fingers' rectangle with the object, from columns (n,).

    The hand's centre enters the Minkowski sum of object and fingers, a convex polygon: the touch is the last of its
    edges that the line crosses inwards.
    """
    columns = np.broadcast_arrays(*map(np.atleast_1d, (*context, *parameters)))
    c, p = Context(*columns[: len(Context._fields)]), Parameters(*columns[len(Context._fields) :])
    # everything in the frame of the motion: x along it, origin at the object's centre
    face = p.side - p.direction
    quarters = np.arange(4) * np.pi / 2
    turned = np.where(c.box, c.yaw - p.direction, 0.0)
    wall = np.arange(CORNERS) * 2 * np.pi / CORNERS
    angles = np.concatenate(
        [face[:, None] + quarters, turned[:, None] + quarters, np.broadcast_to(wall, (len(face), CORNERS))], axis=1
    )
    nx, ny = np.cos(angles), np.sin(angles)
    used = np.ones_like(angles, dtype=bool)
    used[:, 4:8], used[:, 8:] = c.box[:, None], ~c.box[:, None]
    reach = _reach(angles - face[:, None], *FINGERS) + np.where(
        c.box[:, None],
        _reach(angles - turned[:, None], c.length[:, None] / 2, c.width[:, None] / 2),
        c.length[:, None] / 2,
    )
    room = reach - ny * p.offset[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = room / nx
    inwards, outwards = used & (nx < -1e-9), used & (nx > 1e-9)
    entries = np.where(inwards, crossing, -np.inf)
    edge = entries.argmax(axis=1)
    rows = np.arange(len(edge))
    at = entries[rows, edge]
    beside = (used & ~inwards & ~outwards & (room < 0)).any(axis=1)
    hits = ~beside & (at < np.where(outwards, crossing, np.inf).min(axis=1))
    normal = angles[rows, edge]
    slope = np.remainder(normal, 2 * np.pi) - np.pi  # of the inward normal, which pushes the object
    lever = _lever(c, p, face, turned, at, normal)
    return Touch(at, hits, lever, slope)


def path_length(parameters: Parameters) -> Any:
    """How far the hand moves in a push, m: up to the touch, on to where it brakes, and until it stands."""
    return STANDOFF + parameters.distance + parameters.speed**2 / (2 * ACCELERATION)


def ends(context: Context, parameters: Parameters) -> tuple[FloatArray, FloatArray]:
    """Where the hand starts and stops, each (n, 2) m in the arm's base frame."""
    heading = np.atleast_1d(heading_of(context, parameters))
    along = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    left = np.stack([-along[:, 1], along[:, 0]], axis=1)
    first = touch(context, parameters).at
    line = np.asarray(OBJECT) + left * np.atleast_1d(parameters.offset)[:, None]
    begin = line + along * (first - STANDOFF)[:, None]
    return begin, begin + along * np.atleast_1d(path_length(parameters))[:, None]


def is_valid(context: Context, parameters: Parameters) -> BoolArray:
    """Which pushes make sense, (n,): they touch, face forwards, and stay on the table and in reach."""
    forwards = np.abs(parameters.side - parameters.direction) <= TURNED
    # fingers narrowed by the bite must still touch, so that the corner does not merely brush past
    shifted = parameters._replace(offset=parameters.offset + np.copysign(BITE, parameters.offset))
    hits = touch(context, shifted).hits
    inside = np.ones(len(np.atleast_1d(parameters.distance)), dtype=bool)
    for point in ends(context, parameters):
        radius = np.linalg.norm(point, axis=1)
        inside &= (radius >= REACH[0]) & (radius <= REACH[1]) & (np.abs(point[:, 1]) <= SIDEWAYS)
    return np.asarray(forwards & hits & inside)


def _reach(angle: FloatArray, length: Any, width: Any) -> FloatArray:
    """Support of a rectangle of half extents length and width in directions (...), m."""
    return np.abs(np.cos(angle)) * length + np.abs(np.sin(angle)) * width


def _lever(
    c: Context, p: Parameters, face: FloatArray, turned: FloatArray, at: FloatArray, normal: FloatArray
) -> FloatArray:
    """Lever (n,) of a force along the inward normal at the contact, about the object's centre, m.

    Where faces lie flat on each other the contact is a stretch; its point nearest to the centre counts, because the
    pressure moves there as soon as the object begins to turn.
    """
    tangent = normal + np.pi / 2  # along the contact's edge
    centre = at * np.cos(tangent) + p.offset * np.sin(tangent)
    finger = _face(normal + np.pi - face, *FINGERS)
    mine = np.where(c.box, c.length / 2, 0.0), np.where(c.box, c.width / 2, 0.0)
    box = _face(normal - turned, *mine)
    low = np.maximum(centre - finger[1], -box[0])
    high = np.minimum(centre + finger[0], box[1])
    # at a corner the stretch is a point, up to rounding
    return np.asarray(-np.clip(0.0, np.minimum(low, high), np.maximum(low, high)))


def _face(angle: FloatArray, length: Any, width: Any) -> tuple[FloatArray, FloatArray]:
    """How far the face of a rectangle that looks at an angle (n,) reaches to both sides, each (n,) m."""
    along = [s * length * -np.sin(angle) for s in (1, -1)], [t * width * np.cos(angle) for t in (1, -1)]
    depth = [s * length * np.cos(angle) for s in (1, -1)], [t * width * np.sin(angle) for t in (1, -1)]
    tangents = np.array([a + b for a in along[0] for b in along[1]])
    depths = np.array([a + b for a in depth[0] for b in depth[1]])
    outer = depths >= depths.max(axis=0) - 1e-4
    high = np.where(outer, tangents, -np.inf).max(axis=0)
    low = np.where(outer, tangents, np.inf).min(axis=0)
    return -low, high
