"""What stands around an arm, what it holds and what touches, as data: also for a planner outside of this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.cover import corners
from memristor_bdnn.motion.engine import BoxLike
from memristor_bdnn.motion.kinematics import transform

FloatArray = npt.NDArray[np.float64]

SINGLE = 8
"""A body of more boxes is bounded as a whole."""


class Contact(NamedTuple):
    """Two named things that are too close, and their distance in metres (negative: overlap)."""

    first: str
    second: str
    distance: float


@dataclass(frozen=True, eq=False)
class Body:
    """One body of boxes.

    Attributes:
        name: as errors call it.
        boxes: its parts, in its own frame.
        pose: (4, 4) in the world; of the held body in the tool frame.
        room: how near the held body may come to it, m; negative forgives an overlap.
    """

    name: str
    boxes: Sequence[BoxLike]
    pose: FloatArray
    room: float


@dataclass(frozen=True, eq=False)
class Obstacle:
    """A fixed body of boxes as it was given.

    Attributes:
        name: as errors call it.
        boxes: its parts, in its own frame.
        position: of its origin in the world, (3,) m.
        quaternion: xyzw.
    """

    name: str
    boxes: Sequence[BoxLike]
    position: npt.ArrayLike
    quaternion: tuple[float, float, float, float]

    @cached_property
    def pose(self) -> FloatArray:
        """Of its origin in the world, (4, 4)."""
        from transforms3d.quaternions import quat2mat

        x, y, z, w = self.quaternion
        return transform(quat2mat((w, x, y, z)), self.position)

    @cached_property
    def bounds(self) -> list[tuple[FloatArray, FloatArray]]:
        """Lowest and highest corners in the world, (3,) m each, of upright boxes that hold its parts, or all of it."""
        points = corners(self.boxes) @ self.pose[:3, :3].T + self.pose[:3, 3]
        parts = points.reshape(-1, 8, 3) if len(self.boxes) <= SINGLE else points[None]
        return [(part.min(axis=0), part.max(axis=0)) for part in parts]


@dataclass(frozen=True, eq=False)
class Scene:
    """A collision world without its engine.

    Attributes:
        arm: the description.
        padding: room kept around everything else, m.
        fixed: the obstacles, without the table.
        held: what the hand holds, None for nothing.
        on_table: links that may touch the table; empty without a table.
        table: whether there is one: :data:`memristor_bdnn.motion.engine.TABLE`, its top at z = 0.
    """

    arm: ArmDescription
    padding: float
    fixed: tuple[Body, ...]
    held: Body | None
    on_table: tuple[str, ...]
    table: bool

    @property
    def touching(self) -> tuple[str, ...]:
        """Links that may touch what is held."""
        return tuple(dict.fromkeys((*self.arm.gripper_links, self.arm.tool_link)))
