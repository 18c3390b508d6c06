"""Configurations that differ by full turns of a joint are one posture: told apart only where a path is made of them.

A solver gives each posture once. A joint that can turn further than a full circle (*wide*) has room for several
values of it; which one counts is decided by what lies before and after.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

TURN = 2 * np.pi


def wide(low: FloatArray, high: FloatArray) -> BoolArray:
    """Which joints (dof,) have a range of a full turn or more."""
    return np.asarray(high - low >= TURN)


def apart(a: FloatArray, b: FloatArray) -> FloatArray:
    """Largest joint difference (...) in rad between configurations (..., dof), full turns not counted."""
    difference = np.abs(a - b)
    return np.asarray(np.abs(difference - TURN * np.round(difference / TURN)).max(axis=-1))


def towards(q: FloatArray, guide: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Configurations (..., dof) with their wide joints turned as near to a guide (..., dof) as the limits allow."""
    turning = wide(low, high)
    if not turning.any():
        return q
    with np.errstate(invalid="ignore"):  # what is no solution may be nan
        moved = q + np.where(turning, TURN * np.round((guide - q) / TURN), 0.0)
        moved = np.where(moved > high, moved - TURN, np.where(moved < low, moved + TURN, moved))
        return np.asarray(np.where((moved >= low) & (moved <= high), moved, q))


def unwrapped(path: FloatArray, low: FloatArray, high: FloatArray, near: FloatArray) -> tuple[FloatArray, BoolArray]:
    """A path (n, ..., dof) whose wide joints run on instead of jumping by a turn, begun as near to a point as it fits.

    Args:
        path: neighbours along the first axis belong together.
        low: lower limits (dof,), rad.
        high: upper limits (dof,), rad.
        near: configuration (dof,) that the path's first one should be near to.

    Returns:
        the path, and which of its configurations (n, ...) lie within the limits.
    """
    turning = wide(low, high)
    if not turning.any():
        return path, np.ones(path.shape[:-1], dtype=bool)
    with np.errstate(invalid="ignore"):  # what is no solution may be nan
        return _run(path, low, high, near, turning)


def _run(
    path: FloatArray, low: FloatArray, high: FloatArray, near: FloatArray, turning: BoolArray
) -> tuple[FloatArray, BoolArray]:
    run = np.where(turning, np.unwrap(path, axis=0), path)
    least, most = run.min(axis=0), run.max(axis=0)
    lowest = np.ceil((low - least) / TURN - 1e-12)
    highest = np.floor((high - most) / TURN + 1e-12)
    wanted = np.round((near - run[0]) / TURN)
    # where no whole number of turns brings all of it within the limits, lowest > highest: the middle is as good as any
    turns = np.where(lowest <= highest, np.clip(wanted, lowest, highest), np.round((lowest + highest) / 2))
    run = run + np.where(turning, TURN * turns, 0.0)
    inside = ((run >= low - 1e-9) & (run <= high + 1e-9)) | ~turning
    return np.where(turning, np.clip(run, low, high), run), np.asarray(inside.all(axis=-1))
