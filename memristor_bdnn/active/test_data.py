"""Held-out trials that tell, round by round, how much of a skill the network predicts right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.protocol import Skill
from memristor_bdnn.spaces import check_features
from memristor_bdnn.state import check_array, load_npz

FloatArray = npt.NDArray[np.floating[Any]]
TEST_ROWS = 500


def without(x: FloatArray, test: FloatArray) -> npt.NDArray[np.bool_]:
    """Which rows of x (n, d) are not among the test rows (m, d): what may be learned from if the test is to be one."""
    known = {row.tobytes() for row in np.ascontiguousarray(test, dtype=np.float64)}
    return np.array([row.tobytes() not in known for row in np.ascontiguousarray(x, dtype=np.float64)], dtype=bool)


def load_test_data(path: str | Path, skill: Skill) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Test rows: x of shape (n, d) and success of shape (n,); "shipped" takes the last 500 of the skill's pool.

    Raises:
        ConfigError: not an .npz file, missing arrays, wrong shapes or values out of range; or no pool is shipped.
    """
    if str(path) == "shipped":
        shipped = skill.pool()
        return shipped.x[-TEST_ROWS:], shipped.score[-TEST_ROWS:] > 0
    arrays, names = load_npz(path), skill.feature_names
    for name in ("x", "score"):
        if name not in arrays:
            raise ConfigError(f"{path}: no array {name!r}; it has {', '.join(arrays)}")
        check_array(f"{path}: {name}", arrays[name], kinds="fiu")
    x, score = np.asarray(arrays["x"], float), np.asarray(arrays["score"], float)
    if x.ndim != 2 or x.shape[1] != len(names) or score.shape != (len(x),) or len(x) == 0:
        raise ConfigError(f"{path}: x {x.shape} and score {score.shape}, expected (n, {len(names)}) and (n,)")
    check_features(x, names)
    return x, score > 0
