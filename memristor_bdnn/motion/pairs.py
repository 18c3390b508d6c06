"""Which links of an arm are never tested against each other, which joints move which link, which parts are near."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.arms.pairs import may_touch
from memristor_bdnn.motion.engine import Engine

Part = tuple[int, int]
"""Body and link."""
# Links with at most two joints between them that stay this far apart in all samples are not tested again.
RELATIVES_REACH, RELATIVES_SAMPLES = 0.03, 200


def let_touch(engine: Engine, arm: ArmDescription, padding: float) -> None:
    """Let links touch that are joined, described so or always nearer than the padding (m); skip those never near.

    Only pairs with at most two moving joints between them are judged, from random positions of those two.
    """
    client, robot = engine.client, engine.robot
    for i in range(client.getNumJoints(robot)):
        engine.allow(i, robot, client.getJointInfo(robot, i)[16])
    for first, second in may_touch(arm):
        if first in engine.links and second in engine.links:
            engine.allow(engine.links[first], robot, engine.links[second])
    joints = [engine.joints[name] for name in arm.joint_names]
    moved = moved_by(engine, joints)
    relatives = [
        (a, b)
        for a in moved
        for b in moved
        if a < b and len(moved[a] ^ moved[b]) <= 2 and not engine.allowed((robot, a), (robot, b))
    ]
    nearest = {pair: (np.inf, -np.inf) for pair in relatives}
    low, high = arm.limits()
    for q in np.random.default_rng(0).uniform(low, high, (RELATIVES_SAMPLES, arm.dof)):
        engine.set_joints(joints, q)
        for a, b in relatives:
            distance = engine.distance((robot, a), (robot, b), RELATIVES_REACH)
            nearest[a, b] = min(nearest[a, b][0], distance), max(nearest[a, b][1], distance)
    for (a, b), (least, most) in nearest.items():
        if least == np.inf or most < padding:  # never near, or always nearer than any plan may be
            engine.allow(a, robot, b)


def moved_by(engine: Engine, joints: Sequence[int]) -> dict[int, frozenset[int]]:
    """Which of some joints (indices of the engine) lie between base and each link; both fingers count as the hand."""
    moved: dict[int, frozenset[int]] = {-1: frozenset()}
    for i in range(engine.client.getNumJoints(engine.robot)):
        parent = engine.client.getJointInfo(engine.robot, i)[16]
        moved[i] = moved[parent] | ({i} if i in joints else frozenset())
    return moved


class PartPairs:
    """All pairs of parts that must not touch: links, the held body, fixed bodies.

    Args:
        engine: its world.
        fixed: bodies that never move; they may touch each other.
        held: the held body, None for none.
    """

    def __init__(self, engine: Engine, fixed: Sequence[int], held: int | None) -> None:
        self._client = engine.client
        links = [(engine.robot, index) for index in engine.links.values()]
        moving = links + ([] if held is None else [(held, -1)])
        self._parts: list[Part] = [*moving, *((body, -1) for body in fixed)]
        pairs = [
            (i, j)
            for i in range(len(moving))
            for j in range(i + 1, len(self._parts))
            if not engine.allowed(self._parts[i], self._parts[j])
        ]
        self._first, self._second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T

    def near(self, reach: float) -> list[tuple[Part, Part]]:
        """Those whose bounding boxes come within reach (m) as they are placed now."""
        boxes: npt.NDArray[np.float64] = np.array([self._client.getAABB(*part) for part in self._parts])
        low, high = boxes[:, 0] - reach, boxes[:, 1]
        first, second = self._first, self._second
        close = ((low[first] <= high[second]) & (low[second] <= high[first])).all(axis=1)
        return [(self._parts[first[k]], self._parts[second[k]]) for k in np.flatnonzero(close)]
