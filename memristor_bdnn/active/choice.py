"""What to do when a skill is put to work: the candidate that is surest to succeed, or the sturdiest.

A network is sure of itself where it has seen nothing, and among a thousand candidates there is one to be found there.
The sturdy choice takes how far a candidate is from all that was tried as a reason against it, and what trials like it
came to as a second opinion.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import acquisitions
from memristor_bdnn.acquisitions.policies import TRUST
from memristor_bdnn.acquisitions.scores import confident
from memristor_bdnn.acquisitions.surroundings import Tried
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Prediction
from memristor_bdnn.skills.protocol import Skill

FloatArray = npt.NDArray[np.floating[Any]]

Labels = tuple[FloatArray, FloatArray]
"""Network inputs (m, d) and scores (m,) of the labels."""

CHOICES = ("confident", "sturdy")
CAUTION = 0.6
"""Probability of success that one standard deviation of distance costs."""


def scores(name: str, skill: Skill, prediction: Prediction, asked: FloatArray, known: Labels) -> FloatArray:
    """Scores (n,) of candidates; the highest is executed.

    Args:
        name: ``confident``, mu / sigma (source paper), or ``sturdy``, p + 0.5 s - 0.6 d with s the mean score
            nearby and d the novelty (:mod:`memristor_bdnn.acquisitions.surroundings`).
        skill: knows in which coordinates trials are alike.
        prediction: of the n candidates.
        asked: their network inputs, (n, d).
        known: the labels.

    Raises:
        ConfigError: an unknown name.
    """
    if name == "confident":
        return confident(prediction)
    if name != "sturdy":
        raise ConfigError(f"final choice {name!r}: choose one of {', '.join(CHOICES)}")
    tried = around(skill, asked, known)
    return np.asarray(prediction.mean) + TRUST * tried.nearby() - CAUTION * tried.novelty()


def for_strategy(name: str) -> str:
    """The choice that belongs to a strategy where none is given: ``sturdy`` for one that keeps to what was tried.

    A network that has learned near what went well alone is sure of itself elsewhere, where it knows nothing.

    Raises:
        ConfigError: an unknown strategy.
    """
    return "sturdy" if getattr(acquisitions.load(name), "needs_labels", False) else "confident"


def around(skill: Skill, asked: FloatArray, known: Labels) -> Tried:
    """Candidates (n, d) and labels where the skill says that trials go alike, for what scores by both."""
    return Tried(skill.likeness(asked), skill.likeness(known[0]), known[1])
