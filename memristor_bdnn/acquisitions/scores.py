"""Which trial would teach most: one small function per strategy, higher scores are asked first.

Each takes a :class:`~memristor_bdnn.learners.protocol.Prediction` of n candidates (and a random
generator, used by ``random`` only) and returns scores of shape (n,); found by name in
:mod:`memristor_bdnn.acquisitions`. All but ``straddle`` and ``confident`` take any number of classes; with two, their
formulas for k classes give the same scores as those for the success probability p.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.acquisitions.protocol import acquisition
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Prediction

FloatArray = npt.NDArray[np.floating[Any]]


@acquisition(needs_samples=False, rowwise=True)
def straddle(prediction: Prediction, rng: np.random.Generator | None = None) -> FloatArray:
    """-|mu| + 1.96 sigma with mu = 2 p - 1, 0 on the decision boundary (source paper; Bryan et al. 2005).

    Raises:
        ConfigError: more than two classes, which have no single boundary.
    """
    two_classes(prediction, "straddle", "entropy, bald, variance or margin")
    return -np.abs(2.0 * prediction.mean - 1.0) + 1.96 * 2.0 * prediction.std


@acquisition(needs_samples=False)
def random(prediction: Prediction, rng: np.random.Generator | None = None) -> FloatArray:
    """Uniform scores: passive learning."""
    if rng is None:
        raise ConfigError("the random strategy needs a random generator")
    return rng.random(len(prediction.mean))


@acquisition(needs_samples=False, rowwise=True)
def entropy(prediction: Prediction, rng: np.random.Generator | None = None) -> FloatArray:
    """Entropy of the mean prediction, nats: H[E p]."""
    return _entropy(prediction.mean, prediction.n_classes)


@acquisition(needs_samples=True, rowwise=True)
def bald(prediction: Prediction, rng: np.random.Generator | None = None) -> FloatArray:
    """Mutual information of label and weights: H[E p] - E H[p] (Houlsby et al. 2011)."""
    k = prediction.n_classes
    return _entropy(prediction.mean, k) - _entropy(prediction.samples, k).mean(axis=0)


@acquisition(needs_samples=False, rowwise=True)
def variance(prediction: Prediction, rng: np.random.Generator | None = None) -> FloatArray:
    """Variance of the samples' success probabilities; with k classes half the sum of the k variances."""
    square = np.asarray(prediction.std) ** 2
    return square if prediction.n_classes == 2 else square.sum(axis=1) / 2.0


@acquisition(needs_samples=False, rowwise=True)
def margin(prediction: Prediction, rng: np.random.Generator | None = None) -> FloatArray:
    """-|mu|: nearest to the decision boundary, whatever the spread; with k classes the best one's lead over the next.

    (Scheffer et al. 2001)
    """
    if prediction.n_classes == 2:
        return -np.abs(2.0 * prediction.mean - 1.0)
    best = np.partition(prediction.mean, -2, axis=1)
    return best[:, -2] - best[:, -1]


@acquisition(needs_samples=False, rowwise=True)
def confident(prediction: Prediction, rng: np.random.Generator | None = None) -> FloatArray:
    """mu / sigma, mu = 2 p - 1: the surest success first; used when the skill is put to work (source paper)."""
    two_classes(prediction, "confident", "label and classes of the prediction")
    return (2.0 * prediction.mean - 1.0) / np.maximum(2.0 * prediction.std, 1e-6)


def two_classes(prediction: Prediction, name: str, instead: str) -> None:
    """Refuse predictions of more classes than success and failure."""
    if prediction.n_classes != 2:
        raise ConfigError(f"{name} is for two classes, the prediction has {prediction.n_classes}: use {instead}")


def _entropy(p: FloatArray, classes: int) -> FloatArray:
    """Entropy of success probabilities (..., n), or over the last axis of class probabilities (..., n, classes)."""
    p = np.clip(np.asarray(p, dtype=np.float64), 1e-9, 1.0 - 1e-9)
    if classes == 2:
        return -(p * np.log(p) + (1.0 - p) * np.log(1.0 - p))
    total: FloatArray = -(p * np.log(p)).sum(axis=-1)
    return total
