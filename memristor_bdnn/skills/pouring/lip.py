"""Where the cup's lip is while it pours: a change of variables that a learner may use as its inputs.

The 11 published inputs say where the pivot is, in units of bowl and cup; whether beads land in the
bowl depends on where the lip passes over the bowl. These features are exact functions of the same
11 inputs (vessel geometry and rigid motion, nothing fitted), so they cost no trial.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.skills.pouring.context import decode

FloatArray = npt.NDArray[np.floating[Any]]

# Pitches at which the lip is looked at: beads leave a full cup from about -60 degrees on.
_PITCHES = (-math.pi / 4, -math.pi / 3, -math.pi / 2, -2 * math.pi / 3, -5 * math.pi / 6)

LIP_FEATURE_NAMES: tuple[str, ...] = (
    "lip_x_60",
    "lip_x_90",
    "lip_x_150",
    "lip_x_final",
    "lip_z_90",
    "lip_z_final",
    "upper_lip_x_final",
    "smallest_margin",
    "mean_margin",
    "cup_per_bowl_diameter",
    "log_volume_ratio",
    "cup_slenderness",
    "final_wall_slope",
)


def lip_features(x: FloatArray) -> FloatArray:
    """Thirteen geometric features of inputs x (n, 11); shape (n, 13).

    Positions are of the pouring lip, relative to the centre of the bowl's rim and in units of the rim's
    radius, when the cup has tilted by 60, 90, 150 degrees (or its final pitch, if that is less) and at its
    end. A margin is 1 - |lip x|, positive over the bowl; its smallest value and mean are taken over the
    tilt from 60 degrees on. The last feature is the final slope of the cup's lower wall below the
    horizontal, radians: beads slide out when it is steep.
    """
    context, parameters = decode(np.asarray(x, dtype=np.float64))
    bowl_x, bowl_z, cup_x, cup_z, pitch = parameters.T
    _, bowl_top, bowl_height, cup_base, cup_top, cup_height = context.T
    radius = bowl_top / 2

    def lip(angle: FloatArray, side: float) -> tuple[FloatArray, FloatArray]:
        c, s = np.cos(angle), np.sin(angle)
        dx = side * cup_top / 2 - cup_x * cup_top
        dz = cup_height / 2 - cup_z * cup_height
        return (bowl_x * bowl_top + c * dx + s * dz) / radius, (bowl_z - s * dx + c * dz) / radius

    path = [lip(np.maximum(angle, pitch), -1.0) for angle in _PITCHES] + [lip(pitch, -1.0)]
    lip_x, lip_z = (np.array(values) for values in zip(*path, strict=True))
    margin = 1.0 - np.abs(lip_x[1:])
    volume = np.log(bowl_top**2 * bowl_height / (cup_top**2 * cup_height))
    slope = -pitch - math.pi / 2 - np.arctan2((cup_top - cup_base) / 2, cup_height)
    return np.column_stack(
        [
            lip_x[1],
            lip_x[2],
            lip_x[4],
            lip_x[5],
            lip_z[2],
            lip_z[5],
            lip(pitch, 1.0)[0],
            margin.min(axis=0),
            margin.mean(axis=0),
            cup_top / bowl_top,
            volume,
            cup_height / bowl_top,
            slope,
        ]
    )


def lip_and_inputs(x: FloatArray) -> FloatArray:
    """The 11 inputs followed by their :func:`lip_features`; shape (n, 24)."""
    return np.column_stack([x, lip_features(x)])
