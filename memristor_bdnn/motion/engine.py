"""A PyBullet world with one arm in it, to which boxes come and from which they go without its memory growing.

The engine never frees the shape of a body that was removed, only those of a whole world that is emptied (measured: a
vessel of 24 boxes leaves 29 KiB). So the world counts what was made, and its owner empties it now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms import urdf
from memristor_bdnn.motion.arms.description import ArmDescription

ROOM = 1500
"""Boxes made before the world is full, 1.3 KiB each; a body counts as three more. A fresh world takes 40 ms."""

TABLE = (2.0, 2.0, 0.05)
"""Half extents of the table, m."""


class BoxLike(Protocol):
    """A box: half extents (3,), position (3,) and quaternion xyzw (4,) in its body's frame, metres."""

    @property
    def half_extents(self) -> Any:
        """Half of the edge lengths."""

    @property
    def position(self) -> Any:
        """Centre."""

    @property
    def quaternion(self) -> Any:
        """Orientation, xyzw."""


class Engine:
    """The world: arm, perhaps a table, and bodies of boxes.

    Args:
        arm: stands where it is mounted.
        table: height (m) of the top of a table; None for none.

    Attributes:
        client: the `BulletClient`.
        robot: body of the arm.
        table: body of the table, None if there is none.
        joints: of the arm, by name.
        links: of the arm, by name; the base is -1.
    """

    def __init__(self, arm: ArmDescription, table: float | None) -> None:
        from memristor_bdnn.motion import bullet

        self._arm, self._height, self._made = arm, table, 0
        self._pairs: dict[tuple[int, int, int, int], None] = {}
        self.client: Any = bullet.client()
        self.joints: dict[str, int] = {}
        self.links: dict[str, int] = {}
        try:
            self._build()
        except BaseException:
            self.client.disconnect()
            raise
        self.links[self.client.getBodyInfo(self.robot)[0].decode()] = -1
        for i in range(self.client.getNumJoints(self.robot)):
            info = self.client.getJointInfo(self.robot, i)
            self.joints[info[1].decode()], self.links[info[12].decode()] = i, i

    def _build(self) -> None:
        p = self.client
        flags = p.URDF_USE_SELF_COLLISION | p.URDF_USE_SELF_COLLISION_EXCLUDE_PARENT
        self.robot: int = urdf.load(p, self._arm, flags, seen=False)
        self.table: int | None = None
        if self._height is not None:
            slab = p.createCollisionShape(p.GEOM_BOX, halfExtents=TABLE)
            self.table = p.createMultiBody(0.0, slab, basePosition=(0, 0, self._height - TABLE[2]))

    @property
    def full(self) -> bool:
        """Whether so much was made that the world should be emptied."""
        return self._made >= ROOM

    def empty(self) -> None:
        """Take all bodies of boxes away, and free their memory; arm and table are as new, and may touch as before."""
        self._made = 0
        self.client.resetSimulation()
        self._build()
        for pair in self._pairs:
            self.client.setCollisionFilterPair(pair[0], pair[2], pair[1], pair[3], 0)

    def add(
        self,
        boxes: Sequence[BoxLike],
        mass: float,
        position: npt.ArrayLike,
        quaternion: npt.ArrayLike,
        grow: float = 0.0,
    ) -> int:
        """A new body of boxes, each grown by ``grow`` (m) on all sides; two bodies without mass never collide."""
        if not boxes:
            raise ConfigError("a collision body needs at least one box")
        p = self.client
        self._made += len(boxes) + 3
        shape = p.createCollisionShapeArray(
            shapeTypes=[p.GEOM_BOX] * len(boxes),
            halfExtents=[tuple(h + grow for h in b.half_extents) for b in boxes],
            collisionFramePositions=[tuple(b.position) for b in boxes],
            collisionFrameOrientations=[tuple(b.quaternion) for b in boxes],
        )
        return int(
            p.createMultiBody(
                mass,
                shape,
                basePosition=tuple(np.asarray(position, dtype=float)),
                baseOrientation=tuple(np.asarray(quaternion, dtype=float)),
            )
        )

    def remove(self, body: int) -> None:
        """Take a body of boxes away. Its number may be given to the next one, which may touch nothing by that."""
        for pair in [pair for pair in self._pairs if body in (pair[0], pair[2])]:
            self.client.setCollisionFilterPair(pair[0], pair[2], pair[1], pair[3], 1)
            del self._pairs[pair]
        self.client.removeBody(body)

    def set_joints(self, joints: Sequence[int], q: npt.NDArray[np.float64]) -> None:
        """Put joints of the arm at positions (len(joints),) rad; nothing is tested for contacts."""
        self.client.resetJointStatesMultiDof(self.robot, joints, [[value] for value in q.tolist()])

    def distance(self, a: tuple[int, int], b: tuple[int, int], reach: float) -> float:
        """Distance (m) of two parts (body, link) as they are here, infinite beyond reach (m)."""
        points = self.client.getClosestPoints(a[0], b[0], reach, a[1], b[1])
        return float(min((point[8] for point in points), default=np.inf))

    def allow(self, link: int, other: int, other_link: int = -1) -> None:
        """Let a link of the arm touch another body or link."""
        self.client.setCollisionFilterPair(self.robot, other, link, other_link, 0)
        self._pairs[self.robot, link, other, other_link] = None

    def allowed(self, a: tuple[int, int], b: tuple[int, int]) -> bool:
        """Whether two parts (body, link) may touch."""
        return (*a, *b) in self._pairs or (*b, *a) in self._pairs
