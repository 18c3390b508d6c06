"""What to do when a skill is put to work: the candidate that is surest to succeed, or the sturdiest.

A network is sure of itself where it has seen nothing, and among a thousand candidates there is one to be found there.
The sturdy choice takes how far a candidate is from all that was tried as a reason against it, and what trials like it
came to as a second opinion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.acquisitions.scores import confident
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Prediction
from memristor_bdnn.skills.protocol import Skill

FloatArray = npt.NDArray[np.floating[Any]]

Tried = tuple[FloatArray, FloatArray]
"""Network inputs (m, d) and scores (m,) of the labels."""

CHOICES = ("confident", "sturdy")
NEAREST = 3
"""Tried trials to which a candidate's distance is averaged: one that is near may be a lucky one."""
CAUTION = 0.6
"""Probability of success that one standard deviation of distance costs."""
TRUST = 0.5
"""Probability of success that a mean score of 1 of the trials nearby is worth."""
WIDTH, FAR = 0.4, 0.1
"""Width of "nearby" in standard deviations, and the weight of a score of 0 that stands for what is far from all."""
_BLOCK = 4096


def scores(name: str, skill: Skill, prediction: Prediction, asked: FloatArray, tried: Tried) -> FloatArray:
    """Scores (n,) of candidates; the highest is executed.

    Args:
        name: ``confident``, mu / sigma (source paper), or ``sturdy``, p + 0.5 s - 0.6 d with s the mean score
            :func:`nearby` and d the :func:`novelty`.
        skill: knows in which coordinates trials are alike.
        prediction: of the n candidates.
        asked: their network inputs, (n, d).
        tried: the labels.

    Raises:
        ConfigError: an unknown name.
    """
    if name == "confident":
        return confident(prediction)
    if name != "sturdy":
        raise ConfigError(f"final choice {name!r}: choose one of {', '.join(CHOICES)}")
    new, known = skill.likeness(asked), skill.likeness(tried[0])
    return np.asarray(prediction.mean) + TRUST * nearby(new, known, tried[1]) - CAUTION * novelty(new, known)


def nearby(asked: FloatArray, tried: FloatArray, outcomes: FloatArray) -> FloatArray:
    """Mean score of the trials near each candidate, (n,): Gaussian weights (Nadaraya 1964), towards 0 far from all.

    Args:
        asked: coordinates of the candidates, (n, k).
        tried: coordinates of the trials, (m, k); their mean and SD scale both.
        outcomes: scores of the trials, (m,).
    """

    def mean(distance: FloatArray) -> FloatArray:
        weight = np.exp(-(distance**2) / (2.0 * WIDTH**2))
        return np.asarray((weight @ outcomes) / (weight.sum(axis=1) + FAR))

    return _over_blocks(asked, tried, mean)


def novelty(asked: FloatArray, tried: FloatArray) -> FloatArray:
    """How far candidates are from all that was tried, (n,): root mean square over coordinates in units of their SD.

    Averaged over the nearest :data:`NEAREST` trials; the same for all where fewer were tried.

    Args:
        asked: coordinates of the candidates, (n, k).
        tried: coordinates of the trials, (m, k); their mean and SD scale both.
    """
    return _over_blocks(asked, tried, lambda d: np.partition(d, NEAREST - 1, axis=1)[:, :NEAREST].mean(axis=1))


def _over_blocks(asked: FloatArray, tried: FloatArray, of: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """A function of the distances (rows, m) to all trials, for every candidate, (n,); zeros for under 3 of them."""
    if len(tried) < NEAREST:  # one or two trials say nothing of a scale
        return np.zeros(len(asked))
    mean, sd = tried.mean(axis=0), tried.std(axis=0) + 1e-6
    known, new = (tried - mean) / sd, (asked - mean) / sd
    blocks = [new[begin : begin + _BLOCK] for begin in range(0, len(new), _BLOCK)]
    return np.concatenate([of(_distances(rows, known)) for rows in blocks]) if blocks else np.zeros(0)


def _distances(new: FloatArray, known: FloatArray) -> FloatArray:
    """Root mean square differences of rows (n, k) and (m, k), (n, m)."""
    square = (new**2).sum(axis=1)[:, None] + (known**2).sum(axis=1)[None] - 2.0 * new @ known.T
    distance: FloatArray = np.sqrt(np.maximum(square, 0.0) / new.shape[1])
    return distance
