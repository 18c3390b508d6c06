"""Plain shapes of a scene or a planned motion, for whoever draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
KINDS = ("box", "cylinder", "sphere", "line", "spheres")


@dataclass(frozen=True, eq=False)
class Shape:
    """One shape in the world frame.

    Attributes:
        name: what it is; shapes of one name are numbered in order.
        kind: one of :data:`KINDS`.
        pose: of its centre, (4, 4); the identity for a line and for spheres.
        size: extents along x, y, z, m; of a line (width, 0, 0); of every one of many spheres.
        colour: red, green, blue, opacity in [0, 1].
        points: of a line, or the centres of spheres of one size, (n, 3) m; None otherwise.
    """

    name: str
    kind: str
    pose: FloatArray
    size: tuple[float, float, float]
    colour: tuple[float, float, float, float]
    points: FloatArray | None = None
