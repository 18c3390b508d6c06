"""RRT-Connect with shortcuts and a fine re-check, over any space whose edges can be drawn.

Kuffner and LaValle, "RRT-Connect: an efficient approach to single-query path planning" (2000). An edge is what
`Space.edge` draws between two configurations: a straight line, or a line projected onto a constraint.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import PlanningError
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.ik.turns import wide

FloatArray = npt.NDArray[np.float64]

# Share of an edge's length by which its end must come nearer to the target.
PROGRESS = 0.1


@dataclass(frozen=True)
class RRTConfig:
    """How RRT-Connect searches."""

    reach: float = option(0.6, "longest edge of a tree", low=0.01, high=10.0, unit="rad")
    resolution: float = option(
        0.05, "largest joint step between checked configurations", low=0.001, high=0.5, unit="rad"
    )
    fine_resolution: float = option(0.01, "the same for the final re-check", low=0.001, high=0.1, unit="rad")
    shortcuts: int = option(30, "attempts to cut corners off a path", low=0, high=10_000)
    iterations: int = option(
        100_000, "give up after so many extensions: unlike time, the same on any machine", low=1, high=100_000_000
    )
    timeout: float = option(2.0, "give up after this time", low=0.001, high=600.0, unit="s")

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


class Space(Protocol):
    """Where RRT-Connect plans."""

    def sample(self, rng: np.random.Generator) -> FloatArray:
        """A random configuration (dof,)."""

    def edge(self, start: FloatArray, end: FloatArray, resolution: float) -> FloatArray | None:
        """Configurations (n, dof) from start to end, neighbours at most resolution apart; None if there are none."""

    def blocked(self, edge: FloatArray) -> str | None:
        """What the first bad configuration of an edge touches, or None if all are free."""


class JointSpace:
    """Straight lines between the joint limits, tested against a collision model.

    Attributes:
        model: the collision model.
        upright: axis (3,) of the tool frame that stays vertical in this space; None where all orientations are in it.
        blame: how often which pair was in the way, for error messages.
    """

    def __init__(self, model: CollisionModel, around: FloatArray | None = None) -> None:
        """Plan in the joint limits of the model's arm.

        Args:
            model: collision model.
            around: a configuration (dof,); joints with room for several turns are sampled within half a turn of it.
        """
        self.model = model
        self.upright: FloatArray | None = None
        self.blame: dict[str, int] = {}
        self._low, self._high = model.arm.limits()
        self._around = around
        if around is not None:
            turning = wide(self._low, self._high)
            self._low = np.where(turning, np.maximum(self._low, around - np.pi), self._low)
            self._high = np.where(turning, np.minimum(self._high, around + np.pi), self._high)

    def sample(self, rng: np.random.Generator) -> FloatArray:
        """Uniform between the joint limits."""
        return rng.uniform(self._low, self._high)

    def onto(self, path: FloatArray) -> FloatArray:
        """Configurations (n, dof) moved as little as needed to lie in this space; all do."""
        return path

    def edge(self, start: FloatArray, end: FloatArray, resolution: float) -> FloatArray | None:
        """The straight line."""
        return straight(start, end, resolution)

    def blocked(self, edge: FloatArray) -> str | None:
        """Collision test, in an order that looks at the middle early."""
        hit = self.model.first_contact(edge, order=spread(len(edge)))
        if hit is None:
            return None
        text = f"{hit[1].first} with {hit[1].second}"
        self.blame[text] = self.blame.get(text, 0) + 1
        return text


def straight(start: FloatArray, end: FloatArray, resolution: float) -> FloatArray:
    """Configurations (n, dof) on a line, both ends included, no joint moving more than resolution a step."""
    n = max(int(np.ceil(np.abs(end - start).max() / resolution)), 1)
    line = start + (end - start) * np.linspace(0.0, 1.0, n + 1)[:, None]
    line[-1] = end
    return line


def spread(n: int) -> npt.NDArray[np.intp]:
    """Indices 0 to n - 1, ends first, then by halving: collisions are met early."""
    if n == 0:
        return np.zeros(0, dtype=np.intp)
    bits = max(int(np.ceil(np.log2(max(n, 2)))), 1)
    numbers = np.arange(1 << bits)
    turned = np.zeros_like(numbers)
    for k in range(bits):
        turned |= ((numbers >> k) & 1) << (bits - 1 - k)
    inner = turned[turned < n]
    return np.concatenate([[n - 1], inner[inner != n - 1]])


class _Tree:
    """Growing arrays of configurations and parents, with a linear nearest-neighbour search."""

    def __init__(self, root: FloatArray) -> None:
        self.q = np.empty((64, len(root)))
        self.parent: list[int] = [-1]
        self.q[0] = root

    def add(self, q: FloatArray, parent: int) -> int:
        n = len(self.parent)
        if n == len(self.q):
            self.q = np.concatenate([self.q, np.empty_like(self.q)])
        self.q[n] = q
        self.parent.append(parent)
        return n

    def nearest(self, q: FloatArray) -> int:
        difference = self.q[: len(self.parent)] - q
        return int(np.einsum("ij,ij->i", difference, difference).argmin())

    def branch(self, node: int) -> list[FloatArray]:
        """Configurations from the root to a node."""
        found = []
        while node >= 0:
            found.append(self.q[node].copy())
            node = self.parent[node]
        return found[::-1]


def plan(
    space: Space, start: FloatArray, goal: FloatArray, rng: np.random.Generator, config: RRTConfig | None = None
) -> FloatArray:
    """A path (n, dof) whose neighbours are at most `fine_resolution` apart and all tested.

    Raises:
        PlanningError: ``collision`` if start or goal touch something, ``timeout`` if no path was found in time.
    """
    config = config or RRTConfig()
    deadline = time.perf_counter() + config.timeout
    for name, q in (("start", start), ("goal", goal)):
        hit = space.blocked(q[None])
        if hit is not None:
            raise PlanningError("collision", f"the {name} of the motion touches something: {hit}")
    resolution = config.resolution
    while True:
        path = _direct(space, start, goal, resolution)
        if path is None:
            path, _ = draw(space, _search(space, start, goal, rng, config, resolution, deadline), resolution)
            if path is not None:
                path = shortcut(space, path, rng, config.shortcuts, resolution, deadline)
        if path is not None:
            if resolution <= config.fine_resolution:
                return path
            fine, between = draw(space, path, config.fine_resolution)
            # the coarse configurations have been tested already
            if fine is not None and between is not None and space.blocked(between) is None:
                return fine
        # something thin was stepped over: search again with smaller steps
        resolution = max(resolution / 2, config.fine_resolution)


def _search(
    space: Space,
    start: FloatArray,
    goal: FloatArray,
    rng: np.random.Generator,
    config: RRTConfig,
    resolution: float,
    deadline: float,
) -> list[FloatArray]:
    near, far = _Tree(start), _Tree(goal)
    swapped = False
    for iteration in itertools.count():
        if iteration == config.iterations or time.perf_counter() > deadline:
            limit = f"{iteration} extensions" if iteration == config.iterations else f"{config.timeout} s"
            raise PlanningError(
                "timeout",
                f"no path in {limit}, {len(near.parent) + len(far.parent)} configurations tried{_worst(space)}",
            )
        reached = _extend(space, near, space.sample(rng), config.reach, resolution)
        if reached is not None:
            target = near.q[reached].copy()
            while True:
                node = _extend(space, far, target, config.reach, resolution)
                if node is None:
                    break
                if np.array_equal(far.q[node], target):
                    path = near.branch(reached) + far.branch(node)[-2::-1]
                    return path[::-1] if swapped else path
        near, far, swapped = far, near, not swapped
    raise AssertionError("unreachable: the loop above ends by returning or raising")


def _extend(space: Space, tree: _Tree, target: FloatArray, reach: float, resolution: float) -> int | None:
    """Grow one edge towards the target; the new node, or None when blocked or when it hardly comes nearer.

    A projected edge may end elsewhere than asked; without the second condition it could creep for ever.
    """
    parent = tree.nearest(target)
    origin = tree.q[parent].copy()
    gap = target - origin
    distance = float(np.linalg.norm(gap))
    if distance == 0.0:
        return parent
    end = target if distance <= reach else origin + gap * (reach / distance)
    edge = space.edge(origin, end, resolution)
    if edge is None or float(np.linalg.norm(target - edge[-1])) > distance - PROGRESS * min(reach, distance):
        return None
    return None if space.blocked(edge[1:]) is not None else tree.add(edge[-1], parent)


def shortcut(
    space: Space, path: FloatArray, rng: np.random.Generator, attempts: int, resolution: float, deadline: float
) -> FloatArray:
    """Replace random stretches of a drawn path (n, dof) by one edge where that is free and shorter."""
    for _ in range(attempts):
        if len(path) < 3 or time.perf_counter() > deadline:
            break
        i, j = np.sort(rng.choice(len(path), 2, replace=False))
        if j - i < 2:
            continue
        edge = space.edge(path[i], path[j], resolution)
        if edge is None or length(edge) > 0.99 * length(path[i : j + 1]) or space.blocked(edge[1:-1]) is not None:
            continue
        path = np.concatenate([path[:i], edge, path[j + 1 :]])
    return path


def length(path: FloatArray) -> float:
    """Euclidean length of a path (n, dof), rad."""
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())


def _direct(space: Space, start: FloatArray, goal: FloatArray, resolution: float) -> FloatArray | None:
    """The edge (n, dof) from start to goal, if it is free: nothing is shorter."""
    edge = space.edge(start, goal, resolution)
    if edge is None or not np.array_equal(edge[-1], goal) or space.blocked(edge) is not None:
        return None
    return edge


def draw(
    space: Space, corners: Sequence[FloatArray] | FloatArray, resolution: float
) -> tuple[FloatArray, FloatArray] | tuple[None, None]:
    """The path (n, dof) through corners, and those of its configurations that are no corners.

    Returns:
        (None, None) if the space has no edge between two of the corners.
    """
    parts, between = [corners[0][None]], []
    for a, b in itertools.pairwise(corners):
        edge = space.edge(a, b, resolution)
        if edge is None:
            return None, None
        parts.append(edge[1:])
        between.append(edge[1:-1])
    return np.concatenate(parts), np.concatenate(between)


def _worst(space: Space) -> str:
    blame: dict[str, int] = getattr(space, "blame", {})
    return f"; most often in the way: {max(blame, key=lambda pair: blame[pair])}" if blame else ""
