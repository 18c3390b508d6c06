"""What was tried near a candidate: how far it is from all trials, and what those like it came to.

Measured in coordinates in which trials go alike (:meth:`memristor_bdnn.skills.protocol.Skill.likeness`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]

NEAREST = 3
"""Tried trials to which a candidate's distance is averaged: one that is near may be a lucky one."""
WIDTH, FAR = 0.4, 0.1
"""Width of "nearby" in standard deviations, and the weight of a score of 0 that stands for what is far from all."""
_BLOCK = 4096


@dataclass(frozen=True)
class Tried:
    """Candidates and labelled trials in the same coordinates.

    Attributes:
        asked: coordinates of the candidates, (n, k).
        known: coordinates of the labelled trials, (m, k).
        scores: their scores in [-1, 1], (m,).
    """

    asked: FloatArray
    known: FloatArray
    scores: FloatArray

    def nearby(self) -> FloatArray:
        """See :func:`nearby`."""
        return nearby(self.asked, self.known, self.scores)

    def novelty(self) -> FloatArray:
        """See :func:`novelty`."""
        return novelty(self.asked, self.known)


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
