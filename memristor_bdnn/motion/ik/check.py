"""An independent look for solutions that a closed-form solver might lose."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.ik.base import IKSolver
from memristor_bdnn.motion.ik.turns import apart

FloatArray = npt.NDArray[np.float64]

# Near a singularity a numerical solution is this far (rad) from the exact one though its residual is nil.
SAME = 1e-3


def lost_solutions(
    solver: IKSolver,
    poses: FloatArray,
    free: FloatArray,
    low: FloatArray,
    high: FloatArray,
    rng: np.random.Generator,
    starts: int = 24,
    iterations: int = 30,
) -> tuple[int, int]:
    """Solutions within the limits that a numerical search finds and the solver does not return.

    From random configurations, Newton's method solves pose and free parameter together; whatever converges inside
    the limits must be among the solver's answers. Solutions closer than 1e-3 rad to a limit are not counted.

    Args:
        solver: under test; its free parameter must be a joint or the arm angle.
        poses: (n, 4, 4).
        free: (n,) free values.
        low: joint limits.
        high: joint limits.
        rng: of the starts.
        starts: random starts for each pose.
        iterations: Newton steps.

    Returns:
        (lost, found): how many numerical solutions are missing, and how many there were.
    """
    answers, valid = solver.solve(poses, free)
    n = len(poses)
    q = rng.uniform(low, high, (n * starts, len(low)))
    target, value = np.repeat(poses, starts, axis=0), np.repeat(free, starts)
    for _ in range(iterations):
        error, jacobian = _residual(solver, q, target, value)
        damped = np.swapaxes(jacobian, 1, 2) @ jacobian + 1e-8 * np.eye(q.shape[1])
        step = np.linalg.solve(damped, (np.swapaxes(jacobian, 1, 2) @ error[..., None]))[..., 0]
        q = q - step * np.minimum(1.0, 0.6 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12))
        q = (q + np.pi) % (2 * np.pi) - np.pi
    # joints whose range goes beyond half a turn
    q = np.where((q < low) & (q + 2 * np.pi <= high), q + 2 * np.pi, q)
    error, _ = _residual(solver, q, target, value)
    good = (np.abs(error).max(axis=1) < 1e-8) & ((q > low + 1e-3) & (q < high - 1e-3)).all(axis=1)
    known = np.repeat(np.where(valid[..., None], answers, np.inf), starts, axis=0)
    with np.errstate(invalid="ignore"):
        distance = np.where(np.isfinite(known).all(axis=2), apart(known, q[:, None]), np.inf).min(axis=1)
    return int((good & (distance > SAME)).sum()), int(good.sum())


def _residual(solver: IKSolver, q: FloatArray, target: FloatArray, value: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Errors (n, 7) in position, rotation and free parameter, and their Jacobian (n, 7, dof)."""
    frames = solver.chain.frames(q)
    tool = frames[:, -1]
    axes = np.einsum("nkij,kj->nki", frames[:, :-1, :3, :3], solver.chain.axes)
    arm = tool[:, None, :3, 3] - frames[:, :-1, :3, 3]
    difference = np.swapaxes(target[:, :3, :3], 1, 2) @ tool[:, :3, :3]
    skew = 0.5 * np.stack(
        [
            difference[:, 2, 1] - difference[:, 1, 2],
            difference[:, 0, 2] - difference[:, 2, 0],
            difference[:, 1, 0] - difference[:, 0, 1],
        ],
        axis=1,
    )
    # also away from 0 half a turn off, where the skew part vanishes
    far = (np.trace(difference, axis1=1, axis2=2) < -0.99)[:, None]
    turn = np.einsum("nij,nj->ni", target[:, :3, :3], np.where(far, skew + 0.5, skew))
    free = np.asarray(solver.free_of(q)) - value
    free = (free + np.pi) % (2 * np.pi) - np.pi
    step = 1e-6
    slope = np.stack(
        [
            (np.asarray(solver.free_of(q + step * row)) - np.asarray(solver.free_of(q - step * row)) + np.pi)
            % (2 * np.pi)
            - np.pi
            for row in np.eye(q.shape[1])
        ],
        axis=1,
    ) / (2 * step)
    error = np.concatenate([tool[:, :3, 3] - target[:, :3, 3], turn, free[:, None]], axis=1)
    jacobian = np.concatenate([np.swapaxes(np.cross(axes, arm), 1, 2), np.swapaxes(axes, 1, 2), slope[:, None]], axis=1)
    return error, jacobian
