"""A Bayesian network whose weights are read currents: forward pass and analytic gradients.

One read of all cells is one sample of every weight, used for the whole batch. The gradients are
written out (no autograd) because in situ learning spends nearly all of its time in them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.native import kernels
from memristor_bdnn.network.scratch import Scratch

FloatArray = npt.NDArray[np.floating[Any]]
Shape = tuple[int, int, int]

POURING_SHAPES: tuple[Shape, ...] = ((12, 50, 3), (51, 50, 3), (51, 2, 3))
"""(inputs + bias row, outputs, devices per weight) of each layer, source paper and its chip files."""

_BLOCK = 256
"""Rows per block of a forward pass: activations of 20 reads stay in the cache."""
_GRADIENT_FLOATS = 1 << 19
"""Activations of one layer, all reads, that a block of a gradient may hold; more rows are taken block by block."""
_scratch = Scratch()


@dataclass(frozen=True)
class LossGradient:
    """Cross entropy of a batch and its gradient.

    Attributes:
        loss: mean over the reads of the cross entropy summed over the batch, nats.
        gradient: shape (groups, n_weights), d loss / d weight, averaged over the reads of each group.
        probability: averaged over the reads, shape (n,) of success, or (n, classes) for targets of that shape.
    """

    loss: float
    gradient: FloatArray
    probability: FloatArray


def layer_shapes(n_inputs: int, hidden: Sequence[int], outputs: int = 2, devices: int = 3) -> tuple[Shape, ...]:
    """Shapes of a fully connected network with one bias row per layer."""
    sizes = (n_inputs, *hidden, outputs)
    return tuple((a + 1, b, devices) for a, b in itertools.pairwise(sizes))


class BayesianNetwork:
    """Sigmoid hidden layers and a softmax output; weight = (sum of its devices - offset) / scale.

    Args:
        shapes: (inputs + 1, outputs, devices) of each layer; cells are numbered in that order.
        offset: sum of a weight's currents that means weight 0, microampere.
        scale: microampere per unit of weight.

    Raises:
        ConfigError: shapes that do not chain, a scale that is not positive.
    """

    def __init__(self, shapes: Sequence[Shape] = POURING_SHAPES, offset: float = 6.66, scale: float = 1.1) -> None:
        shapes = tuple((int(i), int(o), int(d)) for i, o, d in shapes)
        if not shapes or min(min(s) for s in shapes) < 1 or shapes[-1][1] < 2:
            raise ConfigError(f"shapes = {shapes}: needs inputs, outputs (the last at least 2), devices")
        for left, right in itertools.pairwise(shapes):
            if right[0] != left[1] + 1:
                raise ConfigError(f"layer {left} gives {left[1]} outputs, but {right} expects {right[0] - 1}")
        if len({s[2] for s in shapes}) != 1:
            raise ConfigError(f"shapes = {shapes}: every layer must use the same number of devices per weight")
        if not scale > 0.0:
            raise ConfigError(f"scale = {scale}: must be above 0 uA per unit of weight")
        self.shapes, self.offset, self.scale = shapes, float(offset), float(scale)
        self.devices = shapes[0][2]
        sizes = [i * o for i, o, _ in shapes]
        ends = np.cumsum(sizes)
        self.layers = [slice(int(e - s), int(e)) for s, e in zip(sizes, ends, strict=True)]
        """Range of each layer in the flat vector of weights."""
        self.n_weights = int(ends[-1])
        self.n_cells = self.n_weights * self.devices
        self.n_inputs = shapes[0][0] - 1
        self.n_classes = shapes[-1][1]

    def flat_weights(self, currents: FloatArray) -> FloatArray:
        """Weights of currents (S, n_cells) in microampere; shape (S, n_weights), float32."""
        currents = np.asarray(currents, dtype=np.float32)
        if currents.ndim != 2 or currents.shape[1] != self.n_cells:
            raise ConfigError(f"currents have shape {currents.shape}: expected (samples, {self.n_cells})")
        if kernels is not None:
            made = np.empty((len(currents), self.n_weights), dtype=np.float32)
            kernels.weights(np.ascontiguousarray(currents), made, self.devices, self.offset, self.scale)
            return made
        total = currents[:, :: self.devices].copy()
        for device in range(1, self.devices):
            total += currents[:, device :: self.devices]
        total -= np.float32(self.offset)
        total /= np.float32(self.scale)
        return total

    def split(self, flat: FloatArray) -> list[FloatArray]:
        """Views of flat weights (S, n_weights), one (S, inputs + 1, outputs) per layer."""
        return [
            flat[:, part].reshape(len(flat), i, o) for part, (i, o, _) in zip(self.layers, self.shapes, strict=True)
        ]

    def weights(self, currents: FloatArray) -> list[FloatArray]:
        """Weight matrices of reads (S, n_cells): one (S, inputs + 1, outputs) per layer, bias row last."""
        return self.split(self.flat_weights(currents))

    def targets(self, flat: FloatArray, low: float, high: float) -> FloatArray:
        """Currents (n_cells,) in the window [low, high] whose equal devices give weights (n_weights,)."""
        share = (np.asarray(flat, dtype=np.float64) * self.scale + self.offset) / self.devices
        return np.repeat(np.clip(share, low, high), self.devices)

    def forward(self, x: FloatArray, currents: FloatArray) -> FloatArray:
        """Probabilities of standardised inputs x (n, n_inputs) for every read.

        Shape (S, n), of the second of two classes; (S, n, classes) where there are more.
        """
        return self.forward_flat(x, self.flat_weights(currents))

    def forward_flat(self, x: FloatArray, flat: FloatArray) -> FloatArray:
        """As :meth:`forward`, from flat weights (S, n_weights)."""
        columns = self._augmented(x)
        weights = _tanh_form(self.split(flat))
        n = columns.shape[1]
        two = self.n_classes == 2
        out = np.empty((len(flat), n) if two else (len(flat), n, self.n_classes), dtype=np.float32)
        for start in range(0, n, _BLOCK):
            values: FloatArray = columns[:, start : start + _BLOCK]
            for layer, weight in enumerate(weights[:-1]):
                values, hidden = _before_sigmoid(layer, weight, values)
                np.tanh(hidden, out=hidden)
            logits = np.matmul(weights[-1].transpose(0, 2, 1), values)
            if two:
                _sigmoid(logits[:, 0], out=out[:, start : start + _BLOCK])
            else:
                out[:, start : start + _BLOCK] = softmax(logits.transpose(0, 2, 1))
        return out

    def look_flat(self, x: FloatArray, flat: FloatArray) -> FloatArray:
        """As :meth:`forward_flat` to some 1e-6, sooner where there are compiled kernels: to tell who is promising."""
        looked = getattr(kernels, "looked", None)
        if looked is None or self.n_classes != 2:
            return self.forward_flat(x, flat)
        rows = np.ascontiguousarray(x, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.n_inputs:
            raise ConfigError(f"x has shape {rows.shape}: expected (n, {self.n_inputs})")
        *hidden, last = _tanh_form(self.split(flat))
        packed = np.concatenate([w.reshape(len(flat), -1) for w in (*hidden, last * np.float32(0.5))], axis=1)
        sizes = np.array([self.n_inputs, *(outputs for _, outputs, _ in self.shapes[:-1]), 1], dtype=np.int64)
        out = np.empty((len(flat), len(rows)), dtype=np.float32)
        looked(sizes, packed, len(flat), rows, out)
        return out

    def gradient(
        self,
        x: FloatArray,
        y: FloatArray,
        flat: FloatArray,
        groups: int = 1,
        sample_weight: FloatArray | None = None,
    ) -> LossGradient:
        """Cross entropy and its gradient for every group of consecutive reads.

        Args:
            x: standardised inputs, shape (n, n_inputs).
            y: probability of success that is asked for, shape (n,) in [0, 1] (two classes), or
                class probabilities of shape (n, classes).
            flat: weights of the reads, shape (S, n_weights).
            groups: S must be a multiple; 1 averages all reads, S gives one gradient per read.
            sample_weight: weight of every row's cross entropy, shape (n,); default 1.
        """
        samples = len(flat)
        if samples % groups:
            raise ConfigError(f"{samples} reads cannot be shared by {groups} groups")
        columns = self._augmented(x)
        weights, halved = self.split(flat), self.split(flat * np.float32(0.5))
        y = np.asarray(y, dtype=np.float32)
        widest = max(outputs for _, outputs, _ in self.shapes)
        block = max(_BLOCK, _GRADIENT_FLOATS // (samples * (widest + 1)))
        loss, probabilities = 0.0, []
        gradient = np.empty((groups, self.n_weights), dtype=np.float32)
        for start in range(0, columns.shape[1], block):
            rows = slice(start, start + block)
            weight = None if sample_weight is None else np.asarray(sample_weight)[rows]
            activations = self._activations(columns[:, rows], halved, weights[-1])
            probability, delta, part = _output_error(activations[-1], y[rows], weight)
            self._backward(weights, activations, delta, gradient, add=start > 0)
            probabilities.append(probability)
            loss += part
        gradient /= np.float32(samples // groups)
        return LossGradient(loss / samples, gradient, np.concatenate(probabilities))

    def _backward(
        self, weights: list[FloatArray], activations: list[FloatArray], delta: FloatArray, total: FloatArray, add: bool
    ) -> None:
        """Gradient of a block of rows, summed over each group's reads, into total (groups, n_weights) or added to it.

        ``delta`` is d loss / d logits (S, classes, n); the activations are overwritten.
        """
        samples, groups = len(delta), len(total)
        for index in range(len(weights) - 1, -1, -1):
            below, into = activations[index], total[:, self.layers[index]]
            if index == 0:  # the inputs are the same for every read
                error = delta.reshape(groups, samples // groups, *delta.shape[1:]).sum(axis=1)
                summed = np.matmul(below, error.transpose(0, 2, 1)).reshape(groups, -1)
            else:
                part = _scratch("part", samples, below.shape[1], delta.shape[1])
                np.matmul(below, delta.transpose(0, 2, 1), out=part)
                summed = part.reshape(groups, samples // groups, -1).sum(axis=1)
            if add:
                into += summed
            else:
                into[:] = summed
            if index:
                hidden = below[:, :-1]
                above, delta = delta, _scratch(f"delta {index}", *hidden.shape)
                np.matmul(weights[index][:, :-1], above, out=delta)
                _times_slope(delta, below)  # the activations are not needed again

    def _augmented(self, x: FloatArray) -> FloatArray:
        """Inputs as columns with a row of ones below, (n_inputs + 1, n): the last layout axis is the batch,
        so that every elementwise step runs over long contiguous stretches."""
        x = np.asarray(x, dtype=np.float32)
        if x.ndim != 2 or x.shape[1] != self.n_inputs:
            raise ConfigError(f"x has shape {x.shape}: expected (n, {self.n_inputs})")
        return np.concatenate([x.T, np.ones((1, len(x)), dtype=np.float32)])

    def _activations(self, columns: FloatArray, halved: list[FloatArray], last: FloatArray) -> list[FloatArray]:
        """Inputs of every layer (S, units + 1, n), a row of ones last, and the logits (S, classes, n).

        Sigmoids are taken from tanh of half of what comes in. ``halved`` are the halves of all weights: halved before
        the product, not after it, no digit changes. ``last`` are the weights of the last layer. The arrays are used
        again by the next call.
        """
        values: list[FloatArray] = [columns]
        for layer, weight in enumerate(halved[:-1]):
            inputs, hidden = _before_sigmoid(layer, weight, values[-1])
            np.tanh(hidden, out=hidden)
            _to_sigmoid(inputs)
            values.append(inputs)
        values.append(np.matmul(last.transpose(0, 2, 1), values[-1]))
        return values


def _before_sigmoid(layer: int, weight: FloatArray, below: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What the layer above takes in (S, units + 1, n), a row of ones last, and of it the units, before the sigmoid.

    The array is used again by the next call for this layer.
    """
    above = _scratch(f"layer {layer}", weight.shape[0], weight.shape[2] + 1, below.shape[-1])
    above[:, -1] = 1.0
    hidden = above[:, :-1]
    np.matmul(weight.transpose(0, 2, 1), below, out=hidden)
    return above, hidden


def decided(p: FloatArray) -> npt.NDArray[Any]:
    """Classes of probabilities: bool (n,) for those of the second of two classes, numbers (n,) for (n, classes)."""
    p = np.asarray(p)
    chosen: npt.NDArray[Any] = p > 0.5 if p.ndim == 1 else p.argmax(axis=-1)
    return chosen


def kl_to_prior(mean: FloatArray, sd: FloatArray, prior_sd: float) -> float:
    """Sum of KL[N(mean, sd^2) || N(0, prior_sd^2)] over all weights, nats."""
    sd = np.maximum(sd, 1e-9)
    terms = np.log(prior_sd / sd) + (sd**2 + mean**2) / (2.0 * prior_sd**2) - 0.5
    return float(terms.sum())


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted


def _sigmoid(z: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """1 / (1 + exp(-z)) through tanh, which never overflows."""
    out = np.multiply(z, np.float32(0.5), out=out)
    np.tanh(out, out=out)
    out *= np.float32(0.5)
    out += np.float32(0.5)
    return out


def _to_sigmoid(above: FloatArray) -> None:
    """Units tanh(z / 2) of above (S, units + 1, n) to sigmoid(z), in place; the last row stays."""
    if kernels is not None:
        kernels.sigmoids(above, above.shape[1], above.shape[2])
        return
    hidden = above[:, :-1]
    hidden *= np.float32(0.5)
    hidden += np.float32(0.5)


def _times_slope(delta: FloatArray, above: FloatArray) -> None:
    """Multiply delta (S, units, n) by h (1 - h), h the units of above (S, units + 1, n), which may be overwritten."""
    if kernels is not None:
        kernels.slopes(delta, above, above.shape[1], above.shape[2])
        return
    hidden = above[:, :-1]
    delta *= hidden
    np.subtract(np.float32(1.0), hidden, out=hidden)
    delta *= hidden


def _tanh_form(weights: list[FloatArray]) -> list[FloatArray]:
    """Weights of the same network with tanh units: sigmoid(z) = (1 + tanh(z / 2)) / 2, folded into the layers.

    With two classes the last layer is reduced to the difference of its two logits.
    """
    made = []
    for index, weight in enumerate(weights):
        weight = weight.copy()
        last = index == len(weights) - 1
        if last and weight.shape[2] == 2:
            weight = weight[..., 1:] - weight[..., :1]
        if index:
            weight[:, :-1] *= np.float32(0.5)
            weight[:, -1] += weight[:, :-1].sum(axis=1)
        made.append(weight if last else weight * np.float32(0.5))
    return made


def _output_error(
    logits: FloatArray, y: FloatArray, sample_weight: FloatArray | None
) -> tuple[FloatArray, FloatArray, float]:
    """Mean probability, d loss / d logits (S, classes, n) and the loss summed over reads and rows."""
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float32)
    if logits.shape[1] == 2 and y.ndim == 1:
        z = logits[:, 1] - logits[:, 0]
        p = _sigmoid(z)
        # log(1 + e^z) - y z, stable for any z; np.logaddexp takes several times as long
        cost = np.maximum(z, np.float32(0.0))
        cost += np.log(np.exp(-np.abs(z)) + np.float32(1.0))
        cost -= y * z
        error = p - y
        if weight is not None:
            error *= weight
            cost = cost * weight
        return p.mean(axis=0), np.stack([-error, error], axis=1), float(cost.sum())
    probabilities = softmax(logits.transpose(0, 2, 1))
    delta = probabilities - y
    cost = -(y * np.log(np.maximum(probabilities, np.float32(1e-30)))).sum(axis=-1)
    if weight is not None:
        delta *= weight[:, None]
        cost = cost * weight
    total = float(cost.sum())
    if not math.isfinite(total):
        raise ConfigError("the cross entropy is not finite: check inputs and currents for NaN")
    return probabilities.mean(axis=0), np.ascontiguousarray(delta.transpose(0, 2, 1)), total
