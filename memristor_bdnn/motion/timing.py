"""When to be where on a joint path: as fast as velocity and acceleration limits allow, and safely inside them.

A path is a cubic spline q(s). With b = (ds/dt)^2 and a = d2s/dt2, dq/dt = q' sqrt(b) and d2q/dt2 = q'' b + q' a.
The limits are split: the curvature term q'' b may use CURVATURE_SHARE of each acceleration limit, the term q' a the
rest. Then b has an upper bound and a has bounds at every s that do not depend on each other, and one forward and
one backward pass give the fastest profile under the split. Exact time-optimal parameterisation (Pham and Pham,
TOPP-RA, 2018) is faster by the slack that the split leaves, but rides the limits; a cup of beads prefers this.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.trajectory import JointTrajectory

FloatArray = npt.NDArray[np.float64]

CURVATURE_SHARE = 0.5
# Headroom for what happens between the samples of the profile.
SAFETY = 0.98
# Up to so many knots a full matrix is solved faster than two loops over them.
DENSE = 128


class Spline:
    """A natural (or clamped) cubic spline through points (n, d) at increasing knots (n,)."""

    def __init__(self, knots: npt.ArrayLike, points: npt.ArrayLike, clamped: bool = False) -> None:
        """Solve for the second derivatives at the knots.

        Args:
            knots: increasing.
            points: values there.
            clamped: zero first derivative at both ends instead of zero second derivative.

        Raises:
            ConfigError: knots that do not increase or fewer than two points.
        """
        self.knots, self.points = np.asarray(knots, dtype=float), np.asarray(points, dtype=float)
        n = len(self.knots)
        h = np.diff(self.knots)
        if n < 2 or len(self.points) != n or h.min() <= 0:
            raise ConfigError(f"spline: {n} knots for {len(self.points)} points; at least 2, increasing, are needed")
        slope = np.diff(self.points, axis=0) / h[:, None]
        below, middle, above = np.zeros(n), np.ones(n), np.zeros(n)
        right = np.zeros_like(self.points)
        below[1:-1], above[1:-1], middle[1:-1] = h[:-1], h[1:], 2 * (h[:-1] + h[1:])
        right[1:-1] = 6 * np.diff(slope, axis=0)
        if clamped:
            middle[0], above[0], right[0] = 2 * h[0], h[0], 6 * slope[0]
            middle[-1], below[-1], right[-1] = 2 * h[-1], h[-1], -6 * slope[-1]
        if n <= DENSE:
            matrix = np.zeros((n, n))
            diagonal = np.arange(n)
            matrix[diagonal, diagonal] = middle
            matrix[diagonal[1:], diagonal[:-1]], matrix[diagonal[:-1], diagonal[1:]] = below[1:], above[:-1]
            self._second = np.linalg.solve(matrix, right)
            return
        for k in range(1, n):
            factor = below[k] / middle[k - 1]
            middle[k] -= factor * above[k - 1]
            right[k] -= factor * right[k - 1]
        self._second = np.empty_like(right)
        self._second[-1] = right[-1] / middle[-1]
        for k in range(n - 2, -1, -1):
            self._second[k] = (right[k] - above[k] * self._second[k + 1]) / middle[k]

    def __call__(self, s: npt.ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Value, first and second derivative at s (m,), each (m, d)."""
        s = np.asarray(s, dtype=float)
        i = np.clip(np.searchsorted(self.knots, s, side="right") - 1, 0, len(self.knots) - 2)
        h = (self.knots[i + 1] - self.knots[i])[:, None]
        a = (self.knots[i + 1] - s)[:, None] / h
        b = 1 - a
        p0, p1, m0, m1 = self.points[i], self.points[i + 1], self._second[i], self._second[i + 1]
        value = a * p0 + b * p1 + ((a**3 - a) * m0 + (b**3 - b) * m1) * h**2 / 6
        first = (p1 - p0) / h + ((3 * b**2 - 1) * m1 - (3 * a**2 - 1) * m0) * h / 6
        return value, first, a * m0 + b * m1


def fastest(
    path: Spline, velocity: npt.ArrayLike, acceleration: npt.ArrayLike, grid: int = 200
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rest to rest along a path: parameters s, times to be there, and ds/dt, each (grid + 1,).

    Args:
        path: spline with d columns.
        velocity: limits of the columns, (d,).
        acceleration: limits of the columns, (d,).
        grid: intervals of the profile.

    Between two grid points ds/dt changes linearly in time.
    """
    v, acc = np.asarray(velocity, dtype=float) * SAFETY, np.asarray(acceleration, dtype=float) * SAFETY
    s = np.linspace(path.knots[0], path.knots[-1], grid + 1)
    # limits on every interval from the worst of several points inside it
    fine = np.linspace(path.knots[0], path.knots[-1], 4 * grid + 1)
    _, first, second = path(fine)
    first, second = np.abs(first), np.abs(second)
    with np.errstate(divide="ignore"):
        bound = np.minimum((v / first) ** 2, CURVATURE_SHARE * acc / second).min(axis=1)
        push = ((1 - CURVATURE_SHARE) * acc / first).min(axis=1)
    window = np.arange(grid)[:, None] * 4 + np.arange(5)
    per_interval, push = bound[window].min(axis=1), push[window].min(axis=1)
    b = np.minimum(np.concatenate([per_interval[:1], per_interval]), np.concatenate([per_interval, per_interval[-1:]]))
    b[0] = b[-1] = 0.0
    gain = 2 * push * np.diff(s)
    for k in range(grid):
        b[k + 1] = min(b[k + 1], b[k] + gain[k])
    for k in range(grid - 1, -1, -1):
        b[k] = min(b[k], b[k + 1] + gain[k])
    speed = np.sqrt(b)
    return s, np.concatenate([[0.0], np.cumsum(2 * np.diff(s) / (speed[1:] + speed[:-1]))]), speed


def follow(path: Spline, profile: tuple[FloatArray, FloatArray, FloatArray], dof: int, step: float) -> JointTrajectory:
    """Sample a timed path evenly, about every step seconds; the first dof columns are the joints.

    Args:
        path: the spline.
        profile: s, times and ds/dt as :func:`fastest` returns them; ds/dt changes linearly in between.
        dof: joints among the path's columns.
        step: seconds.
    """
    s, times, speed = profile
    n = max(int(np.ceil(times[-1] / step)), 2)
    t = np.linspace(0.0, times[-1], n + 1)
    i = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
    a = (speed[i + 1] - speed[i]) / (times[i + 1] - times[i])
    tau = t - times[i]
    rate = speed[i] + a * tau
    q, first, second = path(np.clip(s[i] + (speed[i] + 0.5 * a * tau) * tau, s[0], s[-1]))
    velocity, curve = first * rate[:, None], second * rate[:, None] ** 2 + first * a[:, None]
    return JointTrajectory(t, q[:, :dof], velocity[:, :dof], curve[:, :dof])


def along(
    points: FloatArray, velocity: npt.ArrayLike, acceleration: npt.ArrayLike, dof: int, step: float = 0.02
) -> JointTrajectory:
    """The fastest rest-to-rest trajectory through points (n, d), within limits (d,) of every column.

    Columns after the first `dof` (such as the cup's position) are limited but not returned.
    """
    lengths = np.linalg.norm(np.diff(points[:, :dof], axis=0), axis=1)
    keep = np.concatenate([[True], lengths > 1e-9])
    points = points[keep]
    if len(points) < 2:
        still = np.zeros((1, dof))
        return JointTrajectory(np.zeros(1), points[:1, :dof], still, still)
    knots = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points[:, :dof], axis=0), axis=1))])
    path = Spline(knots, points)
    profile = fastest(path, velocity, acceleration, grid=max(200, 12 * len(knots)))
    timed = follow(path, profile, dof, step)
    # sharp turns can hide between the points of the profile: slow down by what the samples show
    over = excess(timed, np.asarray(velocity)[:dof], np.asarray(acceleration)[:dof])
    return timed if over <= 1.0 else timed.scaled(0.999 / over)


def ramped(path: Spline, rate: float, acceleration: float, dof: int, step: float = 0.02) -> JointTrajectory:
    """Follow a spline from rest to rest at a constant rate ds/dt, with ramps of constant acceleration at both ends.

    A path too short to reach the rate is followed as fast as the ramps allow.
    """
    begin, total = float(path.knots[0]), float(path.knots[-1] - path.knots[0])
    rate = min(rate, float(np.sqrt(total * acceleration)))
    ramp, ramp_time = rate**2 / (2 * acceleration), rate / acceleration
    plateau = max((total - 2 * ramp) / rate, 1e-9)
    s = begin + np.array([0.0, ramp, ramp + plateau * rate, total])
    times = np.array([0.0, ramp_time, ramp_time + plateau, 2 * ramp_time + plateau])
    return follow(path, (s, times, np.array([0.0, rate, rate, 0.0])), dof, step)


def still(q: FloatArray, duration: float, step: float = 0.02) -> JointTrajectory:
    """Rest at a configuration (dof,) for some seconds."""
    n = max(int(np.ceil(duration / step)), 1)
    zero = np.zeros((n + 1, len(q)))
    return JointTrajectory(np.linspace(0.0, duration, n + 1), np.tile(q, (n + 1, 1)), zero, zero)


def thin(path: FloatArray, spacing: float) -> FloatArray:
    """Some configurations of a path (n, dof), about `spacing` rad apart, both ends kept: knots for a spline."""
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(path, axis=0)).max(axis=1))])
    n = max(int(np.ceil(length[-1] / spacing)), 1)
    index = np.unique(np.searchsorted(length, np.linspace(0.0, length[-1], n + 1)).clip(0, len(path) - 1))
    return path[index]


def excess(trajectory: JointTrajectory, velocity: npt.ArrayLike, acceleration: npt.ArrayLike) -> float:
    """How far a trajectory goes to its limits: the largest |v|/limit or sqrt(|a|/limit); above 1 breaks one."""
    speed = np.abs(trajectory.velocities) / np.asarray(velocity)
    push = np.abs(trajectory.accelerations) / np.asarray(acceleration)
    return float(max(speed.max(), np.sqrt(push.max())))
