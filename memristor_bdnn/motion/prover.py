"""Which configurations of a path are free beyond doubt, told from bounds alone and for the whole path at once.

Nine in ten configurations of a plan are far from everything. Three bounds say so: links near each other along the chain
by their squares (`relatives`), other parts by spheres around them (`cover`), and obstacles by the box around them. What
the bounds leave open is for the engine to decide, so no answer changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.cover import Spheres, around, corners, cover, link_frame, link_points
from memristor_bdnn.motion.engine import BoxLike, Engine
from memristor_bdnn.motion.kinematics import Chain
from memristor_bdnn.motion.pairs import moved_by
from memristor_bdnn.motion.relatives import Pairs, Relative, Window

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]

HELD = -2
"""Stands for the held body where a link's number would."""
HELD_SLICES = 3
"""Spheres of the cover of a held body, which changes from plan to plan: never more, never fewer."""
FIXED = -1
"""Carrier of what no joint moves."""


class Fence(NamedTuple):
    """The box around an obstacle.

    Attributes:
        low, high: its corners in the world, (3,) m.
        room: to keep between it and the held body, m.
    """

    low: FloatArray
    high: FloatArray
    room: float


class _Part(NamedTuple):
    """One link, or the held body.

    Attributes:
        link: its number in the engine, or HELD.
        carrier: the joint whose frame it moves with, or FIXED; of the held body the one after the last, the tool.
        rotation, position: of its own frame in that frame, (3, 3) and (3,) m; of the held body those of no grasp.
        spheres: in its own frame: one around all of it, then its cover.
    """

    link: int
    carrier: int
    rotation: FloatArray
    position: FloatArray
    spheres: Spheres


class Prover:
    """Bounds for one arm, and for what stands around it now.

    Args:
        engine: its world; links that may touch must be known to it.
        arm: the description.
        chain: its forward kinematics.
        padding: room around everything, m.
    """

    def __init__(self, engine: Engine, arm: ArmDescription, chain: Chain, padding: float) -> None:
        self._engine, self._chain, self._padding, self._home = engine, chain, padding, np.array(arm.home)
        self._joints = [engine.joints[name] for name in arm.joint_names]
        self._carrier = {link: len(joints) - 1 for link, joints in moved_by(engine, self._joints).items()}
        self._hand = self._below([engine.joints[name] for name in arm.gripper_joints])
        engine.set_joints(self._joints, self._home)
        engine.client.performCollisionDetection()  # brings the bounding boxes up to date
        points = {link: link_points(engine.client, engine.robot, link) for link in self._carrier}
        self._parts = {link: self._part(link, cover(of)) for link, of in points.items() if len(of)}
        self._body: int | None = None
        self._stale, self._fingers_moved = True, False
        self._laid_out: bool | None = None
        self._near: set[frozenset[int]] = set()
        self._windows = self._make_windows(arm, points)

    def fingers_moved(self) -> None:
        """The fingers were opened or closed: where they are is looked up when it is asked for."""
        self._fingers_moved = self._stale = True

    def hold(self, body: int | None, boxes: Sequence[BoxLike]) -> None:
        """A body of the engine is held now, or none and no boxes."""
        self._body, self._stale = body, True
        self._parts.pop(HELD, None)
        if boxes:
            spheres = around(corners(boxes), HELD_SLICES)
            self._parts[HELD] = _Part(HELD, len(self._chain.axes), np.eye(3), np.zeros(3), spheres)

    def sure(self, path: FloatArray, frames: FloatArray, grasp: FloatArray, fences: Sequence[Fence]) -> BoolArray:
        """Which configurations (n, dof) touch nothing beyond doubt, (n,).

        Args:
            path: configurations.
            frames: poses of the joints and the tool in them, (n, dof + 1, 4, 4).
            grasp: pose of the held body in the tool frame, (4, 4).
            fences: what stands around.
        """
        if self._stale:
            self._catch_up()
        sure = np.ones(len(path), dtype=bool)
        for window in self._windows:
            sure &= window.safe(path)
        if not sure.any():
            return sure
        local = self._local.copy()
        local[self._of_held, :3] = local[self._of_held, :3] @ grasp[:3, :3].T + grasp[:3, 3]
        # one sphere around each part says enough of most configurations, its cover is looked at in the others
        wholes = self._centres(frames, local, self._whole)
        close = ~self._clear(wholes, self._whole, self._pairs)
        doubtful = np.flatnonzero(sure & (close.any(axis=1) | ~self._off(wholes, self._whole, fences)))
        if len(doubtful):
            covers = self._centres(frames[doubtful], local, self._fine)
            pairs = [self._fine_pairs[k] for k in np.flatnonzero(close[doubtful].any(axis=0))]
            apart = self._clear(covers, self._fine, np.concatenate(pairs, axis=1)).all(axis=1) if pairs else True
            sure[doubtful] = self._off(covers, self._fine, fences) & apart
        return sure

    # ---- private -------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Look where the fingers are, and what is held."""
        if self._fingers_moved:
            self._engine.set_joints(self._joints, self._home)
            for link in self._hand:
                if link in self._parts:
                    self._parts[link] = self._part(link, self._parts[link].spheres)
        if self._laid_out != (HELD in self._parts):
            self._lay_out()
        self._fill()
        self._stale = self._fingers_moved = False

    def _distances(self, q: FloatArray, pairs: Pairs, reach: float) -> list[float]:
        """Distances (m) of pairs of links in a configuration (dof,), infinite beyond reach (m)."""
        self._engine.set_joints(self._joints, q)
        distance, robot = self._engine.distance, self._engine.robot
        return [distance((robot, first), (robot, second), reach) for first, second in pairs]

    def _below(self, joints: Sequence[int]) -> list[int]:
        """Links that one of these joints moves."""
        client, found = self._engine.client, set(joints)
        for index in range(client.getNumJoints(self._engine.robot)):
            if client.getJointInfo(self._engine.robot, index)[16] in found:
                found.add(index)
        return sorted(found)

    def _part(self, link: int, spheres: Spheres) -> _Part:
        """A link where it is now, the arm being at home."""
        rotation, position = link_frame(self._engine.client, self._engine.robot, link)
        carrier = self._carrier[link]
        if carrier != FIXED:
            frame = self._chain.frames(self._home)[carrier]
            rotation, position = frame[:3, :3].T @ rotation, (position - frame[:3, 3]) @ frame[:3, :3]
        return _Part(link, carrier, rotation, position, spheres)

    def _must_be_apart(self, a: _Part, b: _Part) -> bool:
        engine = self._engine
        first, second = [
            (self._body, -1) if self._body is not None and part.link == HELD else (engine.robot, part.link)
            for part in (a, b)
        ]
        return not engine.allowed(first, second)

    def _make_windows(self, arm: ArmDescription, points: dict[int, FloatArray]) -> list[Window]:
        """The pairs with one or two joints between them, by the joints that decide about them."""
        found: dict[tuple[int, int], list[Relative]] = {}
        parts = [part for link, part in self._parts.items() if link not in self._hand]
        for a, b in itertools.permutations(parts, 2):
            between = b.carrier - a.carrier
            if between in (1, 2) and self._must_be_apart(a, b):
                self._near.add(frozenset((a.link, b.link)))
                reach = points[b.link] @ b.rotation.T + b.position
                relative = Relative(a.link, b.link, b.carrier, between, reach)
                found.setdefault((b.carrier, between), []).append(relative)
        low, high = arm.limits()
        return [Window(self._chain, found[k], low, high, self._padding, self._distances) for k in sorted(found)]

    def _lay_out(self) -> None:
        """Which spheres and which pairs of them there are, part after part, with or without a held body."""
        self._laid_out = HELD in self._parts
        parts = list(self._parts.values())
        counts = np.array([len(part.spheres.radii) for part in parts])
        owner = np.repeat(np.arange(len(parts)), counts)
        self._whole = np.cumsum(counts) - counts
        self._frame = np.array([part.carrier for part in parts])[owner]
        self._of_held = np.array([part.link == HELD for part in parts])[owner]
        fine = np.ones(len(owner), dtype=bool)
        fine[self._whole] = False
        self._fine = np.flatnonzero(fine)
        robot, table = self._engine.robot, self._engine.table
        over = [table is not None and not self._stands(part, robot, table) for part in parts]
        self._over_table = np.array(over)[owner]
        pairs = [
            (i, j) for i, j in itertools.combinations(range(len(parts)), 2) if self._kept_apart(parts[i], parts[j])
        ]
        self._pairs = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
        begin = np.cumsum(counts - 1) - (counts - 1)  # among the covers alone
        self._fine_pairs = [
            np.stack(np.meshgrid(*(begin[k] + np.arange(counts[k] - 1) for k in pair))).reshape(2, -1) for pair in pairs
        ]

    def _fill(self) -> None:
        """Where the spheres are in the frames that carry them, and how large."""
        parts = self._parts.values()
        centres = np.concatenate([part.spheres.centres @ part.rotation.T + part.position for part in parts])
        self._local = np.column_stack([centres, np.ones(len(centres))])
        self._radii = np.concatenate([part.spheres.radii for part in parts])

    def _stands(self, part: _Part, robot: int, table: int) -> bool:
        return part.link != HELD and self._engine.allowed((robot, part.link), (table, -1))

    def _kept_apart(self, a: _Part, b: _Part) -> bool:
        """Whether spheres must show that two parts are apart: all that may not touch and are not looked up elsewhere.

        Links that no joint moves against each other are as far apart as when the model let those near each other touch.
        """
        rigid = a.carrier == b.carrier and not {a.link, b.link} & {HELD, *self._hand}
        return not rigid and frozenset((a.link, b.link)) not in self._near and self._must_be_apart(a, b)

    def _centres(self, frames: FloatArray, local: FloatArray, which: IndexArray) -> FloatArray:
        """Where some of the spheres (m,) are in the world, (n, m, 3) m."""
        carrier, local = self._frame[which], local[which]
        moved = carrier != FIXED
        result = np.empty((len(frames), len(which), 3))
        result[:, ~moved] = local[~moved, :3]
        result[:, moved] = np.einsum("nmij,mj->nmi", frames[:, carrier[moved], :3], local[moved])
        return result

    def _clear(self, centres: FloatArray, which: IndexArray, pairs: IndexArray) -> BoolArray:
        """Which pairs (2, p) of some spheres (n, m, 3) keep the padding, (n, p)."""
        first, second = pairs
        gap = centres[:, first] - centres[:, second]
        radii = self._radii[which]
        limit = radii[first] + radii[second] + self._padding
        return np.asarray(np.einsum("npi,npi->np", gap, gap) > limit**2)

    def _off(self, centres: FloatArray, which: IndexArray, fences: Sequence[Fence]) -> BoolArray:
        """In which configurations some spheres (n, m, 3) are off the table and the boxes around obstacles, (n,)."""
        radii, floor, held = self._radii[which], self._over_table[which], self._of_held[which]
        off = (centres[:, floor, 2] > radii[floor] + self._padding).all(axis=1)
        if not fences:
            return np.asarray(off)
        low, high = np.array([fence.low for fence in fences]), np.array([fence.high for fence in fences])
        rooms = np.array([max(fence.room, 0.0) for fence in fences])
        gap = np.maximum(low - centres[:, :, None], centres[:, :, None] - high)
        np.maximum(gap, 0.0, out=gap)
        limit = radii[:, None] + np.where(held[:, None], rooms, self._padding)
        clear = np.einsum("nmfi,nmfi->nmf", gap, gap) > limit**2
        return np.asarray(off & clear.reshape(len(centres), -1).all(axis=1))
