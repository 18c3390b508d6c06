"""Everything random about one push, drawn from one seed before any physics runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pushing.spaces import (
    BOX,
    CONTEXT,
    CYLINDER,
    MASS,
    SURFACES,
    Context,
    context_of,
    draw_context,
)

FloatArray = npt.NDArray[np.floating[Any]]

PLACED = 0.0015
"""SD of where the object really stands, m: a person puts it there by eye (assumption)."""
TURNED = 0.02
"""SD of how a box is really turned, rad (assumption)."""
ROUGHNESS = 0.08
"""The true friction lies within this share of its class's coefficient (assumption)."""
FRICTION = (0.09, 0.13, 0.17)
"""Coefficient of sliding friction on the table of the surface classes 0, 1, 2; linear between (assumption)."""


@dataclass(frozen=True)
class TrialSetup:
    """One scene.

    Attributes:
        seed: it came from.
        context: as the learner sees it.
        mass: of the object, kg.
        friction: true coefficient between object and table.
        shift: of the object from its nominal place, (x, y) m.
        turn: of the object from its nominal yaw, rad.
    """

    seed: int
    context: Context
    mass: float
    friction: float
    shift: tuple[float, float]
    turn: float

    def row(self) -> FloatArray:
        """The context as a row, (8,)."""
        return np.array(self.context)


def draw(seed: int, context: FloatArray | None = None) -> TrialSetup:
    """The scene of a seed; a given context (8,) replaces only the drawn one.

    Raises:
        ConfigError: a value of the context outside its range.
    """
    rng = np.random.default_rng(seed)
    drawn = draw_context(rng)
    found = context_of(drawn if context is None else CONTEXT.check(context))
    shift = rng.normal(0.0, PLACED, 2)
    turn = float(rng.normal(0.0, TURNED))
    mass = float(rng.uniform(*MASS))
    friction = float(np.interp(found.surface, range(len(FRICTION)), FRICTION)) * float(
        rng.uniform(1 - ROUGHNESS, 1 + ROUGHNESS)
    )
    return TrialSetup(int(seed), found, mass, friction, (float(shift[0]), float(shift[1])), turn)


@dataclass(frozen=True)
class PushSetup:
    """The object and the goal of a physical set-up; a cylinder needs neither width nor yaw."""

    shape: str = option("cylinder", "shape of the object", choices=("cylinder", "box"))
    length: float = option(0.07, "edge along the box's own x axis, or the cylinder's diameter", unit="m")
    width: float = option(0.07, "edge along the box's own y axis", unit="m")
    height: float = option(0.06, "of the object", unit="m")
    yaw: float = option(0.0, "of the box from the goal's direction", unit="rad")
    surface: str = option("medium", "class of the object's underside on this table", choices=SURFACES)
    goal_distance: float = option(0.12, "from the object's centre to the goal", unit="m")
    goal_direction: float = option(0.0, "of the goal seen from the object; 0 points away from the arm", unit="rad")

    def __post_init__(self) -> None:
        """Validate; ranges are those of the context."""
        check(self)
        self.context()

    def context(self) -> FloatArray:
        """As a context, (8,); raises ConfigError outside the ranges."""
        box = self.shape == "box"
        size = (self.length, self.width if box else self.length, self.height, self.yaw if box else 0.0)
        goal = (self.goal_distance, self.goal_direction)
        try:
            return CONTEXT.check((BOX if box else CYLINDER, *size, float(SURFACES.index(self.surface)), *goal))
        except ConfigError as error:
            raise ConfigError(f"PushSetup: {error}") from error
