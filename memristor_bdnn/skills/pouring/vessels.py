"""Bowls and cups: named sizes, collision slats, and lathe meshes to look at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring.context import PourContext

FloatArray = npt.NDArray[np.floating[Any]]

BOWL_WALL, CUP_WALL = 0.010, 0.005
"""Wall thickness of the nominal vessels in metres; reference code of the paper."""

BASE_LEVEL = 0.2
"""Fraction of the height at which a context's base diameter is measured; recovered from the published
pool, whose base diameters lie a fifth of the way from the bottom diameter to the top one."""

HEIGHT_LEVEL = 0.9625
"""Height in a context over the nominal height; recovered from the published pool."""

N_SLATS = 12

# Bottom diameter, top diameter, height in centimetres. Source: reference code of the paper.
BOWLS: dict[str, tuple[float, float, float]] = {
    "white": (9.7, 10.0, 5.4),
    "red": (5.9, 11.8, 5.0),
    "red_speckled": (9.4, 16.0, 5.2),
    "brown": (7.6, 13.6, 8.1),
    "yellow": (7.7, 15.4, 6.6),
    "blue_white": (7.5, 15.1, 8.5),
    "green": (8.4, 18.9, 8.0),
    "blue": (10.5, 22.3, 9.5),
    "tan": (12.3, 25.9, 10.9),
    "small_green": (5.3, 11.6, 5.2),
    "orange": (6.9, 15.4, 6.7),
    "small_blue": (7.9, 18.8, 8.1),
    "purple": (9.9, 22.2, 9.5),
    "lime": (11.9, 25.8, 11.0),
    "large_red": (13.9, 30.0, 12.5),
}
CUPS: dict[str, tuple[float, float, float]] = {
    "teal": (4.9, 6.9, 10.3),
    "orange": (4.2, 5.2, 6.0),
    "blue": (4.7, 6.0, 6.4),
    "green": (5.2, 6.4, 6.7),
    "yellow": (5.8, 7.0, 6.9),
    "red": (6.3, 7.4, 7.0),
    "purple": (6.7, 8.0, 7.2),
    "large_orange": (7.2, 8.5, 7.3),
    "olive1": (4.2, 5.6, 7.7),
    "olive2": (4.5, 6.0, 7.8),
    "olive3": (4.8, 6.4, 7.9),
    "olive4": (5.1, 6.6, 8.0),
    "blue3D": (4.9, 4.9, 4.6),
    "cyan3D": (5.4, 5.4, 5.0),
    "green3D": (5.7, 5.7, 5.4),
    "yellow3D": (6.2, 6.2, 5.7),
    "orange3D": (6.5, 6.5, 6.1),
    "red3D": (7.0, 7.0, 6.5),
}


@dataclass(frozen=True)
class Box:
    """A box in a vessel's frame: half extents (3,) m, position (3,) m, quaternion xyzw (4,)."""

    half_extents: tuple[float, float, float]
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]


@dataclass(frozen=True)
class Vessel:
    """A round vessel with straight sloping walls and a flat base.

    Attributes:
        base_diameter: outer diameter at the very bottom, metres.
        top_diameter: outer diameter at the rim, metres.
        height: metres.
        wall: thickness of wall and base, metres.
        centred: origin at the vessel's centre (cups) instead of its base on the table (bowls).
    """

    base_diameter: float
    top_diameter: float
    height: float
    wall: float
    centred: bool = False

    def __post_init__(self) -> None:
        for name in ("base_diameter", "top_diameter", "height", "wall"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"Vessel.{name} = {value!r}: expected a positive length in metres")
        if 2 * self.wall >= min(self.base_diameter, self.top_diameter) or self.wall >= self.height:
            raise ConfigError(
                f"Vessel.wall = {self.wall:g} m leaves no room inside a vessel of "
                f"{self.base_diameter:g} x {self.top_diameter:g} x {self.height:g} m"
            )

    @property
    def bottom(self) -> float:
        """Height of the underside in the vessel's own frame, metres."""
        return -self.height / 2 if self.centred else 0.0

    def outer_radius(self, level: Any) -> Any:
        """Outer radius at a height above the underside, metres; clamped to the vessel."""
        t = np.clip(np.asarray(level) / self.height, 0.0, 1.0)
        return (self.base_diameter + (self.top_diameter - self.base_diameter) * t) / 2

    @property
    def slope(self) -> float:
        """Angle of the wall from the vertical, radians; positive when it opens upwards."""
        return math.atan2((self.top_diameter - self.base_diameter) / 2, self.height)

    def inner_radius(self, level: Any) -> Any:
        """Inner radius at a height above the underside, metres."""
        return self.outer_radius(level) - self.wall / math.cos(self.slope)


def bowl_of(context: PourContext) -> Vessel:
    """The bowl of a context, origin at the centre of its base on the table."""
    base = _bottom(context.bowl_base_diameter, context.bowl_diameter)
    return Vessel(base, context.bowl_diameter, context.bowl_height, _wall(BOWL_WALL, base, context.bowl_height))


def cup_of(context: PourContext) -> Vessel:
    """The cup of a context, origin at its centre."""
    base = _bottom(context.cup_base_diameter, context.cup_diameter)
    return Vessel(
        base, context.cup_diameter, context.cup_height, _wall(CUP_WALL, base, context.cup_height), centred=True
    )


def context_of(
    bowl: str,
    cup: str,
    bowl_width: float = 1.0,
    bowl_height: float = 1.0,
    cup_width: float = 1.0,
    cup_height: float = 1.0,
) -> PourContext:
    """The context of a named bowl and cup, with scale factors on their widths and heights.

    Raises:
        ConfigError: an unknown name (lists the choices), or a size outside the encodable range.
    """
    for name, table, what in ((bowl, BOWLS, "bowl"), (cup, CUPS, "cup")):
        if name not in table:
            raise ConfigError(f"unknown {what} {name!r}: choose one of {', '.join(table)}")
    values = []
    for (bottom, top, height), width, tall in (
        (BOWLS[bowl], bowl_width, bowl_height),
        (CUPS[cup], cup_width, cup_height),
    ):
        base = bottom + BASE_LEVEL * (top - bottom)
        values += [0.01 * base * width, 0.01 * top * width, 0.01 * HEIGHT_LEVEL * height * tall]
    return PourContext(*values)


@lru_cache(maxsize=64)
def slats(vessel: Vessel, base: bool = True) -> tuple[Box, ...]:
    """Boxes that make a vessel collidable: 12 wall slats and, if wanted, 6 across the base.

    The walls' inner faces form a 12-gon of the same area as the round inner wall. Boxes overlap
    outwards only, so the inside is convex and has no gaps.

    Returns:
        Boxes in the vessel's own frame (see :class:`Vessel.centred`).
    """
    half = math.pi / N_SLATS
    apothem = math.sqrt(math.pi / (N_SLATS * math.tan(half)))  # of a 12-gon of unit-circle area
    slope, wall = vessel.slope, vessel.wall
    # Leaning slats must end at the rim and not reach below the base, or the vessel would stand higher than it says.
    length = (vessel.height - wall * math.sin(abs(slope))) / math.cos(slope)
    widest = apothem * max(vessel.top_diameter, vessel.base_diameter) / 2 * math.tan(half)
    # Centre of the slat: half way up the mid surface of the wall.
    radius = apothem * float(vessel.inner_radius(vessel.height / 2)) + wall / 2 / math.cos(slope)
    boxes = []
    for k in range(N_SLATS):
        yaw = 2 * half * k
        boxes.append(
            Box(
                (wall / 2, widest, length / 2),
                (radius * math.cos(yaw), radius * math.sin(yaw), vessel.bottom + vessel.height / 2),
                _tilted(yaw, slope),
            )
        )
    if base:
        reach = float(vessel.outer_radius(0.0)) - wall / 2
        for k in range(N_SLATS // 2):
            boxes.append(
                Box(
                    (reach, reach * math.tan(half), wall / 2),
                    (0.0, 0.0, vessel.bottom + wall / 2),
                    _tilted(2 * half * k, 0.0),
                )
            )
    return tuple(boxes)


def _tilted(yaw: float, slope: float) -> tuple[float, float, float, float]:
    """Quaternion xyzw of RotZ(yaw) * RotY(slope): leans a slat outwards."""
    cy, sy, cs, ss = math.cos(yaw / 2), math.sin(yaw / 2), math.cos(slope / 2), math.sin(slope / 2)
    return (-sy * ss, cy * ss, sy * cs, cy * cs)


def _bottom(measured: float, top: float) -> float:
    """Bottom diameter from the one measured at BASE_LEVEL."""
    return max(top - (top - measured) / (1.0 - BASE_LEVEL), 0.5 * measured)


def _wall(nominal: float, base: float, height: float) -> float:
    """Wall thickness: nominal, thinner only where the vessel is too small for it."""
    return min(nominal, 0.2 * base, 0.3 * height)
