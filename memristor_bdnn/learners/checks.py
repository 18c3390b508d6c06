"""Checks of data given to a learner, shared by all plugins: every error names the value and its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError

FloatArray = npt.NDArray[np.floating[Any]]


def check_inputs(x: Any, n_inputs: int, rows: int = 1) -> FloatArray:
    """x as a float64 array of shape (n, n_inputs) with at least ``rows`` rows and no NaN."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != n_inputs:
        raise ConfigError(f"x has shape {x.shape}: expected (n, {n_inputs}), since the option n_inputs = {n_inputs}")
    if len(x) < rows:
        raise ConfigError(f"x has {len(x)} rows: at least {rows} needed")
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        row, column = (int(v) for v in bad[0])
        raise ConfigError(f"x[{row}, {column}] = {x[row, column]}: inputs must be finite")
    return x


def check_labels(y: Any, n: int) -> FloatArray:
    """y as a float64 array of shape (n,) with values in [0, 1]."""
    y = np.asarray(y, dtype=np.float64)
    if y.shape != (n,):
        raise ConfigError(f"y has shape {y.shape}: expected ({n},), one label per row of x")
    bad = np.flatnonzero(~((y >= 0.0) & (y <= 1.0)))
    if len(bad):
        raise ConfigError(f"y[{bad[0]}] = {y[bad[0]]}: a label is a probability of success in [0, 1]")
    return y
