"""How far the vessel sizes of published trials can be trusted, and trials with their bowls' sizes corrected.

The published trials scale fifteen bowls in width and height and record the scaled sizes. What happened in them
fits bowls scaled by only about half as much (in the logarithm): widened bowls miss more, narrowed ones catch more
than bowls of the recorded size would; each of the fifteen shows this trend. `docs/pouring.md` has the figures.
Worlds of our own record what they simulate and need none of this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring.context import FEATURE_NAMES, decode, rescaled
from memristor_bdnn.skills.pouring.vessels import BOWLS, HEIGHT_LEVEL

FloatArray = npt.NDArray[np.floating[Any]]

TRUST = 0.5
"""Share of a recorded bowl's scale (in the logarithm) that its trials bear out; from the published pool rows."""

# Base over top diameter as the published contexts record it: scaling a bowl leaves it alone, so it names the bowl.
PUBLISHED_SHAPES: dict[str, float] = {
    "small_blue": 0.53173,
    "green": 0.54982,
    "orange": 0.55816,
    "purple": 0.55842,
    "lime": 0.56575,
    "small_green": 0.56869,
    "blue": 0.57128,
    "large_red": 0.57321,
    "tan": 0.57678,
    "red": 0.59296,
    "yellow": 0.59719,
    "blue_white": 0.59979,
    "brown": 0.64682,
    "red_speckled": 0.67480,
    "white": 0.97969,
}
_SAME_SHAPE = 2.5e-4
_RATIOS = np.array(list(PUBLISHED_SHAPES.values()))
_NOMINAL = 0.01 * np.array([(BOWLS[name][1], HEIGHT_LEVEL * BOWLS[name][2]) for name in PUBLISHED_SHAPES])


def bowl_scales(x: FloatArray) -> FloatArray:
    """Width and height of the bowls in network inputs x (n, 11), over those of the published bowl of that shape.

    Returns:
        Shape (n, 2); NaN where no published bowl has the shape.
    """
    context = decode(np.asarray(x, dtype=float))[0]
    base, top, height = context[:, :3].T
    distance = np.abs((base / top)[:, None] - _RATIOS)
    bowl = distance.argmin(axis=1)
    scales = np.stack([top, height], axis=1) / _NOMINAL[bowl]
    scales[distance.min(axis=1) > _SAME_SHAPE] = np.nan
    return scales


def are_published(x: FloatArray) -> bool:
    """Whether network inputs (n, 11) are trials of the published bowls: nearly all have one of their shapes."""
    x = np.asarray(x, dtype=float)
    return x.ndim == 2 and x.shape[1] == len(FEATURE_NAMES) and float(np.isfinite(bowl_scales(x)).mean()) > 0.99


def corrected_sizes(x: FloatArray, trust: float = TRUST) -> FloatArray:
    """The same motions over bowls scaled by ``scale ** trust`` instead of ``scale``.

    Only the bowl changes; cup and tilt axis stay where they were in the room, so the parameters that are
    measured from the bowl change with it and may leave their ranges. Bowls of unknown shape stay as they are.

    Args:
        x: network inputs (n, 11).
        trust: 1 leaves the sizes as recorded, 0 takes all bowls unscaled.

    Returns:
        Shape (n, 11).

    Raises:
        ConfigError: trust outside [0, 1].
    """
    if not 0.0 <= trust <= 1.0:
        raise ConfigError(f"trust = {trust!r}: allowed [0, 1]")
    context, parameters = decode(np.asarray(x, dtype=float))
    factor = np.nan_to_num(bowl_scales(x), nan=1.0) ** (trust - 1.0)
    recorded, corrected = context, context.copy()
    corrected[:, :2] *= factor[:, :1]
    corrected[:, 2] *= factor[:, 1]
    moved = parameters.copy()
    moved[:, 0] *= recorded[:, 1] / corrected[:, 1]
    moved[:, 1] += recorded[:, 2] - corrected[:, 2]
    return rescaled(np.concatenate([moved, corrected], axis=1))
