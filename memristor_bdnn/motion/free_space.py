"""Planners of the ways through free space by name: our own RRT-Connect, or one outside of this process.

A skill plans what it is about (the tilt, the push) itself; how the arm gets there and back is asked of a planner. What
comes from outside is looked at here before anything is made of it: names, numbers, ends, limits and every contact.
Plugins are classes found under the entry-point group ``memristor_bdnn.planners``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError, PlanningError
from memristor_bdnn.motion import rrt
from memristor_bdnn.motion.rrt import JointSpace, RRTConfig
from memristor_bdnn.registry import Registry

FloatArray = npt.NDArray[np.float64]

BUILT_IN = {"own": "memristor_bdnn.motion.free_space:Own", "moveit": "memristor_bdnn.nodes.moveit:MoveIt"}
MOST_POINTS = 10_000
"""Points of a path from outside at most; planners send some tens."""
ENDS_TOLERANCE = 1e-3
"""How far (rad) a path from outside may begin from the start, and end from the goal; both are then put in its place."""
LIMIT_TOLERANCE = 1e-6
"""How far (rad) it may be beyond a limit and count as on it: sums of decimals."""
STRAY = 0.3
"""How far (rad) a joint may be moved to put a configuration from outside upright."""


class PlannerFault(PlanningError):
    """A planner that does not answer, or whose answers mean nothing: another attempt would end alike."""


@dataclass(frozen=True)
class NoOptions:
    """A planner without options."""


class FreeSpacePlanner(Protocol):
    """Finds ways through free space.

    Attributes:
        options: option dataclass; the node declares its fields as ``<name of the planner>.<field>``.
    """

    options: ClassVar[type[Any]]

    def plan(
        self, space: JointSpace, start: FloatArray, goal: FloatArray, rng: np.random.Generator, config: RRTConfig
    ) -> FloatArray:
        """A path (n, dof) whose neighbours are at most ``config.resolution`` apart and all tested.

        Args:
            space: joint limits and collision world; ``space.upright`` says which axis must stay vertical.
            start: first configuration (dof,), rad.
            goal: last configuration (dof,), rad.
            rng: of everything random in this process.
            config: steps, and limits of the search.

        Raises:
            PlanningError: no path for this start and goal.
            PlannerFault: none for any.
        """

    def close(self) -> None:
        """Leave; safe to call twice."""


class Own:
    """RRT-Connect in this process; the same seed gives the same path."""

    options: ClassVar[type[Any]] = NoOptions

    def __init__(self, options: Any = None, node: Any = None) -> None:
        """Args are those of every planner: its options, and the ROS node that plans, None without ROS."""

    def plan(
        self, space: JointSpace, start: FloatArray, goal: FloatArray, rng: np.random.Generator, config: RRTConfig
    ) -> FloatArray:
        """See :func:`memristor_bdnn.motion.rrt.plan`."""
        return rrt.plan(space, start, goal, rng, config)

    def close(self) -> None:
        """Nothing to leave."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A path as a planner outside gives it: anything may be wrong with it.

    Attributes:
        source: who answered, for errors.
        names: of the joints.
        positions: a row of values (rad) for every point, one for each name.
    """

    source: str
    names: Sequence[str]
    positions: Sequence[Sequence[float]]


def admitted(answer: Answer, space: JointSpace, start: FloatArray, goal: FloatArray, config: RRTConfig) -> FloatArray:
    """The path (n, dof) of an answer from outside, drawn as ours are, once nothing is wrong with it.

    Raises:
        PlannerFault: reason ``failed`` for other joints, values that are no finite numbers, other ends than asked for.
        PlanningError: ``joint_limits``, ``collision`` (naming the bodies), or ``failed`` if the held body tilts.
    """
    path = _in_order(answer, space.model.arm.joint_names)
    for what, end, wanted in (("starts", path[0], start), ("ends", path[-1], goal)):
        off = np.abs(end - wanted)
        if off.max() > ENDS_TOLERANCE:
            joint = int(off.argmax())
            raise PlannerFault(
                "failed",
                f"the path of {answer.source} {what} at {end[joint]:.4f} rad of {space.model.arm.joint_names[joint]}, "
                f"asked for was {wanted[joint]:.4f} (allowed {ENDS_TOLERANCE} rad off)",
            )
    path = _within_limits(answer.source, space, path)
    upright = space.onto(path)
    moved = np.abs(upright - path).max(axis=1)
    if not (moved <= STRAY).all():  # nan does not pass either
        raise PlanningError(
            "failed",
            f"the path of {answer.source} does not keep upright what is held at point "
            f"{int(np.flatnonzero(~(moved <= STRAY))[0])} of {len(path)}",
        )
    corners = [start, *upright[1:-1], goal]
    drawn, _ = rrt.draw(space, corners, config.resolution)
    if drawn is None:
        raise PlanningError("failed", f"what is held cannot stay upright between two points of {answer.source}'s path")
    hit = space.blocked(drawn)
    if hit is not None:
        raise PlanningError("collision", f"the path of {answer.source} collides: {hit}")
    return drawn


def _in_order(answer: Answer, names: tuple[str, ...]) -> FloatArray:
    """The points (n, dof), n at least 2, in the order of our joints."""
    if sorted(answer.names) != sorted(names):
        raise PlannerFault(
            "failed",
            f"the path of {answer.source} moves the joints {_listed(answer.names)}; expected {_listed(names)}",
        )
    n = len(answer.positions)
    if not 1 <= n <= MOST_POINTS:
        raise PlannerFault("failed", f"the path of {answer.source} has {n} points; allowed 1 to {MOST_POINTS}")
    for i, row in enumerate(answer.positions):
        if len(row) != len(names):
            raise PlannerFault(
                "failed",
                f"the path of {answer.source} has {len(row)} positions at point {i}; expected {len(names)}",
            )
    path = np.array(answer.positions, dtype=np.float64)
    if not np.isfinite(path).all():
        i, joint = np.argwhere(~np.isfinite(path))[0]
        raise PlannerFault(
            "failed", f"the path of {answer.source}: {answer.names[joint]} = {path[i, joint]} at point {i} of {n}"
        )
    path = path[:, [list(answer.names).index(name) for name in names]]
    return np.repeat(path, 2, axis=0) if n == 1 else path


def _within_limits(source: str, space: JointSpace, path: FloatArray) -> FloatArray:
    """The path, put inside the limits where it is beyond them by no more than LIMIT_TOLERANCE."""
    low, high = space.model.arm.limits()
    beyond = np.maximum(low - path, path - high)
    if beyond.max() > LIMIT_TOLERANCE:
        i, joint = np.unravel_index(int(beyond.argmax()), beyond.shape)
        raise PlanningError(
            "joint_limits",
            f"the path of {source}: {space.model.arm.joint_names[joint]} = {path[i, joint]:.4f} rad at point {i} is "
            f"outside [{low[joint]}, {high[joint]}]",
        )
    return np.clip(path, low, high)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(str(name)[:80] for name in names[:20]) or "none"


def _check(name: str, plugin: Any) -> None:
    """Refuse what is no class with options, plan and close."""
    missing = [part for part in ("options", "plan", "close") if not hasattr(plugin, part)]
    if not isinstance(plugin, type) or missing:
        lacks = f"lacks {', '.join(missing)}" if missing else "is no class"
        raise ConfigError(f"planner {name!r}: {plugin!r} {lacks} (memristor_bdnn.motion.free_space.FreeSpacePlanner)")


REGISTRY = Registry("planner", BUILT_IN, _check)
names, available = REGISTRY.names, REGISTRY.available


def load(name: str) -> Any:
    """The class of a planner by name.

    Raises:
        ConfigError: unknown (with the choices), given twice, cannot be imported, or is no planner.
    """
    return REGISTRY.load(name)


def create(name: str, options: Any = None, node: Any = None) -> FreeSpacePlanner:
    """A planner by name.

    Args:
        name: one of :func:`names`.
        options: an instance of the planner's ``options``; its defaults when left out.
        node: the ROS node that plans; None without ROS.

    Raises:
        ConfigError: as :func:`load`, or the planner cannot be used here, with the reason.
    """
    plugin = load(name)
    return cast(FreeSpacePlanner, plugin(plugin.options() if options is None else options, node))
