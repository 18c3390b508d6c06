"""Inverse kinematics behind one interface: our closed forms, or a compiled IKFast module."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.ik.base import SELF_TEST_TOLERANCE, IKSolver
from memristor_bdnn.motion.ik.ikfast import PluginIK
from memristor_bdnn.motion.ik.panda import PandaIK
from memristor_bdnn.motion.ik.srs import SphericalIK
from memristor_bdnn.motion.ik.turns import apart
from memristor_bdnn.motion.ik.ur import URIK
from memristor_bdnn.motion.kinematics import Chain, chain, invert, mounting

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
SELF_TEST_POSES = 64


def create(arm: ArmDescription) -> IKSolver:
    """The solver that the description names, after a self-test against the URDF.

    Raises:
        ConfigError: the arm's geometry is not the solver's, or the module of an IKFast arm is unusable.
    """
    solver: IKSolver
    mount = mounting(arm)
    if not np.array_equal(mount, np.eye(4)):
        standing = replace(arm, mount_height=0.0, mount_position=(0.0, 0.0), mount_rotation=(0.0, 0.0, 0.0))
        return MountedIK(create(standing), mount, chain(arm))
    if arm.ik == "panda":
        solver = PandaIK(arm, chain(arm))
    elif arm.ik == "srs":
        solver = SphericalIK(arm, chain(arm))
    elif arm.ik == "ur":
        solver = URIK(arm, chain(arm))
    else:
        solver = PluginIK(arm, chain(arm))
    self_test(arm, solver)
    return solver


class MountedIK:
    """A solver of an arm at the world's origin for the same arm mounted elsewhere; attributes as of its own."""

    def __init__(self, standing: IKSolver, mount: FloatArray, chain: Chain) -> None:
        """Mount an arm whose base link is at a pose (4, 4); chain is that of the mounted arm."""
        self._standing, self._from_world, self.chain = standing, invert(mount), chain
        self.free_range, self.branches = standing.free_range, standing.branches

    def free_of(self, q: FloatArray) -> FloatArray:
        """The free parameter of configurations (n, dof), (n,)."""
        return self._standing.free_of(q)

    def solve(self, poses: FloatArray, free: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Solutions of tool poses (n, 4, 4) in the world: q (n, branches, dof), valid (n, branches)."""
        return self._standing.solve(self._from_world @ poses, free)


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
    missed = ~(valid & (apart(q, known[:, None]) < 1e-4)).any(axis=1)
    if worst > SELF_TEST_TOLERANCE or missed.any():
        raise ConfigError(
            f"arm {arm.name!r}: IK solver {arm.ik!r} {arm.ik_module} does not fit {arm.urdf}: worst "
            f"FK(IK(x)) error {worst:.2g}, {int(missed.sum())} of {SELF_TEST_POSES} known "
            "configurations not found; check base and tool links, joint order and units"
        )
    return worst
