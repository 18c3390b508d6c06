"""A small ReLU network on one flat vector of weights and one of biases: values, gradients, where devices lie."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError

Array = npt.NDArray[Any]


class PairLayout:
    """Where the two devices of every weight lie: adjacent rows, in the last layer adjacent columns.

    A network 4-48-48-2 takes arrays of 8x48, 96x48 and 48x4 devices, one after the other.
    Source: code of the reinforcement-learning study.

    Attributes:
        sizes: units of each layer, inputs first.
        plus, minus: cell numbers of the two devices of every weight, (weights,), in order of layer, input, output.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        """Number the devices. Raises ConfigError without at least inputs and outputs."""
        self.sizes = tuple(int(n) for n in sizes)
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ConfigError(
                f"a network of {list(sizes)} units: expected inputs, hidden layers and outputs, each >= 1"
            )
        self.shapes = tuple(pairwise(self.sizes))
        plus, minus, start = [], [], 0
        for layer, (inputs, outputs) in enumerate(self.shapes):
            cells = np.arange(start, start + 2 * inputs * outputs)
            start += cells.size
            last = layer == len(self.shapes) - 1
            pairs = cells.reshape(inputs, outputs, 2) if last else cells.reshape(inputs, 2, outputs).swapaxes(1, 2)
            plus.append(pairs[..., 0].ravel())
            minus.append(pairs[..., 1].ravel())
        self.plus, self.minus = np.concatenate(plus), np.concatenate(minus)
        self.n_cells, self.n_weights, self.n_biases = start, start // 2, sum(self.sizes[1:])

    def arrays(self, cells: Array) -> list[Array]:
        """Values of all cells (n_cells,) as the device arrays of each layer, as they lie on the chip."""
        found, start = [], 0
        for layer, (inputs, outputs) in enumerate(self.shapes):
            last = layer == len(self.shapes) - 1
            shape = (inputs, 2 * outputs) if last else (2 * inputs, outputs)
            found.append(cells[start : start + 2 * inputs * outputs].reshape(shape))
            start += 2 * inputs * outputs
        return found

    def matrices(self, weights: Array) -> list[Array]:
        """Views of a flat vector of weights (n_weights,) as matrices (inputs, outputs) of each layer."""
        found, start = [], 0
        for inputs, outputs in self.shapes:
            found.append(weights[start : start + inputs * outputs].reshape(inputs, outputs))
            start += inputs * outputs
        return found

    def vectors(self, biases: Array) -> list[Array]:
        """Views of a flat vector of biases (n_biases,) as vectors (outputs,) of each layer."""
        edges = np.cumsum((0, *self.sizes[1:]))
        return [biases[a:b] for a, b in pairwise(edges)]


def values(x: Array, weights: Sequence[Array], biases: Sequence[Array]) -> Array:
    """Outputs (n, outputs) of inputs (n, inputs): ReLU in the hidden layers, nothing after the last."""
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        x = np.maximum(x @ w + b, 0.0)
    out: Array = x @ weights[-1] + biases[-1]
    return out


def squared_error_gradients(
    x: Array, action: Array, goal: Array, layout: PairLayout, weights: Sequence[Array], biases: Sequence[Array]
) -> tuple[Array, Array]:
    """Gradients of the mean squared error between the values of the chosen actions and their goals.

    Args:
        x: (n, inputs).
        action: (n,) chosen outputs.
        goal: (n,) what they should be; no gradient goes through it.
        layout: of the network.
        weights, biases: of each layer.

    Returns:
        Gradients (n_weights,) and (n_biases,), float32.
    """
    hidden = [x]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        hidden.append(np.maximum(hidden[-1] @ w + b, 0.0))
    out, rows = hidden[-1] @ weights[-1] + biases[-1], np.arange(len(x))
    back = np.zeros_like(out)
    back[rows, action] = (2.0 / len(x)) * (out[rows, action] - goal)
    by_weights, by_biases = np.empty(layout.n_weights, np.float32), np.empty(layout.n_biases, np.float32)
    into_w, into_b = layout.matrices(by_weights), layout.vectors(by_biases)
    for layer in reversed(range(len(weights))):
        np.matmul(hidden[layer].T, back, out=into_w[layer])
        np.sum(back, axis=0, out=into_b[layer])
        if layer:
            back = (back @ weights[layer].T) * (hidden[layer] > 0)
    return by_weights, by_biases
