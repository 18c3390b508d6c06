"""Where a plan begins: an error about it is about the arm, never about the candidate that was to be tried."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import PlanningError
from memristor_bdnn.motion.arms.description import ArmDescription

FloatArray = npt.NDArray[np.float64]

LIMIT_TOLERANCE = 1e-3
"""How far beyond a limit (rad) a joint may be and count as standing at it: encoders and brakes leave it there."""


def checked_start(arm: ArmDescription, start: npt.ArrayLike) -> FloatArray:
    """A measured configuration (dof,), rad, put within the limits where it is at most LIMIT_TOLERANCE beyond them.

    Raises:
        PlanningError: ``start_mismatch`` for another shape, values that are not finite, or a joint further outside.
    """
    q0 = np.array(start, dtype=float)
    if q0.shape != (arm.dof,) or not np.isfinite(q0).all():
        raise PlanningError(
            "start_mismatch", f"start has shape {q0.shape}, expected ({arm.dof},) finite: {q0.tolist()}"
        )
    low, high = arm.limits()
    beyond = np.maximum(low - q0, q0 - high)
    if beyond.max() > LIMIT_TOLERANCE:
        worst = int(beyond.argmax())
        raise PlanningError(
            "start_mismatch",
            f"start: {arm.joint_names[worst]} = {q0[worst]:.4f} rad is outside [{low[worst]}, {high[worst]}] "
            f"(allowed {LIMIT_TOLERANCE} rad beyond); move the arm back by hand",
        )
    return np.clip(q0, low, high)
