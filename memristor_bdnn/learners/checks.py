"""Checks of data given to a learner, shared by all plugins: every error names the value and its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.network.scaling import LARGEST

FloatArray = npt.NDArray[np.floating[Any]]
SUM_TOLERANCE = 1e-3
"""How far the class probabilities of a row may be from 1: float16 rounds by as much."""


def check_inputs(x: Any, n_inputs: int, rows: int = 1) -> FloatArray:
    """x as a float64 array of shape (n, n_inputs) with at least ``rows`` rows and no NaN.

    Arrays of any kind of number, lists and data frames are taken.

    Raises:
        ConfigError: no numbers, masked values, another width, too few rows, a value that is not finite.
    """
    x = _numbers(x, "x")
    if x.ndim != 2 or x.shape[1] != n_inputs:
        raise ConfigError(f"x has shape {x.shape}: expected (n, {n_inputs}), since the option n_inputs = {n_inputs}")
    if len(x) < rows:
        raise ConfigError(f"x has {len(x)} rows: at least {rows} needed")
    if x.size and not (x.min() >= -LARGEST and x.max() <= LARGEST):  # or NaN
        bad = np.argwhere(~(np.abs(x) <= LARGEST))
        row, column = (int(v) for v in bad[0])
        raise ConfigError(f"x[{row}, {column}] = {x[row, column]}: inputs must be finite (at most {LARGEST:g})")
    return x


def check_labels(y: Any, n: int, classes: int = 2) -> FloatArray:
    """Labels of n rows as a float64 array.

    Args:
        y: for two classes success in [0, 1], shape (n,), or the probabilities of both, (n, 2); for more, numbers of
            classes 0 to classes - 1, shape (n,), or the probability of every class, (n, classes).
        n: number of rows.
        classes: the option ``n_classes``.

    Returns:
        Success (n,) in [0, 1] for two classes; class probabilities (n, classes) for more.

    Raises:
        ConfigError: names value and place.
    """
    y = _numbers(y, "y")
    if y.shape == (n, classes):
        return _check_probabilities(y)
    if y.shape != (n,):
        raise ConfigError(
            f"y has shape {y.shape}: expected ({n},), one label per row of x, or ({n}, {classes}), the probability of "
            f"every class, since the option n_classes = {classes}"
        )
    if classes == 2:
        bad = np.flatnonzero(~((y >= 0.0) & (y <= 1.0)))
        if len(bad):
            more = "; for more than two classes set the option n_classes" if y[bad[0]] in range(2, 1000) else ""
            raise ConfigError(f"y[{bad[0]}] = {y[bad[0]]}: a label is a probability of success in [0, 1]{more}")
        return y
    bad = np.flatnonzero(~np.isin(y, np.arange(classes)))
    if len(bad):
        raise ConfigError(
            f"y[{bad[0]}] = {y[bad[0]]:g}: a label is one of the classes 0 to {classes - 1}, since the option "
            f"n_classes = {classes}"
        )
    return np.eye(classes)[y.astype(np.intp)]


def _check_probabilities(y: FloatArray) -> FloatArray:
    """Class probabilities (n, k) that add up to 1 in every row; the second column of two."""
    bad = np.argwhere(~((y >= 0.0) & (y <= 1.0)))
    if len(bad):
        row, column = (int(v) for v in bad[0])
        raise ConfigError(f"y[{row}, {column}] = {y[row, column]}: the probability of a class is in [0, 1]")
    total = y.sum(axis=1)
    off = np.flatnonzero(np.abs(total - 1.0) > SUM_TOLERANCE)
    if len(off):
        raise ConfigError(f"y[{off[0]}] adds up to {total[off[0]]:.6g}: the probabilities of a row add up to 1")
    y = y / total[:, None]
    return y[:, 1] if y.shape[1] == 2 else y


def _numbers(value: Any, name: str) -> FloatArray:
    """A value as a float64 array, without guessing: no text, no complex numbers, no masked values."""
    if isinstance(value, np.ma.MaskedArray):
        masked = int(np.ma.count_masked(value))
        if masked:
            raise ConfigError(f"{name} has {masked} masked values: fill them or leave their rows out")
        value = value.data
    if hasattr(value, "toarray"):
        raise ConfigError(f"{name} is a sparse matrix ({type(value).__name__}): give {name}.toarray()")
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":  # mixed columns of a data frame, Decimal, ragged lists
            if any(isinstance(item, str | bytes) for item in array.flat):
                raise ConfigError(f"{name} holds text ({_first_text(array)!r}): expected numbers")
            array = np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{name} is no array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"{name} holds {array.dtype}: expected numbers")
    return array.astype(np.float64, copy=False)


def _first_text(array: npt.NDArray[Any]) -> str:
    """The first text in it, cut to what fits a line."""
    return str(next(item for item in array.flat if isinstance(item, str | bytes)))[:60]
