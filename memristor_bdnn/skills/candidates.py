"""Candidates as a skill gives them: as many as are asked for, fewer when its pool is finite, or none at last."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.records import SkillMaths

FloatArray = npt.NDArray[np.floating[Any]]


def ask(skill: SkillMaths, context: FloatArray, n: int, rng: np.random.Generator, arm: str = "") -> FloatArray:
    """What a skill's ``sample_candidates`` gives, (m, p); m is below n when there are no more.

    Raises:
        ConfigError: it gives no rows of parameters.
    """
    given = skill.sample_candidates(context, n, rng, arm)
    rows = np.asarray([] if given is None else given)
    width = len(skill.parameter_space)
    if rows.size == 0:
        return np.zeros((0, width))
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ConfigError(
            f"skill {skill.name}: sample_candidates gave an array of shape {rows.shape}, expected ({n}, {width}): "
            f"rows of {', '.join(skill.parameter_space.names)}"
        )
    return rows


def encoded(skill: SkillMaths, context: FloatArray, parameters: FloatArray) -> FloatArray:
    """What a skill's ``encode`` gives for parameters (m, p) in a context, (m, features).

    Raises:
        ConfigError: it gives other columns than the skill's ``feature_names``, before a trial is paid for.
    """
    rows = np.asarray(skill.encode(context, parameters))
    expected = (len(parameters), len(skill.feature_names))
    if rows.shape != expected:
        raise ConfigError(
            f"skill {skill.name}: encode gave an array of shape {rows.shape}, expected {expected}: a row for every "
            f"candidate, of {', '.join(skill.feature_names)}"
        )
    return rows


def too_few(skill: SkillMaths, found: int, asked: int, option: str) -> ConfigError:
    """The refusal of fewer candidates than an option asks for."""
    remedy = f"give {option} of at most {found}" if found else "it has none"
    return ConfigError(f"skill {skill.name}: sample_candidates gave {found} of {option} = {asked}; {remedy}")
