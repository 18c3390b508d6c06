"""Models that a row of memristors can hold: logistic regression and a small network, for many chains at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.mcmc.rows import Posterior

Array = npt.NDArray[Any]


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)) through tanh, which never overflows."""
    result: Array = 0.5 + 0.5 * np.tanh(0.5 * z)
    return result


def log_sigmoid_sum(z: Array) -> Array:
    """Sum over the last axis of log sigmoid(z); z float32, below -60 treated as linear."""
    clipped = np.maximum(z, np.float32(-60.0))
    total: Array = -np.log(np.exp(-clipped) + np.float32(1.0)).sum(axis=-1, dtype=np.float64)
    if clipped.min(initial=0.0) == np.float32(-60.0):
        total = total + (z - clipped).sum(axis=-1, dtype=np.float64)
    return total


class Logistic:
    """f = 1 / (1 + exp(-S V.g)); a row holds one parameter for each input."""

    def __init__(self, scale_per_us: float = 0.05) -> None:
        """Args: scale_per_us: S, per microsiemens (unpublished; 0.05 measured to work best)."""
        self.scale = scale_per_us

    def parameters(self, n_inputs: int) -> int:
        """Differential pairs of a model."""
        return n_inputs

    def logits(self, x: Array, g: Array) -> Array:
        """Logits (a, n) of inputs x (a, n, d) or (n, d) under parameters g (a, d) in uS."""
        w = np.float32(self.scale) * g
        if x.ndim == 2:
            shared: Array = w @ x.T
            return shared
        each: Array = np.matmul(x, w[:, :, None])[..., 0]
        return each


class Network:
    """One hidden layer of sigmoid units without biases, as the published 10-9-1: (d + 1) h pairs a model."""

    def __init__(self, hidden: int = 9, scale_per_us: float = 0.1) -> None:
        """Args: hidden: units; scale_per_us: S of both layers, per microsiemens."""
        if hidden < 1:
            raise ConfigError(f"hidden = {hidden}: at least one unit")
        self.hidden, self.scale = hidden, scale_per_us

    def parameters(self, n_inputs: int) -> int:
        """Differential pairs of a model: 99 for 10-9-1, 198 devices."""
        return (n_inputs + 1) * self.hidden

    def logits(self, x: Array, g: Array) -> Array:
        """Logits (a, n) of inputs x (a, n, d) or (n, d) under parameters g (a, (d + 1) h) in uS."""
        d, h = x.shape[-1], self.hidden
        w = np.float32(self.scale) * g
        hidden = sigmoid(np.matmul(x, w[:, : d * h].reshape(-1, d, h)))
        result: Array = np.matmul(hidden, w[:, d * h :, None])[..., 0]
        return result


Model = Logistic | Network


class BernoulliData:
    """Labelled data of every chain, with the log likelihood of parameters; see ``LogLikelihood``."""

    def __init__(self, model: Model, x: Array, y: Array) -> None:
        """Keep the data.

        Args:
            model: gives logits.
            x: inputs (chains, n, d), or (n, d) shared by all chains.
            y: labels of the same leading shape, success above 0.5.
        """
        self.model = model
        self.x = np.asarray(x, np.float32)
        self.sign = np.where(np.asarray(y) > 0.5, np.float32(1.0), np.float32(-1.0))
        # A logistic model's logit is linear in x: fold the label's sign into the inputs once.
        self._folded = self.x * self.sign[..., None] if isinstance(model, Logistic) else None

    def __call__(self, chain: Array, g: Array) -> Array:
        """Log likelihood (a,) of parameters g (a, p), uS, under the data of chains (a,)."""
        own = self.x.ndim == 3
        everyone = own and len(chain) == len(self.x)
        if self._folded is not None:
            x = self._folded if not own or everyone else self._folded[chain]
            return log_sigmoid_sum(self.model.logits(x, g))
        x = self.x if not own or everyone else self.x[chain]
        sign = self.sign if not own or everyone else self.sign[chain]
        return log_sigmoid_sum(sign * self.model.logits(x, g))


def posterior_mean(model: Model, posterior: Posterior, x: Array) -> Array:
    """Predictive probability (chains, n): sum of C_n f(V.g_n) over sum of C_n after burn-in.

    x has shape (chains, n, d), or (n, d) for all chains alike.
    """
    weights = posterior.weights()
    mean = np.empty((len(weights), x.shape[-2]))
    for chain, row_weights in enumerate(weights):
        rows = np.flatnonzero(row_weights)
        inputs = np.asarray(x if x.ndim == 2 else x[chain], np.float32)
        mean[chain] = row_weights[rows] @ sigmoid(model.logits(inputs, posterior.g[chain, rows]))
    return mean
