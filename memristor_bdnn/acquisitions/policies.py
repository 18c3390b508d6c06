"""Which trial next, where a trial is to succeed too: strategies that learn on policy.

Asking near the decision boundary makes every other question a failure. These ask for what is both promising and
unknown, so that learning is paid for with few failures, and what is learned is learned where the skill will be used.
``confident`` in :mod:`memristor_bdnn.acquisitions.scores` is the same with the doubt taken as a reason against.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.acquisitions.protocol import acquisition
from memristor_bdnn.acquisitions.scores import straddle, two_classes
from memristor_bdnn.acquisitions.surroundings import Tried
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Prediction

FloatArray = npt.NDArray[np.floating[Any]]

KAPPA = 1.0
"""Standard deviations that doubt is worth in :func:`ucb`."""
TRUST, CURIOUS = 0.5, 0.3
"""Probability of success that a mean score of 1 nearby is worth, and an SD of distance costs, in :func:`sturdy`."""
OPEN = 1.96
"""A candidate nearer to the decision boundary than so many standard deviations is undecided, as in straddle."""


@acquisition(needs_samples=False, rowwise=True)
def ucb(prediction: Prediction, rng: np.random.Generator | None = None) -> FloatArray:
    """mu + kappa sigma with mu = 2 p - 1, kappa = 1: promising, or unknown (Auer 2002; Srinivas et al. 2010)."""
    return (2.0 * prediction.mean - 1.0) + KAPPA * 2.0 * prediction.std


def _of_distinct_samples(
    prediction: Prediction, k: int, rng: np.random.Generator | None
) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Candidates and scores (k,): each the one that another posterior sample likes best among those still free."""
    order = _generator(rng).permutation(len(prediction.samples))
    free = np.ones(len(prediction.mean), dtype=bool)
    chosen, scores = np.zeros(k, dtype=np.intp), np.zeros(k)
    for place in range(k):
        sample = prediction.samples[order[place % len(order)]]
        best = chosen[place] = np.argmax(np.where(free, sample, -np.inf))
        scores[place], free[best] = sample[best], False
    return chosen, scores


@acquisition(needs_samples=True, batch=_of_distinct_samples)
def thompson(prediction: Prediction, rng: np.random.Generator | None = None) -> FloatArray:
    """p of one posterior sample, drawn at random: one read of the chips (Thompson 1933; Russo et al. 2018).

    A candidate is asked as often as it is the best one under the posterior. Of several at once, each is the best of
    a sample of its own (Kandasamy et al. 2018).
    """
    return np.array(prediction.samples[_generator(rng).integers(len(prediction.samples))])


@acquisition(needs_samples=False)
def turning(prediction: Prediction, rng: np.random.Generator | None = None) -> FloatArray:
    """u straddle + (1 - u) ucb, u the share of candidates with abs(mu) < 1.96 sigma: learns first, then succeeds.

    While most candidates are undecided it asks near the boundary; as they are decided it turns to those that succeed,
    without a number of trials at which to turn (after the straddle rule of Bryan et al. 2005).
    """
    if len(prediction.mean) == 0:
        return np.zeros(0)
    undecided = float((np.abs(2.0 * prediction.mean - 1.0) < OPEN * 2.0 * prediction.std).mean())
    return undecided * straddle(prediction) + (1.0 - undecided) * ucb(prediction)


@acquisition(needs_samples=False, needs_labels=True)
def sturdy(prediction: Prediction, rng: np.random.Generator | None = None, tried: Tried | None = None) -> FloatArray:
    """p + sigma_p + 0.5 s - 0.3 d: what it would do, where doubt is a reason to find out.

    s is the mean score of the labels near a candidate, d how far it is from all of them; as the sturdy choice when the
    skill is put to work (:mod:`memristor_bdnn.active.choice`), but distance counts half as much, and the standard
    deviation of p for it.

    Raises:
        ConfigError: no labels were given, or more than two classes.
    """
    if tried is None:
        raise ConfigError("the sturdy strategy scores by labelled trials too: give them")
    two_classes(prediction, "sturdy", "entropy, bald, variance or margin")
    return prediction.mean + prediction.std + TRUST * tried.nearby() - CURIOUS * tried.novelty()


def _generator(rng: np.random.Generator | None) -> np.random.Generator:
    if rng is None:
        raise ConfigError("the thompson strategy needs a random generator")
    return rng
