"""What a learner plugin offers; the loop, the nodes and the conformance suite see only this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Prediction:
    """Predicted probability of success of every candidate.

    Attributes:
        mean: shape (n,), mean over the posterior samples, in [0, 1].
        std: shape (n,), standard deviation over the posterior samples.
        samples: shape (samples, n), one row per posterior sample.
    """

    mean: FloatArray
    std: FloatArray
    samples: FloatArray


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
    accuracy per epoch. ``warnings`` says, with figures, what of the devices or the training did not work.
    """

    epochs: int
    loss: float
    accuracy: float
    pulses: int
    history: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()


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
            progress: called once an epoch.
            cancelled: asked once an epoch; True stops with what has been learned so far.

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
