"""Geometric features of a push: a change of variables in front of the network, exact functions of its inputs.

Nothing is fitted, so they cost no trial. No coefficient of friction is among them: how far an object of which
surface slides is what the labels must teach.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.skills.pushing.geometry import touch
from memristor_bdnn.skills.pushing.spaces import CONTEXT, PARAMETERS, TOLERANCE, Context, Parameters

FloatArray = npt.NDArray[np.floating[Any]]

GRAVITY = 9.81
_CLOSE = 0.01
"""Gaps smaller than this are not told apart, m."""
_SLOW, _WIDE = -5.0, 3.0
"""Where the first and the third feature end: far beyond, every push misses and a longer scale teaches nothing."""

PUSH_FEATURE_NAMES: tuple[str, ...] = ("needed_friction", "surface", "miss", "lever", "gap", "speed")


def push_features(x: FloatArray) -> FloatArray:
    """Six features of inputs x (n, 13); shape (n, 6).

    An object that slips along the fingers is pushed along the contact's normal: with its slope a against the hand's
    motion the centre gets cos(a) of the hand's speed, and what it slides on after the hand has braked must bridge the
    gap that is then left to the goal. With the contact's lever l and the object's radius of gyration k the features
    are:

    - the logarithm of the coefficient of friction with which the object would come to rest at the goal's distance;
      what surface has which coefficient is for the network to find;
    - the surface class;
    - how far from the goal, in units of the tolerance, a line passes that is turned from the hand's motion towards
      the normal by a / (1 + (l / k)^2), since an object that turns yields;
    - the size of l / k; the gap (m); the hand's speed (m/s).

    A push and its mirror image end alike, so nothing in them has a side.
    """
    x = np.asarray(x, dtype=np.float64)
    n = len(PARAMETERS)
    p = Parameters(*PARAMETERS.decode(x[:, :n]).T)
    c = Context(*CONTEXT.decode(x[:, n:]).T)
    first = touch(c, p)
    gyration = np.sqrt(np.where(c.box, (c.length**2 + c.width**2) / 12.0, c.length**2 / 8.0))
    lever = np.abs(first.lever) / gyration
    share = np.cos(first.slope)
    gap = np.maximum(c.goal_distance - p.distance * share, _CLOSE)
    needed = np.log((p.speed * share) ** 2 / (2.0 * GRAVITY * gap))
    heading = p.direction + first.slope / (1.0 + lever**2)
    miss = np.abs(c.goal_distance * np.sin(heading)) / TOLERANCE
    return np.column_stack([np.maximum(needed, _SLOW), c.surface, np.minimum(miss, _WIDE), lever, gap, p.speed])
