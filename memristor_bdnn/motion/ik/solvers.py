"""Inverse kinematics behind one interface: our closed forms, or a compiled IKFast module."""

from __future__ import annotations

import numpy as np

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.ik.base import SELF_TEST_TOLERANCE, IKSolver
from memristor_bdnn.motion.ik.ikfast import PluginIK
from memristor_bdnn.motion.ik.panda import PandaIK
from memristor_bdnn.motion.ik.srs import SphericalIK
from memristor_bdnn.motion.kinematics import chain

SELF_TEST_POSES = 64


def create(arm: ArmDescription) -> IKSolver:
    """The solver that the description names, after a self-test against the URDF.

    Raises:
        ConfigError: the arm's geometry is not the solver's, or the module of an IKFast arm is unusable.
    """
    solver: IKSolver
    if arm.ik == "panda":
        solver = PandaIK(arm, chain(arm))
    elif arm.ik == "srs":
        solver = SphericalIK(arm, chain(arm))
    else:
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
