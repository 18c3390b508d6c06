"""Everything random about one trial, drawn from one seed: vessels, beads, masses, frictions, fill level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring.context import PourContext
from memristor_bdnn.skills.pouring.vessels import BOWLS, CUPS, Vessel, bowl_of, context_of, cup_of

FloatArray = npt.NDArray[np.floating[Any]]

N_OFFERED = 100
MIN_BEADS = 10
BOWL_DENSITY, CUP_MASS_KG = 1000.0, 0.05
"""Bowl shell in kg/m^3 (assumption) and nominal mass of the held cup (0.05 kg holds well on a constraint)."""


@dataclass(frozen=True)
class Surface:
    """Contact properties of one body, in the simulator's units."""

    lateral_friction: float
    spinning_friction: float
    rolling_friction: float
    restitution: float
    linear_damping: float
    angular_damping: float


@dataclass(frozen=True)
class TrialSetup:
    """One randomised scene.

    Attributes:
        seed: the seed all of it came from.
        context: sizes of the bowl and the cup.
        bowl_name, cup_name: named vessels the sizes were drawn from (colours only, when the context
            was given from outside).
        bowl_mass, cup_mass: kg.
        bowl_yaw: rotation of the bowl's slats about its axis, radians.
        fill: fraction of the cup's height that is filled.
        radii, masses: of the beads actually in the cup, (n,) m and kg.
        positions: bead centres in the cup's frame, (n, 3) m.
        bowl_surface, cup_surface: contact properties.
        bead_surfaces: (n, 6), columns as the fields of :class:`Surface`.
    """

    seed: int
    context: PourContext
    bowl_name: str
    cup_name: str
    bowl_mass: float
    cup_mass: float
    bowl_yaw: float
    fill: float
    radii: FloatArray
    masses: FloatArray
    positions: FloatArray
    bowl_surface: Surface
    cup_surface: Surface
    bead_surfaces: FloatArray


def draw_context(rng: np.random.Generator) -> tuple[PourContext, str, str]:
    """A random bowl/cup pair as in the reference code: named vessels with scaled widths and heights.

    Bowl width and height x (0.6, 1.4), cup width x (0.8, 1.2), cup height x (1.0, 1.2), truncated to the
    range the network's inputs can express.

    Returns:
        The context, the bowl's and the cup's name.
    """
    for _ in range(1000):
        bowl, cup = str(rng.choice(list(BOWLS))), str(rng.choice(list(CUPS)))
        scales = rng.uniform([0.6, 0.6, 0.8, 1.0], [1.4, 1.4, 1.2, 1.2])
        try:
            return context_of(bowl, cup, *scales.tolist()), bowl, cup
        except ConfigError:
            continue
    raise AssertionError("unreachable: most vessel sizes lie inside the ranges")


def draw(seed: int, context: PourContext | None = None) -> TrialSetup:
    """All of POURING's randomisation from one seed; a given context replaces only the drawn sizes."""
    rng = np.random.default_rng(seed)
    drawn, bowl_name, cup_name = draw_context(rng)
    if context is None:
        context = drawn
    bowl_mass = _shell_volume(bowl_of(context)) * BOWL_DENSITY * rng.uniform(0.6, 1.4)
    cup_mass = CUP_MASS_KG * rng.uniform(0.8, 1.2)
    fill, yaw = rng.uniform(0.75, 1.0), rng.uniform(0, 2 * math.pi)
    vessels = _surfaces(rng, 2, restitution=0.7)
    beads = _surfaces(rng, N_OFFERED, restitution=0.8)
    radii = np.maximum(rng.normal(0.006, 0.001, N_OFFERED), 0.004)
    masses = np.maximum(rng.normal(1.0e-3, 0.2e-3, N_OFFERED), 0.5e-3)
    positions = fill_cup(cup_of(context), radii, fill, rng)
    n = len(positions)
    return TrialSetup(
        seed,
        context,
        bowl_name,
        cup_name,
        bowl_mass,
        cup_mass,
        yaw,
        fill,
        radii[:n],
        masses[:n],
        positions,
        Surface(*vessels[0].tolist()),
        Surface(*vessels[1].tolist()),
        beads[:n],
    )


def fill_cup(cup: Vessel, radii: FloatArray, fill: float, rng: np.random.Generator, tries: int = 48) -> FloatArray:
    """Drop beads one after the other to the lowest of some random places, until the cup is filled.

    Args:
        cup: a vessel.
        radii: beads offered, (n,) m.
        fill: fraction of the cup's height to fill.
        tries: random places looked at for each bead.

    Returns:
        Centres of the beads that fit, (k, 3) m in the cup's frame, at least MIN_BEADS of them.
    """
    lean = math.cos(cup.slope)
    base, rise = float(cup.inner_radius(0.0)), math.tan(cup.slope)
    placed = np.empty((0, 3))
    for k, r in enumerate(radii):
        widest = float(cup.inner_radius(cup.height)) - r / lean
        rho = max(widest, 1e-3) * np.sqrt(rng.random(tries))
        angle = rng.uniform(0, 2 * math.pi, tries)
        x, y = rho * np.cos(angle), rho * np.sin(angle)
        z = np.full(tries, cup.wall + r)
        if rise > 1e-6:
            z = np.maximum(z, (rho + r / lean - base) / rise)
        if k:
            reach = radii[:k] + r
            gap = reach**2 - (x[:, None] - placed[:, 0]) ** 2 - (y[:, None] - placed[:, 1]) ** 2
            on_top = np.where(gap > 0, placed[:, 2] + np.sqrt(np.maximum(gap, 0)), 0.0)
            z = np.maximum(z, on_top.max(axis=1))
        best = int(np.argmin(z))
        if z[best] + r > fill * cup.height and k >= MIN_BEADS:
            break
        placed = np.vstack([placed, [x[best], y[best], z[best]]])
    return placed + np.array([0.0, 0.0, cup.bottom])


def _surfaces(rng: np.random.Generator, n: int, restitution: float) -> FloatArray:
    """Contact properties (n, 6) of n bodies; source: reference code of the paper."""
    spin = rng.normal(0.001, 0.0005, (n, 2))
    damping = rng.normal(0.04, 0.01, (n, 2))
    return np.column_stack(
        [
            np.maximum(rng.normal(0.5, 0.1, n), 0.0),
            np.maximum(spin, 0.0),
            np.clip(rng.normal(restitution, 0.1, n), 0.0, 1.0),
            np.clip(damping, 0.0, 1.0),
        ]
    )


def _shell_volume(v: Vessel) -> float:
    """Volume of wall and base, cubic metres (thin shell)."""
    a, b = v.base_diameter / 2, v.top_diameter / 2
    return v.wall * (math.pi * (a + b) * math.hypot(v.height, b - a) + math.pi * a * a)
