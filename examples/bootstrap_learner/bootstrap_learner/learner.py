"""A bootstrap of logistic models, each written into memristors; their disagreement is the doubt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners import checkpoint
from memristor_bdnn.learners.checks import check_inputs, check_labels
from memristor_bdnn.learners.protocol import LearnProgress, LearnReport, Prediction
from memristor_bdnn.state import pack_rng, restore_rng

KIND = "bootstrap_learner/1"


@dataclass(frozen=True)
class BootstrapConfig:
    """Options; every one is checked when the learner is made, and is a ROS parameter by itself."""

    n_inputs: int = option(11, "width of x", low=1, high=10_000)
    models: int = option(20, "logistic models, each on its own resampling of the labels", low=2, high=1000)
    weight_span: float = option(5.0, "largest weight that a pair of devices can hold", low=0.1, high=100.0)
    weight_decay: float = option(0.02, "ridge penalty per label", low=0.0, high=10.0)
    steps: int = option(60, "gradient steps of each training", low=1, high=100_000)

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


class BootstrapLearner:
    """Logistic models on bootstrap samples, trained in software and deployed by write-verify."""

    config_type = BootstrapConfig
    name = "bootstrap"

    def __init__(self, accelerator, config=None, seed=0):
        """Allocate a pair of devices for every weight of every model."""
        self.config = config or BootstrapConfig()
        self.accelerator = accelerator
        self.n_inputs = self.config.n_inputs
        self.shape = (self.config.models, self.n_inputs + 1)
        accelerator.allocate(2 * self.shape[0] * self.shape[1])
        low, high = accelerator.preset.window_ua
        self.middle, self.unit = (low + high) / 2, (high - low) / self.config.weight_span / 2
        self.rng = np.random.default_rng(seed)
        self.wanted = np.zeros(self.shape)
        self.ready = False

    def fit(self, x, y, progress=None, cancelled=None):
        """Start from zero weights."""
        check_inputs(x, self.n_inputs)
        check_labels(y, len(x))
        self.wanted[:] = 0.0
        return self.learn(x, y, progress, cancelled)

    def learn(self, x, y, progress=None, cancelled=None):
        """Draw a bootstrap sample for every model, go on from its weights, and write the result."""
        x = check_inputs(x, self.n_inputs)
        y = check_labels(y, len(x))
        inputs = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        counts = self.rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=self.config.models)
        step = 4.0 / (inputs**2).sum(axis=1).max()
        loss, history = 0.0, []
        for epoch in range(self.config.steps):
            p = 1 / (1 + np.exp(-self.wanted @ inputs.T))
            slope = (counts * (p - y)) @ inputs / len(x) + self.config.weight_decay * self.wanted
            self.wanted -= step * slope
            loss = float(-(y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12)).mean())
            history.append(float(((p.mean(axis=0) > 0.5) == (y > 0.5)).mean()))
            if progress is not None:
                progress(LearnProgress(epoch + 1, self.config.steps, loss, history[-1], 0))
            if cancelled is not None and cancelled():
                break
        np.clip(self.wanted, -self.config.weight_span, self.config.weight_span, out=self.wanted)
        pairs = self.middle + self.unit / 2 * np.stack([self.wanted, -self.wanted], axis=-1)
        written = self.accelerator.write_verify(np.clip(pairs, *self.accelerator.preset.window_ua).ravel())
        self.ready = True
        return LearnReport(len(history), loss, history[-1], written.pulses, tuple(history))

    def predict(self, x, samples=20):
        """Every model once per read of all cells, as many reads as give the samples asked for."""
        x = check_inputs(x, self.n_inputs, rows=0)
        if samples < 1:
            raise ConfigError(f"samples = {samples}: at least 1")
        if not self.ready:
            raise ConfigError("this learner has no data yet: call fit or learn first")
        reads = -(-samples // self.config.models)
        pairs = self.accelerator.read(reads).reshape(reads * self.config.models, -1, 2)
        weights = (pairs[..., 0] - pairs[..., 1]) / self.unit
        p = 1 / (1 + np.exp(-weights @ np.concatenate([x, np.ones((len(x), 1))], axis=1).T))
        return Prediction(p.mean(axis=0), p.std(axis=0), p)

    def save(self, path):
        """One file with weights, generator, options and chips; returns its SHA-256."""
        arrays = {"wanted": self.wanted, "ready": np.array(self.ready), "rng": pack_rng(self.rng)}
        return checkpoint.save(path, KIND, self.config, self.accelerator, arrays)

    def load(self, path):
        """Restore :meth:`save`; returns the file's SHA-256."""
        arrays, digest = checkpoint.load(path, KIND, self.config, self.accelerator)
        restore_rng(self.rng, arrays["rng"])
        self.wanted, self.ready = arrays["wanted"], bool(arrays["ready"])
        return digest
