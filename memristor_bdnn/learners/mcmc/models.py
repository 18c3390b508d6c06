"""Models that a row of memristors can hold: logistic regression and a small network, for many chains at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
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


def log_likelihood(z: Array, targets: Array) -> float:
    """Of targets under logits: Bernoulli for both (n,), categorical for both (n, k)."""
    if z.ndim == 1:
        return float(targets @ z - np.logaddexp(0.0, z).sum())
    highest = z.max(axis=-1, keepdims=True)
    normalisers = np.log(np.exp(z - highest).sum(axis=-1)) + highest[:, 0]
    return float((targets * z).sum() - normalisers.sum())


def chosen(z: Array) -> Array:
    """Classes that logits speak for: bool (n,) for (n,), numbers (n,) for (n, k)."""
    said: Array = z > 0 if z.ndim == 1 else z.argmax(axis=-1)
    return said


class Logistic:
    """f = 1 / (1 + exp(-S V.g)); a row holds one parameter for each input, or one for each input and class."""

    def __init__(self, scale_per_us: float = 0.05, classes: int = 2) -> None:
        """Set up.

        Args:
            scale_per_us: S, per microsiemens (unpublished; 0.05 measured to work best).
            classes: more than 2 have a logit each, softmax takes the place of the logistic function.
        """
        self.scale, self.classes = scale_per_us, classes

    def parameters(self, n_inputs: int) -> int:
        """Differential pairs of a model."""
        return n_inputs if self.classes == 2 else n_inputs * self.classes

    def logits(self, x: Array, g: Array) -> Array:
        """Logits of inputs x (a, n, d) or (n, d) under parameters g (a, p) in uS: (a, n), or (a, n, classes)."""
        w = np.float32(self.scale) * g
        if self.classes > 2:
            of_class: Array = np.matmul(x, w.reshape(len(w), -1, self.classes))
            return of_class
        if x.ndim == 2:
            shared: Array = w @ x.T
            return shared
        each: Array = np.matmul(x, w[:, :, None])[..., 0]
        return each


class Network:
    """Hidden layers of sigmoid units without biases, as the published 10-9-1: (d + 1) h pairs a model."""

    def __init__(self, hidden: int | Sequence[int] = 9, scale_per_us: float = 0.1, classes: int = 2) -> None:
        """Set up.

        Args:
            hidden: units of the hidden layer, or of every one.
            scale_per_us: S of all layers, per microsiemens.
            classes: more than 2 have a logit each.
        """
        self.hidden = (hidden,) if isinstance(hidden, int) else tuple(hidden)
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigError(f"hidden = {hidden}: at least one unit")
        self.scale, self.classes = scale_per_us, classes

    def _shapes(self, n_inputs: int) -> list[tuple[int, int]]:
        """Inputs and outputs of every layer."""
        return list(itertools.pairwise((n_inputs, *self.hidden, 1 if self.classes == 2 else self.classes)))

    def parameters(self, n_inputs: int) -> int:
        """Differential pairs of a model: 99 for 10-9-1, 198 devices."""
        return sum(inputs * outputs for inputs, outputs in self._shapes(n_inputs))

    def logits(self, x: Array, g: Array) -> Array:
        """Logits of inputs x (a, n, d) or (n, d) under parameters g (a, p) in uS: (a, n), or (a, n, classes)."""
        w, values, start = np.float32(self.scale) * g, x, 0
        shapes = self._shapes(x.shape[-1])
        for layer, (inputs, outputs) in enumerate(shapes):
            part = w[:, start : start + inputs * outputs].reshape(-1, inputs, outputs)
            values = np.matmul(values, part)
            if layer < len(shapes) - 1:
                values = sigmoid(values)
            start += inputs * outputs
        result: Array = values[..., 0] if self.classes == 2 else values
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
        x = self.x if self._folded is None else self._folded
        if x.ndim == 3:
            if len(chain) > 1 and (chain == chain[0]).all():  # several models under the data of one chain
                chain = chain[0]
            if np.ndim(chain) == 0 or len(chain) < len(x):
                x, sign = x[chain], self.sign[chain]
            else:
                sign = self.sign
        else:
            sign = self.sign
        z = self.model.logits(x, g)
        return log_sigmoid_sum(z if self._folded is not None else sign * z)


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
