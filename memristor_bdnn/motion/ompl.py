"""OMPL's RRT-Connect behind the same call as ours, for comparison and for those who prefer it (extra `ompl`).

OMPL's default step of validity checks is one hundredth of the space's extent, some 0.13 rad here: only about half
of its paths pass a fine re-check. This back end therefore sets the step itself and re-checks like ours does.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError, PlanningError
from memristor_bdnn.motion.rrt import JointSpace, RRTConfig, shortcut, straight

FloatArray = npt.NDArray[np.float64]


def available() -> bool:
    """Whether OMPL's Python bindings can be imported."""
    try:
        import ompl.geometric  # noqa: F401
    except ImportError:
        return False
    return True


def plan(
    space: JointSpace,
    start: FloatArray,
    goal: FloatArray,
    rng: np.random.Generator,
    config: RRTConfig | None = None,
    *,
    default_resolution: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> FloatArray:
    """A path (n, dof) as :func:`memristor_bdnn.motion.rrt.plan` returns it, found by OMPL.

    Args:
        space: joint limits and collision model; constrained spaces are not supported.
        start: first configuration.
        goal: last configuration.
        rng: seeds the shortcuts; OMPL keeps a generator of its own.
        config: steps, shortcuts and time limit.
        default_resolution: leave OMPL's own step and skip shortcuts and re-check, as a plain user would.
        clock: what ``timeout`` is counted by, seconds; ``time.process_time`` where other work on the machine is not
            to decide.

    Raises:
        ConfigError: OMPL is not installed.
        PlanningError: ``timeout`` without a path.
    """
    config = config or RRTConfig()
    try:
        from ompl import base, geometric, util
    except ImportError as error:
        raise ConfigError("the OMPL back end needs the extra: pip install ompl") from error
    util.setLogLevel(util.LogLevel.LOG_NONE)
    low, high = space.model.arm.limits()
    deadline = clock() + config.timeout
    by_the_clock = clock is time.perf_counter
    over = None if by_the_clock else base.PlannerTerminationCondition(lambda: clock() > deadline)
    resolution = config.resolution
    while True:
        setup = _problem(
            base,
            geometric,
            space,
            start,
            goal,
            low,
            high,
            None if default_resolution else resolution / float(np.linalg.norm(high - low)),
        )
        limit = over or max(deadline - time.perf_counter(), 1e-3)
        if not setup.solve(limit) or not setup.haveExactSolutionPath():
            of_what = "" if by_the_clock else " of this process's time"
            raise PlanningError("timeout", f"OMPL found no path in {config.timeout} s{of_what}")
        found = setup.getSolutionPath()
        corners = [np.array([found.getState(i)[j] for j in range(len(low))]) for i in range(found.getStateCount())]
        path = _draw(corners, config.fine_resolution if default_resolution else resolution)
        if default_resolution:
            return path
        until = deadline if by_the_clock else time.perf_counter() + config.timeout
        path = shortcut(space, path, rng, config.shortcuts, resolution, until)
        fine = _draw(list(path), config.fine_resolution)
        if space.blocked(fine) is None:
            return fine
        resolution = max(resolution / 2, config.fine_resolution)


def _problem(
    base: Any,
    geometric: Any,
    space: JointSpace,
    start: FloatArray,
    goal: FloatArray,
    low: FloatArray,
    high: FloatArray,
    fraction: float | None,
) -> Any:
    dof = len(low)
    states = base.RealVectorStateSpace(dof)
    bounds = base.RealVectorBounds(dof)
    for i in range(dof):
        bounds.setLow(i, float(low[i]))
        bounds.setHigh(i, float(high[i]))
    states.setBounds(bounds)
    setup = geometric.SimpleSetup(states)

    def valid(state: Any) -> bool:
        return space.model.free(np.array([state[j] for j in range(dof)]))

    setup.setStateValidityChecker(valid)
    if fraction is not None:
        setup.getSpaceInformation().setStateValidityCheckingResolution(fraction)
    ends = []
    for q in (start, goal):
        state = states.allocState()
        for j in range(dof):
            state[j] = float(q[j])
        ends.append(state)
    setup.setStartAndGoalStates(*ends)
    setup.setPlanner(geometric.RRTConnect(setup.getSpaceInformation()))
    return setup


def _draw(corners: list[FloatArray], resolution: float) -> FloatArray:
    parts = [corners[0][None]]
    parts += [straight(a, b, resolution)[1:] for a, b in itertools.pairwise(corners)]
    return np.concatenate(parts)
