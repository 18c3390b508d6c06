"""Which configurations of an arm, with a cup in its hand, touch something.

A private PyBullet world without dynamics. All pairs that must not touch are one collision filter; a configuration
is tested by placing the bodies, one collision pass and a look at the contacts of arm and cup, which is some ten
times faster than asking pair by pair. Two things make contacts show gaps as well as overlaps, for padding: a wide
contact breaking threshold for the arm's own links, and boxes (table, obstacles, cup) grown by the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.engine import BoxLike, Engine
from memristor_bdnn.motion.kinematics import chain, quaternions
from memristor_bdnn.motion.pairs import PartPairs, let_touch, moved_by
from memristor_bdnn.motion.prover import Fence, Prover
from memristor_bdnn.motion.scene import Body, Contact, Obstacle, Scene

FloatArray = npt.NDArray[np.float64]

MAX_PADDING = 0.02
FEW = 6
"""A path of fewer configurations is tested by the engine alone: bounds cost as much for one as for many."""

LIKELY = 3
"""Configurations tested before bounds are, of those that are ordered by how likely they collide."""


class CollisionModel:
    """Arm, table, obstacles and the held cup.

    Attributes:
        arm: the description.
        chain: its forward kinematics; the cup follows it.
        padding: room kept around everything, metres; between held cup and an obstacle :meth:`set_room` may differ.
        checks: configurations tested so far.
    """

    def __init__(self, arm: ArmDescription, *, padding: float = 0.0, table: bool = True) -> None:
        """Load the arm over a table whose top is at z = 0.

        Args:
            arm: the arm.
            padding: room kept around everything, metres.
            table: False for an arm in empty space.

        Raises:
            ConfigError: padding outside [0, 0.02] m.
        """
        from memristor_bdnn.motion.bullet import pybullet

        if not 0.0 <= padding <= MAX_PADDING:
            raise ConfigError(f"collision padding = {padding} m: allowed [0, {MAX_PADDING}] m")
        self.arm, self.chain, self.checks, self.padding = arm, chain(arm), 0, padding
        self._rooms: dict[int, float] = {}
        self._room: dict[tuple[int, int], float] = {}
        self._pairs: PartPairs | None = None
        self._engine = Engine(arm, padding if table else None)
        self._p: Any = self._engine.client
        # the engine scales this by the size of the smaller body; a fingertip's is 0.04 m
        self._gap = 0.02 + padding / 0.04
        self._p.setPhysicsEngineParameter(contactBreakingThreshold=self._gap)
        # the client looks a function up at every call; these four are called for every configuration
        world = {"physicsClientId": self._p._client}
        self._set_joints = partial(pybullet.resetJointStatesMultiDof, **world)
        self._set_pose = partial(pybullet.resetBasePositionAndOrientation, **world)
        self._detect = partial(pybullet.performCollisionDetection, **world)
        self._contacts_of = partial(pybullet.getContactPoints, **world)
        self._robot, self._table = self._engine.robot, self._engine.table
        self._link_index = self._engine.links
        self._joints = [self._engine.joints[name] for name in arm.joint_names]
        self._fingers = [self._engine.joints[name] for name in arm.gripper_joints]
        self._names = {(self._robot, index): name for name, index in self._link_index.items()}
        self._obstacles: dict[int, Obstacle] = {}
        self._cup: int | None = None
        self._held: tuple[Any, ...] = ()
        self._grasp = np.eye(4)
        if self._table is not None:
            self._names[self._table, -1] = "table"
            for name in (arm.base_link, *self._first_links()):
                self._engine.allow(self._link_index[name], self._table)
        self._width = arm.max_grasp_width
        self._open()
        let_touch(self._engine, arm, padding)
        moved = moved_by(self._engine, self._joints)
        self._with_tool = {name for name, link in self._link_index.items() if len(moved[link]) == arm.dof}
        self._prover = Prover(self._engine, arm, self.chain, padding)

    def close(self) -> None:
        """Free the PyBullet world; the model is unusable afterwards. Safe to call twice."""
        if self._p.isConnected():
            self._p.disconnect()

    def open_fingers(self, width: float) -> None:
        """Set the fingers to an object's width (m)."""
        if width != self._width:
            self._prover.fingers_moved()
        self._width = width
        self._open()

    def _open(self) -> None:
        for index, value in zip(self._fingers, self.arm.finger_positions(self._width), strict=True):
            self._p.resetJointState(self._robot, index, value)

    def add_obstacle(
        self,
        name: str,
        boxes: Sequence[BoxLike],
        position: npt.ArrayLike = (0, 0, 0),
        quaternion: npt.ArrayLike = (0, 0, 0, 1),
    ) -> None:
        """Add a fixed body made of boxes, at a pose in the world.

        Args:
            name: what errors call it.
            boxes: its parts.
            position: of its origin, metres.
            quaternion: xyzw.
        """
        self._make_room()
        x, y, z, w = np.asarray(quaternion, dtype=float).tolist()
        self._add(Obstacle(name, boxes, position, (x, y, z, w)))

    def set_room(self, name: str, room: float) -> None:
        """How near (m) the held body may come to one obstacle, instead of the padding; negative forgives an overlap.

        Raises:
            ConfigError: no such obstacle, or room beyond the padding (gaps are seen no farther).
        """
        if room > self.padding:
            raise ConfigError(f"room of {name} = {room} m: allowed up to the padding, {self.padding} m")
        self._rooms[self._obstacle(name)] = room
        self._set_room()

    def held_gap(self, q: FloatArray, name: str, reach: float) -> float:
        """Distance (m) of the held body to one obstacle in a configuration (dof,); infinite beyond reach."""
        if self._cup is None:
            return float("inf")
        self._show(q)
        grown = self._grown(self._cup, self._obstacle(name))
        return self._distance((self._cup, -1), (self._obstacle(name), -1), max(reach - grown, 0.0))

    def clear_obstacles(self) -> None:
        """Remove every obstacle, not the table."""
        for body in self._obstacles:
            self._engine.remove(body)
            del self._names[body, -1]
        self._obstacles.clear()
        self._rooms.clear()
        self._pairs = None
        self._set_room()

    def hold(self, boxes: Sequence[BoxLike], grasp: FloatArray, name: str = "cup") -> None:
        """Put a body of boxes into the hand; grasp (4, 4) is its pose in the tool frame."""
        self._grasp = np.array(grasp)
        if self._cup is not None and self._held[1] == name and self._held[0] is boxes:
            return
        shape = tuple((tuple(b.half_extents), tuple(b.position), tuple(b.quaternion)) for b in boxes)
        if self._cup is not None and self._held[1:] == (name, shape):  # the same body, held otherwise
            return
        self.release()
        self._make_room()
        self._held = (boxes, name, shape)
        self._take_up(boxes, name)

    def release(self) -> None:
        """Take the held body away."""
        if self._cup is not None:
            self._engine.remove(self._cup)
            del self._names[self._cup, -1]
            self._cup = None
            self._prover.hold(None, ())
            self._pairs = None
            self._set_room()

    def free(self, q: FloatArray) -> bool:
        """Whether one configuration (dof,) touches nothing."""
        return self.first_contact(q[None]) is None

    def first_contact(self, path: FloatArray, order: npt.NDArray[np.intp] | None = None) -> tuple[int, Contact] | None:
        """The first configuration of a path (n, dof) that touches something, and what; None if there is none.

        Args:
            path: configurations.
            order: indices in the order to test them, to meet likely collisions early.
        """
        everywhere = np.arange(len(path)) if order is None else order
        # where collisions are likely they are met among the first
        likely = 0 if order is None or len(path) < FEW else LIKELY
        frames = None if self._cup is None else self.chain.frames(path)
        for some in (everywhere[:likely], everywhere[likely:]):
            poses, sure = self._begin(path[some], None if frames is None else frames[some])
            for k in np.flatnonzero(~sure).tolist():
                self._place(path[some[k]], poses.get(k))
                found = self._touching(stop=True)
                if found:
                    return int(some[k]), found[0]
        return None

    def all_contacts(self, path: FloatArray) -> list[tuple[int, Contact]]:
        """Every configuration of a path (n, dof) that touches something, with one of its contacts."""
        poses, sure = self._begin(path)
        result = []
        for i in np.flatnonzero(~sure).tolist():
            self._place(path[i], poses.get(i))
            found = self._touching(stop=True)
            if found:
                result.append((i, found[0]))
        return result

    def contacts(self, q: FloatArray) -> list[Contact]:
        """Everything that touches in one configuration (dof,)."""
        self._show(q)
        return self._touching(stop=False)

    def near(self, q: FloatArray, reach: float) -> list[Contact]:
        """All pairs closer than reach (m) in one configuration (dof,), measured pair by pair: exact and slow."""
        self._show(q)
        return self._measure(reach)

    def inevitable(self, contact: Contact) -> bool:
        """Whether all configurations with the same tool pose have a contact: hand or held body with what is fixed."""
        names = {contact.first, contact.second}
        held = {self._names[self._cup, -1]} if self._cup is not None else set()
        fixed = {"table", *(obstacle.name for obstacle in self._obstacles.values())}
        return bool(names & (self._with_tool | held)) and bool(names & fixed)

    def scene(self) -> Scene:
        """What is around the arm now, and in its hand."""
        fixed = [
            Body(obstacle.name, obstacle.boxes, obstacle.pose, self._rooms.get(body, self.padding))
            for body, obstacle in self._obstacles.items()
        ]
        held = None if self._cup is None else Body(self._held[1], self._held[0], self._grasp.copy(), self.padding)
        table = self._table is not None
        on_table = (self.arm.base_link, *self._first_links()) if table else ()
        return Scene(self.arm, self.padding, tuple(fixed), held, tuple(dict.fromkeys(on_table)), table)

    def hand_points(self, q: FloatArray) -> FloatArray:
        """Points (m, 3) m on boxes around the hand's links, in the tool frame, for the present finger opening.

        Args:
            q: a configuration (dof,) whose tool axes lie along the world's, so that bounding boxes are tight.
        """
        tool = self.chain.fk(q)
        self._place(q, None)
        points = []
        for name in self.arm.gripper_links:
            low, high = self._p.getAABB(self._robot, self._link_index[name])
            grid = np.stack(np.meshgrid(*np.linspace(low, high, 4).T, indexing="ij"), axis=-1).reshape(-1, 3)
            points.append((grid - tool[:3, 3]) @ tool[:3, :3])
        return np.concatenate(points)

    # ---- private -------------------------------------------------------------------------------

    def _obstacle(self, name: str) -> int:
        for body in self._obstacles:
            if self._names[body, -1] == name:
                return body
        raise ConfigError(f"no obstacle {name!r}: there are {[self._names[b, -1] for b in self._obstacles]}")

    def _set_room(self) -> None:
        """Room between the held body and obstacles with one of their own, by pair of body ids in both orders."""
        self._room = {}
        for body, room in self._rooms.items():
            if self._cup is not None:
                self._room[self._cup, body] = self._room[body, self._cup] = room

    def _first_links(self) -> list[str]:
        """Links up to the first joint's child: they stand on the table."""
        index = self._joints[0]
        return [name for name, i in self._link_index.items() if -1 <= i <= index]

    def _add(self, obstacle: Obstacle) -> int:
        body = self._engine.add(obstacle.boxes, 0.0, obstacle.position, obstacle.quaternion, self.padding)
        self._obstacles[body] = obstacle
        self._pairs = None
        self._names[body, -1] = obstacle.name
        return body

    def _take_up(self, boxes: Sequence[BoxLike], name: str) -> None:
        # two bodies without mass never collide
        self._cup = self._engine.add(boxes, 0.05, (0, 0, -5.0), (0, 0, 0, 1), self.padding)
        self._names[self._cup, -1] = name
        self._pairs = None
        self._set_room()
        for link in (*self.arm.gripper_links, self.arm.tool_link):
            self._engine.allow(self._link_index[link], self._cup)
        self._prover.hold(self._cup, boxes)

    def _make_room(self) -> None:
        """Empty the engine's world when it has grown, and put everything back where it was."""
        if not self._engine.full:
            return
        rooms = {self._names[body, -1]: room for body, room in self._rooms.items()}
        obstacles, cup = list(self._obstacles.values()), self._cup
        for body in (*self._obstacles, *(() if cup is None else (cup,))):
            self._engine.remove(body)
            del self._names[body, -1]
        self._obstacles.clear()
        self._cup = None
        self._engine.empty()
        self.open_fingers(self._width)
        bodies = {obstacle.name: self._add(obstacle) for obstacle in obstacles}
        self._rooms = {bodies[name]: room for name, room in rooms.items()}
        if cup is not None:
            self._take_up(self._held[0], self._held[1])
        self._set_room()

    def _begin(
        self, path: FloatArray, frames: FloatArray | None = None
    ) -> tuple[dict[int, tuple[Any, Any]], npt.NDArray[np.bool_]]:
        """Poses of the cup where a path must be tested, by their places on it, and where it need not be.

        Also sets the contact threshold, which all worlds of a process share.
        """
        self._p.setPhysicsEngineParameter(contactBreakingThreshold=self._gap)
        self.checks += len(path)
        sure = np.zeros(len(path), dtype=bool)
        if frames is None and len(path) and (self._cup is not None or len(path) >= FEW):
            frames = self.chain.frames(path)
        if frames is not None and len(path) >= FEW:
            rooms, padding = self._rooms, self.padding
            fences = [Fence(*b, rooms.get(k, padding)) for k, o in self._obstacles.items() for b in o.bounds]
            sure = self._prover.sure(path, frames, self._grasp, fences)
        rest = np.flatnonzero(~sure)
        if frames is None or self._cup is None or not len(rest):
            return {}, sure
        poses = frames[rest, -1] @ self._grasp
        turns = quaternions(poses[:, :3, :3]).tolist()
        return dict(zip(rest.tolist(), zip(poses[:, :3, 3].tolist(), turns, strict=True), strict=True)), sure

    def _show(self, q: FloatArray) -> None:
        """Place everything for one configuration (dof,)."""
        poses, _ = self._begin(q[None])
        self._place(q, poses.get(0))

    def _place(self, q: FloatArray, cup: tuple[Any, Any] | None) -> None:
        # one call for all joints: six times faster than joint by joint
        self._set_joints(self._robot, self._joints, [[v] for v in q.tolist()])
        if cup is not None:
            self._set_pose(self._cup, *cup)
        self._detect()

    def _touching(self, stop: bool) -> list[Contact]:
        """Pairs too close in the present placement.

        Contact points of earlier placements may linger, so the pairs they name are measured before they count.
        """
        found: list[Contact] = []
        seen: set[tuple[int, ...]] = set()
        bodies = (self._robot,) if self._cup is None else (self._robot, self._cup)
        for body in bodies:
            for c in self._contacts_of(body):
                grown = self._grown(c[1], c[2])
                limit = self._room.get((c[1], c[2]), self.padding)
                if c[8] + grown >= limit or c[1:5] in seen:
                    continue
                seen.add(c[1:5])
                distance = self._distance((c[1], c[3]), (c[2], c[4]), max(limit, 0.0))
                if distance < limit:
                    found.append(Contact(self._names[c[1], c[3]], self._names[c[2], c[4]], distance))
                    if stop:
                        return found
        return found

    def _grown(self, first: int, second: int) -> float:
        """By how much (m) two bodies are nearer here than in reality: all but the arm are grown by the padding."""
        return self.padding * ((first != self._robot) + (second != self._robot))

    def _distance(self, a: tuple[int, int], b: tuple[int, int], reach: float) -> float:
        """Exact distance of two parts (body, link), infinite beyond reach (m)."""
        grown = self._grown(a[0], b[0])
        return self._engine.distance(a, b, reach) + grown

    def _measure(self, reach: float) -> list[Contact]:
        """Distances of the pairs whose bounding boxes come within reach, in the present placement."""
        if self._pairs is None:
            fixed = [body for body in (self._table, *self._obstacles) if body is not None]
            self._pairs = PartPairs(self._engine, fixed, self._cup)
        found: list[Contact] = []
        for a, b in self._pairs.near(reach):
            distance = self._distance(a, b, reach)
            if distance < self._room.get((a[0], b[0]), reach):
                found.append(Contact(self._names[a], self._names[b], distance))
        return found
