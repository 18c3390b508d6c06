"""What an inverse kinematics solver offers, and what all of ours share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.kinematics import Chain

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SELF_TEST_TOLERANCE = 1e-6


class IKSolver(Protocol):
    """All configurations that reach a pose, given one free parameter.

    Attributes:
        free_range: lowest and highest value of the free parameter.
        branches: the most solutions that one pose and one free value can have.
        chain: the forward kinematics that the solutions satisfy.
    """

    free_range: tuple[float, float]
    branches: int
    chain: Chain

    def solve(self, poses: FloatArray, free: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Solutions of tool poses (n, 4, 4) with free values (n,).

        Returns:
            q (n, branches, dof), inside the joint limits where valid; valid (n, branches).
        """

    def free_of(self, q: FloatArray) -> FloatArray:
        """The free parameter of configurations (n, dof), (n,)."""


def free_values(solver: IKSolver, n: int, ends: bool = True) -> FloatArray:
    """n values over the range of the free parameter; one for a solver that has none: copies would help nobody.

    Args:
        solver: whose parameter.
        n: how many.
        ends: False leaves the two ends of the range out.
    """
    low, high = solver.free_range
    if high <= low:
        return np.array([low])
    values = np.linspace(low, high, n)
    return values if ends else values[1:-1]


def wrap_into_limits(q: FloatArray, low: FloatArray, high: FloatArray, slack: float = 1e-9) -> BoolArray:
    """Turn angles (..., dof) by full circles into the limits, in place; returns which configurations fit.

    A joint with room for several turns is put within half a turn of the middle of its range.
    """
    shifted = np.maximum(low, (low + high) / 2 - np.pi) - slack
    q -= shifted
    q -= np.floor(q * (1 / (2 * np.pi))) * (2 * np.pi)
    q += shifted
    with np.errstate(invalid="ignore"):
        inside = (q <= high + slack).all(axis=-1)
    np.clip(q, low, high, out=q)
    return np.asarray(inside)


def solved(
    kernel: Callable[..., None], constants: bytes, poses: FloatArray, free: FloatArray, dof: int
) -> tuple[FloatArray, BoolArray]:
    """What a compiled solver of eight branches says of poses (n, 4, 4) and free values (n,).

    Args:
        kernel: of :mod:`memristor_bdnn.native`.
        constants: the arm, as the kernel wants it.
        poses: as of :meth:`IKSolver.solve`.
        free: likewise.
        dof: joints of the arm.
    """
    n = len(poses)
    q, valid = np.empty((n, 8, dof)), np.empty((n, 8), np.bool_)
    try:
        kernel(constants, poses, free, q, valid)
    except (TypeError, BufferError):  # of another type, or no arrays
        kernel(constants, np.asarray(poses, np.float64), np.asarray(free, np.float64), q, valid)
    return q, valid
