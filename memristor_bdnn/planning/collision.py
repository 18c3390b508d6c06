"""Which configurations of an arm, with a cup in its hand, touch something.

A private PyBullet world without dynamics. All pairs that must not touch are one collision filter; a configuration
is tested by placing the bodies, one collision pass and a look at the contacts of arm and cup, which is some ten
times faster than asking pair by pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn.arms.description import ArmDescription
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.planning.kinematics import chain

FloatArray = npt.NDArray[np.float64]


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


class Contact(NamedTuple):
    """Two named things that are too close, and their distance in metres (negative: overlap)."""

    first: str
    second: str
    distance: float


class CollisionModel:
    """Arm, table, obstacles and the held cup.

    Attributes:
        arm: the description.
        chain: its forward kinematics; the cup follows it.
        checks: configurations tested so far.
    """

    def __init__(self, arm: ArmDescription, *, table: bool = True) -> None:
        """Load the arm over a table whose top is at z = 0."""
        import pybullet
        from pybullet_utils.bullet_client import BulletClient

        self.arm, self.chain, self.checks = arm, chain(arm), 0
        self._allowed: set[tuple[int, int, int, int]] = set()
        self._p: Any = BulletClient(pybullet.DIRECT)
        self._names: dict[tuple[int, int], str] = {}
        flags = pybullet.URDF_USE_SELF_COLLISION | pybullet.URDF_USE_SELF_COLLISION_EXCLUDE_PARENT
        self._robot: int = self._p.loadURDF(arm.urdf_path(), useFixedBase=True, flags=flags)
        self._link_index = {arm.base_link: -1}
        joint_index: dict[str, int] = {}
        for i in range(self._p.getNumJoints(self._robot)):
            info = self._p.getJointInfo(self._robot, i)
            joint_index[info[1].decode()], self._link_index[info[12].decode()] = i, i
        self._joints = [joint_index[name] for name in arm.joint_names]
        self._fingers = [joint_index[name] for name in arm.gripper_joints]
        self._names.update({(self._robot, index): name for name, index in self._link_index.items()})
        self._obstacles: list[int] = []
        self._cup: int | None = None
        self._grasp = np.eye(4)
        self._table: int | None = None
        if table:
            slab = self._p.createCollisionShape(pybullet.GEOM_BOX, halfExtents=(2.0, 2.0, 0.05))
            self._table = self._p.createMultiBody(0.0, slab, basePosition=(0, 0, -0.05))
            self._names[self._table, -1] = "table"
            for name in (arm.base_link, *self._first_links()):
                self._allow(self._link_index[name], self._table)
        self.open_fingers(arm.max_grasp_width)
        self._allow_always_touching()

    def close(self) -> None:
        """Free the PyBullet world; the model is unusable afterwards."""
        self._p.disconnect()

    def open_fingers(self, width: float) -> None:
        """Set the fingers to an object's width (m)."""
        for index, value in zip(self._fingers, self.arm.finger_positions(width), strict=True):
            self._p.resetJointState(self._robot, index, value)

    def add_obstacle(self, name: str, boxes: Sequence[BoxLike], position: npt.ArrayLike = (0, 0, 0),
                     quaternion: npt.ArrayLike = (0, 0, 0, 1)) -> None:
        """Add a fixed body made of boxes, at a pose in the world."""
        body = self._body(boxes, 0.0, position, quaternion)
        self._obstacles.append(body)
        self._names[body, -1] = name

    def clear_obstacles(self) -> None:
        """Remove every obstacle, not the table."""
        for body in self._obstacles:
            self._p.removeBody(body)
            del self._names[body, -1]
        self._obstacles.clear()

    def hold(self, boxes: Sequence[BoxLike], grasp: FloatArray, name: str = "cup") -> None:
        """Put a body of boxes into the hand; grasp (4, 4) is its pose in the tool frame."""
        self.release()
        # two bodies without mass never collide
        self._cup = self._body(boxes, 0.05, (0, 0, -5.0), (0, 0, 0, 1))
        self._names[self._cup, -1] = name
        self._grasp = np.array(grasp)
        for link in (*self.arm.gripper_links, self.arm.tool_link):
            self._allow(self._link_index[link], self._cup)

    def release(self) -> None:
        """Take the held body away."""
        if self._cup is not None:
            self._p.removeBody(self._cup)
            del self._names[self._cup, -1]
            self._cup = None

    def free(self, q: FloatArray, padding: float = 0.0) -> bool:
        """Whether one configuration (dof,) touches nothing, with that much room (m) around everything."""
        return self.first_contact(q[None], padding) is None

    def first_contact(self, path: FloatArray, padding: float = 0.0,
                      order: npt.NDArray[np.intp] | None = None) -> tuple[int, Contact] | None:
        """The first configuration of a path (n, dof) that touches something, and what; None if there is none.

        Args:
            path: configurations.
            padding: room in metres; below about 0.02, where the contact search ends.
            order: indices in the order to test them, to meet likely collisions early.
        """
        poses = self._cup_poses(path)
        for i in range(len(path)) if order is None else order:
            self._place(path[i], None if poses is None else poses[i])
            found = self._touching(padding, stop=True)
            if found:
                return int(i), found[0]
        return None

    def contacts(self, q: FloatArray, padding: float = 0.0) -> list[Contact]:
        """Everything that touches in one configuration (dof,)."""
        poses = self._cup_poses(q[None])
        self._place(q, None if poses is None else poses[0])
        return self._touching(padding, stop=False)

    def closest(self, q: FloatArray, reach: float = 0.05) -> list[Contact]:
        """Pair by pair distances below reach (m) of one configuration (dof,): slow, exact; for tests."""
        poses = self._cup_poses(q[None])
        self._place(q, None if poses is None else poses[0])
        found = []
        bodies = [b for b in (self._table, self._cup, *self._obstacles) if b is not None]
        links = list(self._link_index.values())
        pairs = [(self._robot, a, self._robot, b) for a in links for b in links if a < b]
        pairs += [(self._robot, a, body, -1) for a in links for body in bodies]
        if self._cup is not None:
            pairs += [(self._cup, -1, body, -1) for body in bodies if body != self._cup]
        for body_a, a, body_b, b in pairs:
            if (body_a, a, body_b, b) in self._allowed or (body_b, b, body_a, a) in self._allowed:
                continue
            points = self._p.getClosestPoints(body_a, body_b, reach, a, b)
            if points:
                found.append(Contact(self._names[body_a, a], self._names[body_b, b], min(p[8] for p in points)))
        return found

    # ---- private -------------------------------------------------------------------------------

    def _first_links(self) -> list[str]:
        """Links up to the first joint's child: they stand on the table."""
        index = self._joints[0]
        return [name for name, i in self._link_index.items() if -1 <= i <= index]

    def _body(self, boxes: Sequence[BoxLike], mass: float, position: npt.ArrayLike,
              quaternion: npt.ArrayLike) -> int:
        if not boxes:
            raise ConfigError("a collision body needs at least one box")
        p = self._p
        shape = p.createCollisionShapeArray(
            shapeTypes=[p.GEOM_BOX] * len(boxes), halfExtents=[tuple(b.half_extents) for b in boxes],
            collisionFramePositions=[tuple(b.position) for b in boxes],
            collisionFrameOrientations=[tuple(b.quaternion) for b in boxes])
        return int(p.createMultiBody(mass, shape, basePosition=tuple(np.asarray(position, dtype=float)),
                                     baseOrientation=tuple(np.asarray(quaternion, dtype=float))))

    def _allow(self, link: int, other: int, other_link: int = -1) -> None:
        """Let a link of the arm touch another body or link."""
        self._p.setCollisionFilterPair(self._robot, other, link, other_link, 0)
        self._allowed.add((self._robot, link, other, other_link))

    def _allow_always_touching(self) -> None:
        """Let links touch that are joined, or that overlap in every one of many random configurations."""
        parents: dict[int, int] = {}
        for i in range(self._p.getNumJoints(self._robot)):
            parents[i] = self._p.getJointInfo(self._robot, i)[16]
            self._allow(i, self._robot, parents[i])
        for a in self._fingers:
            for b in self._fingers:
                if a < b:
                    self._allow(a, self._robot, b)
        low, high = self.arm.limits()
        rng = np.random.default_rng(0)
        always: set[tuple[int, int]] | None = None
        for q in rng.uniform(low, high, (40, self.arm.dof)):
            self._place(q, None)
            found = {(min(c[3], c[4]), max(c[3], c[4])) for c in self._p.getContactPoints(self._robot, self._robot)
                     if c[8] < 0.0}
            always = found if always is None else always & found
        for a, b in always or ():
            self._allow(a, self._robot, b)

    def _cup_poses(self, path: FloatArray) -> list[tuple[Any, Any]] | None:
        if self._cup is None:
            return None
        poses = self.chain.fk(path) @ self._grasp
        return list(zip(poses[:, :3, 3].tolist(), quaternions(poses[:, :3, :3]).tolist(), strict=True))

    def _place(self, q: FloatArray, cup: tuple[Any, Any] | None) -> None:
        # one call for all joints: six times faster than joint by joint
        self._p.resetJointStatesMultiDof(self._robot, self._joints, [[v] for v in q.tolist()])
        if cup is not None:
            self._p.resetBasePositionAndOrientation(self._cup, *cup)
        self._p.performCollisionDetection()
        self.checks += 1

    def _touching(self, padding: float, stop: bool) -> list[Contact]:
        found: list[Contact] = []
        bodies = (self._robot,) if self._cup is None else (self._robot, self._cup)
        for body in bodies:
            for c in self._p.getContactPoints(body):
                if c[8] < padding:
                    found.append(Contact(self._names[c[1], c[3]], self._names[c[2], c[4]], c[8]))
                    if stop:
                        return found
        return found


def quaternions(turns: FloatArray) -> FloatArray:
    """Quaternions xyzw (n, 4) of rotations (n, 3, 3), by the largest of the four components."""
    m = turns
    xx, yy, zz = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    squares = np.stack([1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz], axis=1)
    products = np.empty((len(m), 4, 4))
    for i in range(4):
        products[:, i, i] = squares[:, i]
    for (i, j), value in {
        (0, 1): m[:, 0, 1] + m[:, 1, 0], (0, 2): m[:, 0, 2] + m[:, 2, 0], (1, 2): m[:, 1, 2] + m[:, 2, 1],
        (0, 3): m[:, 2, 1] - m[:, 1, 2], (1, 3): m[:, 0, 2] - m[:, 2, 0], (2, 3): m[:, 1, 0] - m[:, 0, 1],
    }.items():
        products[:, i, j] = products[:, j, i] = value
    best = products[np.arange(len(m)), squares.argmax(axis=1)]
    return np.asarray(best / np.linalg.norm(best, axis=1, keepdims=True))
