"""What a learner plugin offers; the loop, the nodes and the conformance suite see only this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.network.bayesian import decided

FloatArray = npt.NDArray[np.floating[Any]]


_AT_ONCE = 1 << 17
"""Samples of candidates whose mean and spread are taken at a time: they stay in the cache."""


@dataclass(frozen=True)
class Prediction:
    """Predicted probability of success of every candidate, or of each of k > 2 classes.

    Attributes:
        mean: shape (n,), mean over the posterior samples, in [0, 1]; (n, k) for k > 2 classes.
        std: same shape, standard deviation over the posterior samples.
        samples: shape (samples, n) or (samples, n, k), one entry per posterior sample.
    """

    mean: FloatArray
    std: FloatArray
    samples: FloatArray

    @classmethod
    def of(cls, samples: FloatArray) -> Prediction:
        """From the posterior samples alone, (samples, n) or (samples, n, k); candidates are taken some at a time."""
        mean = np.empty(samples.shape[1:], dtype=samples.dtype)
        std, at_once = np.empty_like(mean), max(1024, _AT_ONCE // len(samples))
        for start in range(0, samples.shape[1], at_once):
            part = samples[:, start : start + at_once]
            centre = mean[start : start + at_once]
            centre[:] = part.mean(axis=0)
            spread = part - centre
            spread *= spread
            std[start : start + at_once] = np.sqrt(spread.mean(axis=0))
        return cls(mean, std, samples)

    @property
    def n_classes(self) -> int:
        """Number of classes k."""
        return 2 if np.ndim(self.mean) == 1 else int(np.shape(self.mean)[1])

    @property
    def classes(self) -> FloatArray:
        """Mean probability of every class, (n, k), whatever k is; of two, success is class 1."""
        return _both(self.mean) if np.ndim(self.mean) == 1 else self.mean

    @property
    def class_std(self) -> FloatArray:
        """Standard deviation of the probability of every class over the posterior samples, (n, k)."""
        return np.stack([self.std, self.std], axis=-1) if np.ndim(self.mean) == 1 else self.std

    @property
    def class_samples(self) -> FloatArray:
        """Probability of every class in every posterior sample, (samples, n, k)."""
        return _both(self.samples) if np.ndim(self.mean) == 1 else self.samples

    @property
    def label(self) -> npt.NDArray[np.int64]:
        """Most probable class, (n,), 0 to k - 1."""
        return decided(self.mean).astype(np.int64)


def _both(p: FloatArray) -> FloatArray:
    """Probabilities (..., 2) of failure and success from those of success (...)."""
    return np.stack([1.0 - p, p], axis=-1)


@dataclass(frozen=True)
class LearnProgress:
    """State of a running fit or in situ training, given to the progress callback once an epoch."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    pulses: int


@dataclass(frozen=True)
class LearnReport:
    """Outcome of a fit or an in situ training.

    ``accuracy`` is measured on the labels trained on, from noisy reads; ``history`` has one
    accuracy per epoch. ``warnings`` says, with figures, what of the devices or the training did not work;
    ``diagnostics`` has the method's own figures by name, those that could be taken.
    """

    epochs: int
    loss: float
    accuracy: float
    pulses: int
    history: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    diagnostics: Mapping[str, float] = field(default_factory=dict)


ProgressCallback = Callable[[LearnProgress], None]
CancelCallback = Callable[[], bool]


@runtime_checkable
class Learner(Protocol):
    """A Bayesian classifier that lives on an accelerator.

    Plugins are classes found under the entry-point group ``memristor_bdnn.learners`` and called as
    ``cls(accelerator, config, seed)``, where ``config`` is an instance of ``cls.config_type`` (a
    frozen dataclass with the option ``n_inputs``, see :mod:`memristor_bdnn.config`) and ``seed`` an int.
    :class:`memristor_bdnn.learners.base.BaseLearner` has all of it but the method.
    """

    name: str
    config: Any
    accelerator: Accelerator
    n_inputs: int
    """Width of x, the option of the same name: as many as the skill has features."""

    def fit(
        self,
        x: FloatArray,
        y: FloatArray,
        progress: ProgressCallback | None = None,
        cancelled: CancelCallback | None = None,
    ) -> LearnReport:
        """Train from scratch (ex situ) and deploy to the accelerator.

        Args:
            x: shape (n, n_inputs), features in [-1, 1].
            y: shape (n,), success as a number in [0, 1]; above 0.5 is a success. A value between
               is a soft label ((score + 1) / 2); learners of hard labels threshold it themselves.
               With k > 2 classes (option ``n_classes``) whole numbers 0 to k - 1, or the probability of every
               class, (n, k), which is learned as given.
            progress: called once an epoch.
            cancelled: asked once an epoch; True stops with what has been learned so far. While the network is written
                into chips that take their time, it is asked then too, and raises Cancelled.

        Raises:
            ConfigError: wrong shape, NaN, label out of [0, 1]; names the value and the place.
        """

    def learn(
        self,
        x: FloatArray,
        y: FloatArray,
        progress: ProgressCallback | None = None,
        cancelled: CancelCallback | None = None,
    ) -> LearnReport:
        """Train in situ on all labels so far, starting from the present device states."""

    def predict(self, x: FloatArray, samples: int = 20) -> Prediction:
        """Predict n candidates, x of shape (n, n_inputs), from ``samples`` posterior samples."""

    def save(self, path: str | Path) -> str:
        """Write a checkpoint (.npz, no pickle); returns its SHA-256. Includes accelerator state."""

    def load(self, path: str | Path) -> str:
        """Restore a checkpoint bit-exactly; returns its SHA-256. Raises ConfigError if it does not fit."""
