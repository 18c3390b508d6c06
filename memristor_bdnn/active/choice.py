"""What to do when a skill is put to work: the candidate that is surest to succeed, or the sturdiest.

A network is sure of itself where it has seen nothing, and among a thousand candidates there is one to be found there.
The sturdy choice takes how far a candidate is from all that was tried as a reason against it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.acquisitions.scores import confident
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Prediction
from memristor_bdnn.skills.protocol import Skill

FloatArray = npt.NDArray[np.floating[Any]]

CHOICES = ("confident", "sturdy")
NEAREST = 3
"""Tried trials to which a candidate's distance is averaged: one that is near may be a lucky one."""
CAUTION = 0.3
"""Probability of success that one standard deviation of distance costs."""
_BLOCK = 4096


def scores(name: str, skill: Skill, prediction: Prediction, asked: FloatArray, tried: FloatArray) -> FloatArray:
    """Scores (n,) of candidates; the highest is executed.

    Args:
        name: ``confident``, mu / sigma (source paper), or ``sturdy``, p - 0.3 d with d the :func:`novelty`.
        skill: knows in which coordinates trials are alike.
        prediction: of the n candidates.
        asked: their network inputs, (n, d).
        tried: network inputs of the labels, (m, d).

    Raises:
        ConfigError: an unknown name.
    """
    if name == "confident":
        return confident(prediction)
    if name != "sturdy":
        raise ConfigError(f"final choice {name!r}: choose one of {', '.join(CHOICES)}")
    return np.asarray(prediction.mean) - CAUTION * novelty(skill.likeness(asked), skill.likeness(tried))


def novelty(asked: FloatArray, tried: FloatArray) -> FloatArray:
    """How far candidates are from all that was tried, (n,): root mean square over coordinates in units of their SD.

    Averaged over the nearest :data:`NEAREST` trials; the same for all where fewer were tried.

    Args:
        asked: coordinates of the candidates, (n, k).
        tried: coordinates of the trials, (m, k); their mean and SD scale both.
    """
    if len(tried) < NEAREST:
        return np.zeros(len(asked))
    mean, sd = tried.mean(axis=0), tried.std(axis=0) + 1e-6
    known, new = (tried - mean) / sd, (asked - mean) / sd
    made = [_distances(new[begin : begin + _BLOCK], known, NEAREST) for begin in range(0, len(new), _BLOCK)]
    return np.concatenate(made) if made else np.zeros(0)


def _distances(new: FloatArray, known: FloatArray, near: int) -> FloatArray:
    square = (new**2).sum(axis=1)[:, None] + (known**2).sum(axis=1)[None] - 2.0 * new @ known.T
    distance = np.sqrt(np.maximum(square, 0.0) / new.shape[1])
    nearest: FloatArray = np.partition(distance, near - 1, axis=1)[:, :near].mean(axis=1)
    return nearest
