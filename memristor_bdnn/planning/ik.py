"""Inverse kinematics behind one interface: our closed forms, or a compiled IKFast module."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn.arms.description import ArmDescription
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.planning.kinematics import Chain, chain

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SELF_TEST_POSES = 64
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


def create(arm: ArmDescription) -> IKSolver:
    """The solver that the description names, after a self-test against the URDF.

    Raises:
        ConfigError: the arm's geometry is not the solver's, or the module of an IKFast arm is unusable.
    """
    solver: IKSolver
    if arm.ik == "panda":
        from memristor_bdnn.planning.ik_panda import PandaIK

        solver = PandaIK(arm, chain(arm))
    elif arm.ik == "srs":
        from memristor_bdnn.planning.ik_srs import SphericalIK

        solver = SphericalIK(arm, chain(arm))
    else:
        from memristor_bdnn.planning.ik_plugin import PluginIK

        solver = PluginIK(arm, chain(arm))
    self_test(arm, solver)
    return solver


def self_test(arm: ArmDescription, solver: IKSolver) -> float:
    """Check FK(IK(x)) = x and that the known configuration is among the solutions; returns the worst error.

    Raises:
        ConfigError: an error above 1e-6 (m or matrix entries), or a known solution that is not found.
    """
    low, high = arm.limits()
    rng = np.random.default_rng(0)
    known = rng.uniform(low + 0.05 * (high - low), high - 0.05 * (high - low), (SELF_TEST_POSES, arm.dof))
    poses = solver.chain.fk(known)
    q, valid = solver.solve(poses, solver.free_of(known))
    errors = np.abs(solver.chain.fk(q[valid]) - np.repeat(poses, valid.sum(axis=1), axis=0))
    worst = float(errors.max()) if errors.size else np.inf
    missed = ~(np.abs(q - known[:, None]).max(axis=-1) < 1e-4).any(axis=1)
    if worst > SELF_TEST_TOLERANCE or missed.any():
        raise ConfigError(
            f"arm {arm.name!r}: IK solver {arm.ik!r} {arm.ik_module} does not fit {arm.urdf}: worst "
            f"FK(IK(x)) error {worst:.2g}, {int(missed.sum())} of {SELF_TEST_POSES} known "
            "configurations not found; check base and tool links, joint order and units"
        )
    return worst


def wrap_into_limits(q: FloatArray, low: FloatArray, high: FloatArray, slack: float = 1e-9) -> BoolArray:
    """Turn angles (..., dof) by full circles into the limits, in place; returns which configurations fit."""
    shifted = low - slack
    q -= shifted
    q -= np.floor(q * (1 / (2 * np.pi))) * (2 * np.pi)
    q += shifted
    with np.errstate(invalid="ignore"):
        inside = (q <= high + slack).all(axis=-1)
    np.clip(q, low, high, out=q)
    return np.asarray(inside)
