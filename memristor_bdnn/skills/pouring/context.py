"""What a pouring trial is about: the bowl/cup pair, the control parameters, and the 11 network inputs."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.spaces import SLACK as _SLACK
from memristor_bdnn.spaces import Dimension, Space

FloatArray = npt.NDArray[np.floating[Any]]
T = TypeVar("T", bound="_Ranged")

# Allowed physical values. Control parameters: reference code of the paper. Context: recovered from the
# published pool, which is rescaled with exactly these limits.
PARAMETER_SPACE = Space(
    (
        Dimension("axis_in_bowl_x", "", -0.25, 0.75, "tilt axis beside the bowl's centre, in bowl diameters"),
        Dimension("axis_in_bowl_z", "m", 0.0, 0.15, "tilt axis above the bowl's rim"),
        Dimension("axis_in_cup_x", "", -0.75, 0.75, "tilt axis beside the cup's centre, in cup diameters"),
        Dimension("axis_in_cup_z", "", -0.75, 0.75, "tilt axis above the cup's centre, in cup heights"),
        Dimension("pitch", "rad", -math.pi, -math.pi / 2, "final tilt of the cup; 0 is upright"),
    ),
    "parameters",
)
CONTEXT_SPACE = Space(
    (
        Dimension("bowl_base_diameter", "m", 0.0399, 0.2407, "a fifth of the height above the table"),
        Dimension("bowl_diameter", "m", 0.0619, 0.4199, "at the rim"),
        Dimension("bowl_height", "m", 0.0288, 0.1680, "from the table to the rim"),
        Dimension("cup_base_diameter", "m", 0.0354, 0.0887, "a fifth of the height above its base"),
        Dimension("cup_diameter", "m", 0.0403, 0.1031, "at the rim"),
        Dimension("cup_height", "m", 0.0440, 0.1188, "from its base to the rim"),
    ),
    "context",
)
MEASURE_SPACE = Space(
    (
        Dimension("fraction_in_bowl", "", 0.0, 1.0, "of what was in the cup"),
        Dimension("fraction_in_cup", "", 0.0, 1.0, "still in the cup"),
        Dimension("fraction_spilled", "", 0.0, 1.0, "on the table"),
    ),
    "measures",
)
RANGES: dict[str, tuple[float, float]] = {
    d.name: (d.low, d.high) for d in (*PARAMETER_SPACE.dimensions, *CONTEXT_SPACE.dimensions)
}
FEATURE_NAMES: tuple[str, ...] = tuple(RANGES)
N_PARAMETERS, N_CONTEXT = len(PARAMETER_SPACE), len(CONTEXT_SPACE)
_UNITS = {d.name: d.unit for d in (*PARAMETER_SPACE.dimensions, *CONTEXT_SPACE.dimensions)}
_LOW = np.array([low for low, _ in RANGES.values()])
_HIGH = np.array([high for _, high in RANGES.values()])


class _Ranged:
    """Shared by the two records below: range check and conversion to and from arrays."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, (low, high) = getattr(self, field.name), RANGES[field.name]
            try:
                number = float(value)
            except (TypeError, ValueError):
                raise ConfigError(f"{field.name} = {value!r}: expected a number") from None
            slack = _SLACK * (high - low)
            if not low - slack <= number <= high + slack:
                unit = f" {_UNITS[field.name]}" if _UNITS[field.name] else ""
                raise ConfigError(f"{field.name} = {number:.6g}{unit}: allowed [{low:.6g}, {high:.6g}]{unit}")
            object.__setattr__(self, field.name, min(max(number, low), high))

    def array(self) -> FloatArray:
        """The fields in order as a float array."""
        return np.array(dataclasses.astuple(self))  # type: ignore[call-overload]

    @classmethod
    def of(cls: type[T], values: Any) -> T:
        """The record itself, or one made of an array; see :meth:`from_array`."""
        return values if isinstance(values, cls) else cls.from_array(values)

    @classmethod
    def from_array(cls: type[T], values: Any) -> T:
        """The inverse of :meth:`array`.

        Raises:
            ConfigError: a wrong number of values, or one out of its range.
        """
        values = np.asarray(values, dtype=float)
        names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
        if values.shape != (len(names),):
            raise ConfigError(
                f"{cls.__name__}: expected {len(names)} values ({', '.join(names)}), got shape {values.shape}"
            )
        return cls(*values.tolist())


@dataclass(frozen=True)
class PourContext(_Ranged):
    """The bowl and the cup of a trial; outer dimensions in metres.

    ``*_base_diameter`` is measured a fifth of the height above the table
    (:data:`memristor_bdnn.skills.pouring.vessels.BASE_LEVEL`), as in the published pool.

    Raises:
        ConfigError: a dimension outside :data:`RANGES`; names field, value and range.
    """

    bowl_base_diameter: float
    bowl_diameter: float
    bowl_height: float
    cup_base_diameter: float
    cup_diameter: float
    cup_height: float


@dataclass(frozen=True)
class PourParameters(_Ranged):
    """The five control parameters of a pour.

    Attributes:
        axis_in_bowl_x: tilt axis beside the bowl's centre, in bowl diameters.
        axis_in_bowl_z: tilt axis above the bowl's rim, metres.
        axis_in_cup_x: tilt axis beside the cup's centre, in cup diameters.
        axis_in_cup_z: tilt axis above the cup's centre, in cup heights.
        pitch: final tilt of the cup, radians; 0 is upright, -pi upside down.

    Raises:
        ConfigError: a value outside :data:`RANGES`; names field, value and range.
    """

    axis_in_bowl_x: float
    axis_in_bowl_z: float
    axis_in_cup_x: float
    axis_in_cup_z: float
    pitch: float


def context_array(context: PourContext | FloatArray) -> FloatArray:
    """Contexts as an (n, 6) array, from one context, one row or many rows."""
    return _rows(context, N_CONTEXT, "context")


def parameter_array(parameters: PourParameters | FloatArray) -> FloatArray:
    """Control parameters as an (n, 5) array, from one set, one row or many rows."""
    return _rows(parameters, N_PARAMETERS, "parameters")


def encode(context: PourContext | FloatArray, parameters: PourParameters | FloatArray) -> FloatArray:
    """Network inputs in [-1, 1].

    Args:
        context: one context, or physical values of shape (6,) or (n, 6).
        parameters: one set, or physical values of shape (5,) or (n, 5); one row is repeated.

    Returns:
        Shape (n, 11), in the order of :data:`FEATURE_NAMES`.

    Raises:
        ConfigError: wrong shapes, or a value outside its range (names it).
    """
    c, p = context_array(context), parameter_array(parameters)
    n = max(len(c), len(p))
    if len(c) not in (1, n) or len(p) not in (1, n):
        raise ConfigError(f"cannot encode {len(c)} contexts with {len(p)} parameter sets: give one or equally many")
    physical = np.concatenate([np.broadcast_to(p, (n, N_PARAMETERS)), np.broadcast_to(c, (n, N_CONTEXT))], axis=1)
    features = rescaled(physical)
    wrong = ~(np.abs(features) <= 1.0 + 2 * _SLACK)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ConfigError(
            f"row {row}: {FEATURE_NAMES[column]} = {physical[row, column]:.6g}: "
            f"allowed [{_LOW[column]:.6g}, {_HIGH[column]:.6g}]"
        )
    return np.clip(features, -1.0, 1.0)


def rescaled(physical: FloatArray) -> FloatArray:
    """Physical rows (n, 11), parameters first, on the scale of the network inputs; not checked against the ranges."""
    return np.asarray(2.0 * (physical - _LOW) / (_HIGH - _LOW) - 1.0)


def decode(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The inverse of :func:`encode`.

    Args:
        features: shape (11,) or (n, 11), in [-1, 1].

    Returns:
        Contexts (n, 6) and control parameters (n, 5), physical values.
    """
    rows = _rows(features, N_PARAMETERS + N_CONTEXT, "features")
    physical = _LOW + (rows + 1.0) / 2.0 * (_HIGH - _LOW)
    return physical[:, N_PARAMETERS:], physical[:, :N_PARAMETERS]


def score_of(fraction: float) -> float:
    """Score in [-1, 1] of a fraction poured into the bowl; above 0 is a success (fraction > 0.9).

    Source: published pool, -1 + f/0.9 up to f = 0.9 and (f - 0.9)/0.1 above.
    """
    return fraction / 0.9 - 1.0 if fraction <= 0.9 else (fraction - 0.9) / 0.1


def fraction_of(score: Any) -> FloatArray:
    """The inverse of :func:`score_of`, element by element."""
    score = np.asarray(score, dtype=float)
    return np.where(score <= 0, 0.9 * (score + 1.0), 0.9 + 0.1 * score)


def _rows(values: Any, width: int, what: str) -> FloatArray:
    array = np.atleast_2d(values.array() if isinstance(values, _Ranged) else np.asarray(values, dtype=float))
    if array.ndim != 2 or array.shape[1] != width:
        raise ConfigError(f"{what}: expected shape (n, {width}), got {np.shape(values)}")
    return array
