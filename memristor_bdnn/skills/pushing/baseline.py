"""The push that a person designs without any trial."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.skills.pushing.spaces import PARAMETERS, Context

FloatArray = npt.NDArray[np.floating[Any]]

GUESS = 0.15
"""Coefficient of friction that the person expects of any surface (assumption)."""
GRAVITY = 9.81


def guess(context: Context) -> FloatArray:
    """Straight at the goal from behind, (5,): the hand goes along as far as it may, and its speed does the rest.

    The object leaves the fingers at the hand's speed and slides v^2 / (2 mu g) on, with a guessed mu.
    """
    high = dict(zip(PARAMETERS.names, PARAMETERS.high, strict=True))
    distance = high["distance"]
    speed = math.sqrt(2.0 * GUESS * GRAVITY * (context.goal_distance - distance))
    return np.clip([0.0, 0.0, 0.0, distance, speed], PARAMETERS.low, PARAMETERS.high)
