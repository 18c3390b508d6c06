"""Scene, cup poses and paths as markers for RViz and Foxglove (frame ``world``, metres)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from memristor_bdnn.nodes.convert import pose_to_message
from memristor_bdnn.skills.pouring.context import PourContext
from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION

FloatArray = npt.NDArray[np.floating[Any]]

FRAME = "world"


def path_markers(poses: FloatArray, context: PourContext, stamp: Time) -> MarkerArray:
    """The cup along a pour, poses (n, 4, 4): a line through its centres and the cup first, half-way and last."""
    line = _marker("pour_path", 0, Marker.LINE_STRIP, stamp, (0.1, 0.5, 0.9, 1.0))
    line.scale.x = 0.004
    line.points = [Point(x=float(p[0, 3]), y=float(p[1, 3]), z=float(p[2, 3])) for p in poses]
    line.pose.orientation.w = 1.0
    cups = [
        cup_marker(poses[index], context, stamp, number + 1, alpha)
        for number, (index, alpha) in enumerate(((0, 0.25), (len(poses) // 2, 0.4), (-1, 0.8)))
    ]
    return MarkerArray(markers=[line, *cups])


def scene_markers(context: PourContext, stamp: Time) -> MarkerArray:
    """The bowl where it stands on the table; the cup's poses are the planner's markers."""
    body = _marker("bowl", 0, Marker.CYLINDER, stamp, (0.85, 0.55, 0.3, 0.6))
    centre = np.eye(4)
    centre[:3, 3] = BOWL_POSITION
    centre[2, 3] += context.bowl_height / 2
    body.pose = pose_to_message(centre)
    body.scale.x = body.scale.y = float(context.bowl_diameter)
    body.scale.z = float(context.bowl_height)
    return MarkerArray(markers=[body])


def cup_marker(pose: FloatArray, context: PourContext, stamp: Time, number: int, alpha: float) -> Marker:
    """A cup as a cylinder of its mean diameter."""
    marker = _marker("cup", number, Marker.CYLINDER, stamp, (0.2, 0.6, 0.75, alpha))
    marker.pose = pose_to_message(pose)
    marker.scale.x = marker.scale.y = float(context.cup_base_diameter + context.cup_diameter) / 2
    marker.scale.z = float(context.cup_height)
    return marker


def _marker(name: str, number: int, kind: int, stamp: Time, colour: tuple[float, float, float, float]) -> Marker:
    marker = Marker(ns=name, id=number, type=kind, action=Marker.ADD)
    marker.header.frame_id, marker.header.stamp = FRAME, stamp
    r, g, b, a = colour
    marker.color = ColorRGBA(r=r, g=g, b=b, a=a)
    return marker
