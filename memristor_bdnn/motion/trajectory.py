"""A joint trajectory as plain arrays: what planners make, arms execute and messages carry."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class JointTrajectory:
    """Joint motion sampled over time; between samples it is a cubic Hermite curve.

    Attributes:
        times: (n,) seconds from the start, strictly increasing, first 0.
        positions: (n, dof) rad.
        velocities: (n, dof) rad/s.
        accelerations: (n, dof) rad/s^2.
    """

    times: FloatArray
    positions: FloatArray
    velocities: FloatArray
    accelerations: FloatArray

    def __post_init__(self) -> None:
        """Refuse anything a controller would choke on.

        Raises:
            ConfigError: wrong shapes, values that are not finite, times that do not start at 0 or do not increase.
        """
        for name in ("times", "positions", "velocities", "accelerations"):
            value = np.array(getattr(self, name), dtype=np.float64)
            if not np.isfinite(value).all():
                raise ConfigError(f"trajectory {name}: {int((~np.isfinite(value)).sum())} values are not finite")
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        n = len(self.times)
        if self.times.ndim != 1 or n < 1 or self.positions.ndim != 2 or len(self.positions) != n:
            raise ConfigError(f"trajectory times {self.times.shape} do not match positions {self.positions.shape}")
        for name in ("velocities", "accelerations"):
            if getattr(self, name).shape != self.positions.shape:
                raise ConfigError(
                    f"trajectory: {name} have shape {getattr(self, name).shape}, expected {self.positions.shape}"
                )
        if self.times[0] != 0.0:
            raise ConfigError(f"trajectory starts at {self.times[0]} s, expected 0")
        steps = np.diff(self.times)
        if n > 1 and steps.min() <= 0.0:
            where = int(steps.argmin())
            raise ConfigError(
                f"trajectory times do not increase at sample {where + 1}: "
                f"{self.times[where]} s, then {self.times[where + 1]} s"
            )

    @property
    def duration(self) -> float:
        """Seconds from the first to the last sample."""
        return float(self.times[-1])

    @property
    def dof(self) -> int:
        """Number of joints."""
        return int(self.positions.shape[1])

    @property
    def start(self) -> FloatArray:
        """First configuration, (dof,)."""
        return self.positions[0]

    @property
    def end(self) -> FloatArray:
        """Last configuration, (dof,)."""
        return self.positions[-1]

    def sample(self, t: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Position and velocity at times t (any shape), each (..., dof); held at both ends with zero velocity."""
        t = np.asarray(t, dtype=np.float64)
        if len(self.times) == 1:
            return np.broadcast_to(self.positions[0], (*t.shape, self.dof)).copy(), np.zeros((*t.shape, self.dof))
        inside = np.clip(t, 0.0, self.duration)
        i = np.clip(np.searchsorted(self.times, inside, side="right") - 1, 0, len(self.times) - 2)
        h = (self.times[i + 1] - self.times[i])[..., None]
        s = (inside - self.times[i])[..., None] / h
        p0, p1 = self.positions[i], self.positions[i + 1]
        v0, v1 = self.velocities[i] * h, self.velocities[i + 1] * h
        d = p1 - p0
        c2, c3 = 3 * d - 2 * v0 - v1, v0 + v1 - 2 * d
        outside = ((t < 0.0) | (t > self.duration))[..., None]
        position = p0 + s * (v0 + s * (c2 + s * c3))
        velocity = np.where(outside, 0.0, (v0 + s * (2 * c2 + s * 3 * c3)) / h)
        return position, velocity

    def part(self, begin: float, end: float) -> JointTrajectory:
        """The samples between two times (s), moved to start at 0.

        Raises:
            ConfigError: no sample lies between them.
        """
        inside = (self.times >= begin - 1e-9) & (self.times <= end + 1e-9)
        if not inside.any():
            raise ConfigError(f"trajectory of {self.duration} s has no sample between {begin} and {end} s")
        times = self.times[inside]
        return JointTrajectory(
            times - times[0], self.positions[inside], self.velocities[inside], self.accelerations[inside]
        )

    def reversed(self) -> JointTrajectory:
        """The same motion backwards."""
        return JointTrajectory(
            self.duration - self.times[::-1], self.positions[::-1], -self.velocities[::-1], self.accelerations[::-1]
        )

    def fine(self, resolution: float) -> FloatArray:
        """Configurations (n, dof) on the way, no joint moving more than resolution (rad) between neighbours."""
        steps = np.abs(np.diff(self.positions, axis=0)).max(axis=1)
        # a little headroom: between two samples a joint does not move at constant speed
        counts = np.maximum(np.ceil(1.2 * steps / resolution).astype(int), 1)
        begins = np.cumsum(counts) - counts
        between = np.arange(counts.sum()) - np.repeat(begins, counts)
        times = np.repeat(self.times[:-1], counts) + between * np.repeat(np.diff(self.times) / counts, counts)
        q = self.sample(np.concatenate([times, self.times[-1:]]))[0]
        # where the motion is slow, samples are closer than asked: keep the last one before each full step
        rows = q.tolist()
        keep, last = [0], rows[0]
        for i in range(1, len(rows) - 1):
            for a, b in zip(rows[i + 1], last, strict=True):  # in plain numbers: they are few
                if a - b > resolution or b - a > resolution:
                    keep.append(i)
                    last = rows[i]
                    break
        return q[[*keep, len(q) - 1]] if len(q) > 1 else q

    def scaled(self, velocity: float) -> JointTrajectory:
        """The same path at a fraction of the speed: times divided, accelerations by the square.

        Raises:
            ConfigError: the fraction is not in (0, 1].
        """
        if not 0.0 < velocity <= 1.0:
            raise ConfigError(f"velocity scaling = {velocity}: allowed (0, 1]")
        return JointTrajectory(
            self.times / velocity, self.positions, self.velocities * velocity, self.accelerations * velocity**2
        )

    @staticmethod
    def concatenate(parts: Sequence[JointTrajectory], tolerance: float = 1e-6) -> JointTrajectory:
        """Join trajectories end to end.

        Raises:
            ConfigError: nothing given, or a part does not start where the one before it ends (tolerance in rad).
        """
        if not parts:
            raise ConfigError("cannot join an empty list of trajectories")
        first = parts[0]
        times = [first.times]
        columns = [[first.positions], [first.velocities], [first.accelerations]]
        for before, after in itertools.pairwise(parts):
            gap = float(np.abs(before.end - after.start).max())
            if gap > tolerance:
                raise ConfigError(f"trajectories do not join: a joint jumps by {gap:.3g} rad, allowed {tolerance}")
            times.append(times[-1][-1] + after.times[1:])
            arrays = (after.positions, after.velocities, after.accelerations)
            for column, new in zip(columns, arrays, strict=True):
                column.append(new[1:])
        return JointTrajectory(np.concatenate(times), *[np.concatenate(column) for column in columns])
