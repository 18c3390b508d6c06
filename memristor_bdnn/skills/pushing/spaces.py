"""What a push is given, chooses and measures, and how its outcome is scored."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.spaces import Dimension, Space

FloatArray = npt.NDArray[np.floating[Any]]

TOLERANCE = 0.03
"""Radius of the goal region: a push succeeds when the object's centre comes to rest nearer than this, m."""
MASS = (0.15, 0.8)
"""Mass of the object, drawn from the seed and seen by nobody, kg. A stiff hand hardly feels it."""
SURFACES = ("smooth", "medium", "rough")
"""Names of the surface classes 0, 1, 2. Nobody is told a coefficient of friction: learning it is part of the skill."""

CYLINDER, BOX = -1.0, 1.0

CONTEXT = Space(
    (
        Dimension("shape", "", CYLINDER, BOX, "below 0 a cylinder on its base, from 0 on a box"),
        Dimension("length", "m", 0.05, 0.10, "edge of the box along its own x axis, or the cylinder's diameter"),
        Dimension("width", "m", 0.05, 0.10, "edge along its own y axis; of a cylinder the diameter again"),
        Dimension("height", "m", 0.04, 0.09, "above the table"),
        Dimension("yaw", "rad", -0.3, 0.3, "of the box from the goal's direction; 0 for a cylinder"),
        Dimension("surface", "", 0.0, 2.0, "class of the object's underside: 0 smooth, 1 medium, 2 rough"),
        Dimension("goal_distance", "m", 0.08, 0.18, "from the object's centre to the goal"),
        Dimension("goal_direction", "rad", -1.5, 1.5, "of the goal seen from the object; 0 points away from the arm"),
    ),
    "context",
)

PARAMETERS = Space(
    (
        Dimension("direction", "rad", -0.3, 0.3, "of the hand's motion, from the goal's direction"),
        Dimension("side", "rad", -0.5, 0.5, "where the fingers' face looks, from the goal's direction"),
        Dimension("offset", "m", -0.025, 0.025, "of the hand's line from the object's centre, to the left"),
        Dimension("distance", "m", 0.01, 0.06, "from the touch to where the hand begins to brake"),
        Dimension("speed", "m/s", 0.15, 0.6, "of the hand from the touch until it brakes"),
    ),
    "parameters",
)

MEASURES = Space(
    (
        Dimension("distance", "m", 0.0, 2.0, "from the object's centre at rest to the goal; decides the score"),
        Dimension("moved_x", "m", -2.0, 2.0, "displacement of the centre away from the arm"),
        Dimension("moved_y", "m", -2.0, 2.0, "displacement of the centre to the arm's left"),
        Dimension("rotation", "rad", -math.pi, math.pi, "of the object about the vertical"),
        Dimension("toppled", "", 0.0, 1.0, "1 when the object no longer stands on its base"),
    ),
    "measures",
)


class Context(NamedTuple):
    """A context by name: numbers, or columns (n,) of many."""

    shape: Any
    length: Any
    width: Any
    height: Any
    yaw: Any
    surface: Any
    goal_distance: Any
    goal_direction: Any

    @property
    def box(self) -> Any:
        """Whether it is a box rather than a cylinder."""
        return self.shape >= 0.0


class Parameters(NamedTuple):
    """Control parameters by name: numbers, or columns (n,) of many."""

    direction: Any
    side: Any
    offset: Any
    distance: Any
    speed: Any


def context_of(row: FloatArray) -> Context:
    """A context (8,) by name; raises ConfigError outside the ranges."""
    return Context(*CONTEXT.check(row).tolist())


def parameters_of(row: FloatArray) -> Parameters:
    """Control parameters (5,) by name; raises ConfigError outside the ranges."""
    return Parameters(*PARAMETERS.check(row).tolist())


def draw_context(rng: np.random.Generator) -> FloatArray:
    """A random object and goal, (8,): boxes and cylinders alike often, one of the surface classes."""
    row = CONTEXT.sample(1, rng)[0]
    names = list(CONTEXT.names)
    row[names.index("shape")] = rng.choice((CYLINDER, BOX))
    row[names.index("surface")] = rng.integers(len(SURFACES))
    if row[0] < 0.0:
        row[names.index("width")] = row[names.index("length")]
        row[names.index("yaw")] = 0.0
    return row


def score_of(distance: float) -> float:
    """Score in [-1, 1] of a final distance (m): (t^2 - d^2) / (t^2 + d^2) with the tolerance t.

    1 on the goal, 0 at the tolerance, towards -1 far away; steepest at the tolerance, so that a learner sees most
    where the answer turns, and never flat, so that a miss by 5 cm still differs from one by 20 cm.

    Raises:
        ConfigError: negative or no number.
    """
    if not (math.isfinite(distance) and distance >= 0.0):
        raise ConfigError(f"measures: distance = {distance} m: expected a finite number, at least 0")
    return (TOLERANCE**2 - distance**2) / (TOLERANCE**2 + distance**2)


def distance_of(fraction: float) -> float:
    """Final distance (m) of a push that did so much of the task, in [0, 1]: the inverse of (score + 1) / 2."""
    return TOLERANCE * math.sqrt(1.0 / min(max(fraction, 1e-6), 1.0) - 1.0)
