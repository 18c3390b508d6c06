"""A bootstrap of logistic models, each written into memristors; their disagreement is the doubt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memristor_bdnn.config import option
from memristor_bdnn.learners.base import BaseLearner, LearnerConfig
from memristor_bdnn.learners.protocol import LearnReport
from memristor_bdnn.state import check_array


@dataclass(frozen=True)
class BootstrapConfig(LearnerConfig):
    """Options besides the common ones; every one is checked when the learner is made, and is a ROS parameter."""

    models: int = option(20, "logistic models, each on its own resampling of the labels", low=2, high=1000)
    weight_span: float = option(5.0, "largest weight that a pair of devices can hold", low=0.1, high=100.0)
    weight_decay: float = option(0.02, "ridge penalty per label", low=0.0, high=10.0)
    steps: int = option(60, "gradient steps of each training", low=1, high=100_000)


class BootstrapLearner(BaseLearner):
    """Logistic models on bootstrap samples, trained in software and deployed by write-verify."""

    config_type = BootstrapConfig
    name = "bootstrap"
    checkpoint = "bootstrap_learner/2"

    def __init__(self, accelerator, config=None, seed=0):
        """Allocate a pair of devices for every weight of every model."""
        super().__init__(accelerator, config, seed)
        self.wanted = np.zeros((self.config.models, self.n_features + 1))
        accelerator.allocate(2 * self.wanted.size)
        low, high = accelerator.preset.window_ua
        self.middle, self.unit = (low + high) / 2, (high - low) / self.config.weight_span / 2

    def _fit(self, x, y, watch):
        """Start from zero weights."""
        self._fit_scaler(x)
        self.wanted[:] = 0.0
        return self._learn(x, y, watch)

    def _learn(self, x, y, watch):
        """Draw a bootstrap sample for every model, go on from its weights, and write the result."""
        if self.scaler is None:
            self._fit_scaler(x)
        inputs = self._inputs(x)
        counts = self.rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=self.config.models)
        step = 4.0 / (inputs**2).sum(axis=1).max()
        loss, history = 0.0, []
        for epoch in range(self.config.steps):
            p = 1 / (1 + np.exp(-self.wanted @ inputs.T))
            slope = (counts * (p - y)) @ inputs / len(x) + self.config.weight_decay * self.wanted
            self.wanted -= step * slope
            loss = float(-(y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12)).mean())
            history.append(float(((p.mean(axis=0) > 0.5) == (y > 0.5)).mean()))
            if watch(epoch + 1, self.config.steps, loss, history[-1], 0):
                break
        np.clip(self.wanted, -self.config.weight_span, self.config.weight_span, out=self.wanted)
        pairs = self.middle + self.unit / 2 * np.stack([self.wanted, -self.wanted], axis=-1)
        written = self.accelerator.write_verify(np.clip(pairs, *self.accelerator.preset.window_ua).ravel())
        self.looking.deployed(written)  # says or refuses what could not be written
        return LearnReport(len(history), loss, history[-1], written.pulses, tuple(history))

    def _samples(self, x, samples):
        """Every model once per read of all cells, as many reads as give the samples asked for."""
        reads = -(-samples // self.config.models)
        pairs = self.accelerator.read(reads).reshape(reads * self.config.models, -1, 2)
        weights = (pairs[..., 0] - pairs[..., 1]) / self.unit
        return 1 / (1 + np.exp(-weights @ self._inputs(x).T))

    def _state(self):
        return {"wanted": self.wanted}

    def _check(self, arrays):
        """No weight lies beyond what a pair of devices can hold; refused before anything is touched."""
        check_array("wanted", arrays["wanted"], low=-self.config.weight_span, high=self.config.weight_span)

    def _restore(self, arrays):
        self.wanted = arrays["wanted"]

    def _inputs(self, x):
        """Standardised features and a 1 for the bias, (n, n_features + 1)."""
        return np.concatenate([self._scaled(x), np.ones((len(x), 1))], axis=1)
