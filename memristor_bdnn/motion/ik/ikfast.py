"""Inverse kinematics by a compiled IKFast module of the user's, behind the same interface as our own solvers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import build, check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.ik.base import SELF_TEST_TOLERANCE, wrap_into_limits
from memristor_bdnn.motion.kinematics import Chain, chain, invert

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PluginOptions:
    """What an IKFast module calls things; `ik_options` of an arm description."""

    get_ik: str = option("get_ik", "function (rotation, translation, free values) -> lists of joints or None")
    get_fk: str = option("get_fk", "function (joints) -> [translation, rotation]")
    base_link: str = option("", "link the module's poses are given in; empty: the arm's base link")
    tool_link: str = option("", "link whose pose the module solves; empty: the arm's tool link")
    joint_order: tuple[str, ...] = option((), "joint names in the module's order; empty: the arm's order")
    free_joint: str = option("", "the joint that is a free parameter; empty: the module has none (six joints)")
    branches: int = option(16, "most solutions kept for one pose and free value", low=1, high=256)

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


class PluginIK:
    """An importable module with `get_ik` and `get_fk` as an :class:`~memristor_bdnn.motion.ik.solvers.IKSolver`.

    Attributes:
        free_range: limits of the free joint, or (0, 0) if there is none.
        branches: rows of the answer; a module that finds more solutions is cut.
        chain: forward kinematics from the URDF.
    """

    def __init__(self, arm: ArmDescription, own: Chain) -> None:
        """Import the module and compare its forward kinematics with the URDF.

        Raises:
            ConfigError: the module or a function cannot be imported, a joint name is unknown, or the module's
                forward kinematics is not the arm's.
        """
        options = build(PluginOptions, arm.ik_options)
        self.chain, self.branches = own, options.branches
        self._low, self._high = arm.limits()
        self._ik, self._fk = _functions(arm, options)
        order = options.joint_order or arm.joint_names
        if sorted(order) != sorted(arm.joint_names):
            raise ConfigError(f"arm {arm.name!r}: joint_order {order} must name each of {arm.joint_names} once")
        self._order = [arm.joint_names.index(name) for name in order]
        if options.free_joint and options.free_joint not in arm.joint_names:
            raise ConfigError(f"arm {arm.name!r}: free_joint {options.free_joint!r} is none of {arm.joint_names}")
        self._free = arm.joint_names.index(options.free_joint) if options.free_joint else None
        self.free_range = (
            (0.0, 0.0) if self._free is None else (float(self._low[self._free]), float(self._high[self._free]))
        )
        theirs = chain(
            replace(
                arm,
                base_link=options.base_link or arm.base_link,
                tool_link=options.tool_link or arm.tool_link,
                tool_offset=(0.0, 0.0, 0.0),
            )
        )
        zero = np.zeros(arm.dof)
        # both ends differ only by fixed joints: T_own = before @ T_theirs @ after
        self._before = own.origins[0] @ invert(theirs.origins[0])
        self._after = invert(self._before @ theirs.fk(zero)) @ own.fk(zero)
        self._compare_fk(arm, theirs)

    def free_of(self, q: FloatArray) -> FloatArray:
        """The free joint of configurations (n, dof), or zeros."""
        q = np.asarray(q)
        return np.zeros(q.shape[:-1]) if self._free is None else q[..., self._free]

    def solve(self, poses: FloatArray, free: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Solutions of tool poses (n, 4, 4) with free values (n,): q (n, branches, dof), valid (n, branches)."""
        n = len(poses)
        q = np.full((n, self.branches, len(self._low)), np.nan)
        theirs = invert(self._before) @ poses @ invert(self._after)
        for i in range(n):
            pose = theirs[i]
            fixed = [] if self._free is None else [float(free[i])]
            found = self._ik(pose[:3, :3].tolist(), pose[:3, 3].tolist(), fixed)
            for k, solution in enumerate((found or [])[: self.branches]):
                q[i, k, self._order] = solution
        inside = wrap_into_limits(q, self._low, self._high)
        return q, inside & np.isfinite(q).all(axis=-1)

    def _compare_fk(self, arm: ArmDescription, theirs: Chain) -> None:
        for q in np.random.default_rng(0).uniform(self._low, self._high, (8, arm.dof)):
            position, turn = self._fk(q[self._order].tolist())
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = np.reshape(turn, (3, 3)), np.ravel(position)
            error = float(np.abs(pose - theirs.fk(q)).max())
            if error > SELF_TEST_TOLERANCE:
                raise ConfigError(
                    f"arm {arm.name!r}: get_fk of {arm.ik_module} differs from {arm.urdf} "
                    f"by {error:.2g}; check base_link, tool_link and joint_order"
                )


def _functions(arm: ArmDescription, options: PluginOptions) -> tuple[Callable[..., Any], Callable[..., Any]]:
    if not arm.ik_module:
        raise ConfigError(f"arm {arm.name!r}: ik: ikfast needs ik_module, the name of an importable module")
    try:
        module = importlib.import_module(arm.ik_module)
    except ImportError as error:
        raise ConfigError(f"arm {arm.name!r}: cannot import ik_module {arm.ik_module!r}: {error}") from error
    missing = [name for name in (options.get_ik, options.get_fk) if not callable(getattr(module, name, None))]
    if missing:
        raise ConfigError(f"arm {arm.name!r}: {arm.ik_module} has no function {', '.join(missing)}")
    return getattr(module, options.get_ik), getattr(module, options.get_fk)
