"""Changes of variables in front of a network, found by import path so that no skill is imported here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError

FloatArray = npt.NDArray[np.floating[Any]]
FeatureMap = Callable[[FloatArray], FloatArray]

MOVED = {"memristor_bdnn.pouring.lip": "memristor_bdnn.skills.pouring.lip"}
"""Modules that checkpoints and YAML files of before name by where they were then."""


def current_name(path: str) -> str:
    """The path "module:function" with a module that has moved under its present name; others unchanged."""
    module, separator, name = path.partition(":")
    return MOVED.get(module, module) + separator + name


def feature_map(path: str) -> FeatureMap:
    """The function "module:name" that maps inputs (n, d) to features (n, k); "" is the identity.

    A module that has moved is found under its old name too.

    Raises:
        ConfigError: no such module or function.
    """
    if not path:
        return _identity
    module, separator, name = current_name(path).partition(":")
    if not separator:
        raise ConfigError(
            f"features = {path!r}: expected module:function, such as memristor_bdnn.skills.pouring.lip:lip_features"
        )
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"features = {path!r} cannot be loaded: {error}") from error
    if not callable(function):
        raise ConfigError(f"features = {path!r} is no function")
    return function  # type: ignore[no-any-return]


def feature_width(features: FeatureMap, n_inputs: int) -> int:
    """Number of features made of n_inputs inputs; raises ConfigError if the map refuses them."""
    try:
        made = np.asarray(features(np.zeros((2, n_inputs))))
    except (ValueError, IndexError) as error:
        raise ConfigError(f"the feature map does not accept {n_inputs} inputs: {error}") from error
    if made.ndim != 2 or len(made) != 2:
        raise ConfigError(f"the feature map returned shape {made.shape} for 2 rows: expected (2, k)")
    return int(made.shape[1])


def _identity(x: FloatArray) -> FloatArray:
    return x
