"""Named, bounded quantities: what a context, a set of parameters or the measures of a trial consist of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError

FloatArray = npt.NDArray[np.floating[Any]]

SLACK = 1e-6
"""Share of a range by which a value may lie outside it: the rounding of values encoded and decoded again."""


@dataclass(frozen=True)
class Dimension:
    """One bounded quantity.

    Attributes:
        name: as messages, files and errors name it; a Python identifier.
        unit: SI, such as ``m``, ``rad``; empty for a pure number.
        low: smallest value, included.
        high: largest value, included.
        description: one sentence.

    Raises:
        ConfigError: no identifier, or a range that is empty, inverted or not finite.
    """

    name: str
    unit: str
    low: float
    high: float
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not be encoded."""
        if not str(self.name).isidentifier():
            raise ConfigError(f"dimension {self.name!r}: a name is letters, digits and _ and begins with a letter")
        for bound in ("low", "high"):
            value = getattr(self, bound)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(f"dimension {self.name}: {bound} = {value!r}, expected a finite number")
            object.__setattr__(self, bound, float(value))
        if not self.low < self.high:
            raise ConfigError(f"dimension {self.name}: low = {self.low:g} must be below high = {self.high:g}")

    def text(self) -> str:
        """Name, range and unit for a person."""
        return f"{self.name} [{self.low:g}, {self.high:g}]{' ' + self.unit if self.unit else ''}"


class Space:
    """Several dimensions in a fixed order.

    Args:
        dimensions: at least one, no name twice.
        what: what a row of values is called in errors, such as ``context``.

    Raises:
        ConfigError: no dimension, or a name twice.
    """

    def __init__(self, dimensions: Sequence[Dimension], what: str = "values") -> None:
        self.dimensions, self.what = tuple(dimensions), what
        if not self.dimensions:
            raise ConfigError(f"{what}: a space needs at least one dimension")
        self.names: tuple[str, ...] = tuple(d.name for d in self.dimensions)
        twice = sorted({n for n in self.names if self.names.count(n) > 1})
        if twice:
            raise ConfigError(f"{what}: {', '.join(twice)} is named twice")
        self.low: FloatArray = np.array([d.low for d in self.dimensions])
        self.high: FloatArray = np.array([d.high for d in self.dimensions])

    def __len__(self) -> int:
        return len(self.dimensions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.dimensions == other.dimensions

    def __hash__(self) -> int:
        return hash(self.dimensions)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Uniform values, shape (n, dimensions)."""
        return rng.uniform(self.low, self.high, (n, len(self)))

    def check(self, values: Any) -> FloatArray:
        """One row of values, shape (dimensions,), moved onto the range where rounding left it.

        Raises:
            ConfigError: another number of values, or one that is not finite or outside; names it with its range.
        """
        row = np.asarray(values, dtype=np.float64)
        if row.shape != (len(self),):
            raise ConfigError(
                f"{self.what}: expected {len(self)} values ({', '.join(self.names)}), got shape {row.shape}"
            )
        return self.check_rows(row[None])[0]

    def check_rows(self, values: Any) -> FloatArray:
        """Many rows of values, shape (n, dimensions); see :meth:`check`."""
        rows = np.asarray(values, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self):
            raise ConfigError(f"{self.what}: expected shape (n, {len(self)}), got {np.shape(values)}")
        slack = SLACK * (self.high - self.low)
        bad = ~((rows >= self.low - slack) & (rows <= self.high + slack))
        if bad.any():
            row, column = (int(v) for v in np.argwhere(bad)[0])
            d = self.dimensions[column]
            where = f" of row {row}" if len(rows) > 1 else ""
            unit = f" {d.unit}" if d.unit else ""
            raise ConfigError(
                f"{self.what}: {d.name}{where} = {rows[row, column]:.6g}{unit}: "
                f"allowed [{d.low:.6g}, {d.high:.6g}]{unit}"
            )
        return np.clip(rows, self.low, self.high)

    def encode(self, values: FloatArray) -> FloatArray:
        """Values (n, dimensions) on the scale of network inputs, [-1, 1]; not checked against the ranges."""
        return np.asarray(2.0 * (values - self.low) / (self.high - self.low) - 1.0)

    def decode(self, features: FloatArray) -> FloatArray:
        """The inverse of :meth:`encode`."""
        return np.asarray(self.low + (np.asarray(features) + 1.0) / 2.0 * (self.high - self.low))

    def named(self, values: FloatArray) -> dict[str, float]:
        """One row of values by name."""
        return {name: float(v) for name, v in zip(self.names, np.asarray(values), strict=True)}


def check_features(x: FloatArray, names: Sequence[str]) -> None:
    """Raise ConfigError naming row, feature, value and range unless every value of x (n, d) is in [-1, 1]."""
    bad = ~(np.abs(x) <= 1.0 + SLACK)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ConfigError(f"features: row {row}, {names[column]} = {x[row, column]}: allowed [-1, 1]")
