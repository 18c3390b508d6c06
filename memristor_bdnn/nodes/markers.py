"""Shapes as markers for RViz and Foxglove (frame ``world``, metres)."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from memristor_bdnn.motion.shapes import Shape
from memristor_bdnn.nodes.convert import pose_to_message

FRAME = "world"
_KINDS = {
    "box": Marker.CUBE,
    "cylinder": Marker.CYLINDER,
    "sphere": Marker.SPHERE,
    "line": Marker.LINE_STRIP,
    "spheres": Marker.SPHERE_LIST,
}


def markers(shapes: Sequence[Shape], stamp: Time, alone: bool = False) -> MarkerArray:
    """Shapes as markers; those of one name are numbered in order, so that the next ones replace them.

    Args:
        shapes: to draw.
        stamp: of all.
        alone: displays are to forget all others of this topic first.
    """
    counts: dict[str, int] = {}
    result = MarkerArray()
    if alone:
        result.markers.append(Marker(action=Marker.DELETEALL))
        result.markers[0].header.frame_id, result.markers[0].header.stamp = FRAME, stamp
    for shape in shapes:
        number = counts[shape.name] = counts.get(shape.name, -1) + 1
        result.markers.append(_marker(shape, number, stamp))
    return result


def _marker(shape: Shape, number: int, stamp: Time) -> Marker:
    marker = Marker(ns=shape.name, id=number, type=_KINDS[shape.kind], action=Marker.ADD)
    marker.header.frame_id, marker.header.stamp = FRAME, stamp
    marker.pose = pose_to_message(shape.pose)
    marker.scale.x, marker.scale.y, marker.scale.z = (float(v) for v in shape.size)
    r, g, b, a = (float(v) for v in shape.colour)
    marker.color = ColorRGBA(r=r, g=g, b=b, a=a)
    if shape.points is not None:
        marker.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in shape.points]
    return marker
