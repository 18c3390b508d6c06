"""Several independent networks side by side on the same chips: parallel chains of one posterior.

A read of all cells is one sample of every chain. Their disagreement is the doubt that the read noise of
a single network is too quiet to express.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.network.bayesian import BayesianNetwork, LossGradient, Shape

FloatArray = npt.NDArray[np.floating[Any]]


class Chains:
    """``count`` networks of the same shape, chain after chain in cells and weights.

    Args:
        shapes: of one network, see :class:`BayesianNetwork`.
        offset: see there; shared by the chains.
        scale: see there.
        count: number of chains; 1 behaves as the network alone.
    """

    def __init__(self, shapes: Sequence[Shape], offset: float, scale: float, count: int = 1) -> None:
        if count < 1:
            raise ConfigError(f"{count} chains: at least 1 is needed")
        self.one, self.count = BayesianNetwork(shapes, offset, scale), count
        self.shapes, self.devices, self.scale = self.one.shapes, self.one.devices, self.one.scale
        self.n_inputs, self.n_classes = self.one.n_inputs, self.one.n_classes
        self.n_weights, self.n_cells = count * self.one.n_weights, count * self.one.n_cells
        starts = self.one.n_weights * np.arange(count)[:, None]
        self.layers = [(starts + np.arange(part.start, part.stop)).ravel() for part in self.one.layers]
        """Numbers of each layer's weights, all chains together."""

    @property
    def offset(self) -> float:
        """Sum of a weight's currents that means weight 0, microampere."""
        return self.one.offset

    @offset.setter
    def offset(self, value: float) -> None:
        self.one.offset = value

    def flat_weights(self, currents: FloatArray) -> FloatArray:
        """Weights of currents (S, n_cells); shape (S, n_weights)."""
        currents = np.asarray(currents)
        if currents.ndim != 2 or currents.shape[1] != self.n_cells:
            raise ConfigError(f"currents have shape {currents.shape}: expected (samples, {self.n_cells})")
        return self.one.flat_weights(currents.reshape(-1, self.one.n_cells)).reshape(len(currents), -1)

    def forward_flat(self, x: FloatArray, flat: FloatArray) -> FloatArray:
        """P(success) of inputs x (n, n_inputs) for every read and chain; shape (S * count, n)."""
        return self.one.forward_flat(x, flat.reshape(-1, self.one.n_weights))

    def moved(self, flat: FloatArray, logit: float) -> FloatArray:
        """Copies of flat weights (S, n_weights) of two classes with ``logit`` added to what every chain answers."""
        moved = np.array(flat)
        moved.reshape(len(flat), self.count, -1)[:, :, -1] += np.float32(logit)  # the second class's bias comes last
        return moved

    def look_flat(self, x: FloatArray, flat: FloatArray) -> FloatArray:
        """As :meth:`forward_flat` to some 1e-6; see :meth:`BayesianNetwork.look_flat`."""
        return self.one.look_flat(x, flat.reshape(-1, self.one.n_weights))

    def gradient(
        self,
        x: FloatArray,
        y: FloatArray,
        flat: FloatArray,
        groups: int = 1,
        sample_weight: FloatArray | None = None,
    ) -> LossGradient:
        """As :meth:`BayesianNetwork.gradient` for every chain on its own; gradient (groups, n_weights).

        The loss is the sum over the chains; the probability is averaged over reads and chains.
        """
        samples = len(flat)
        by_chain = np.ascontiguousarray(flat.reshape(samples, self.count, -1).transpose(1, 0, 2))
        result = self.one.gradient(x, y, by_chain.reshape(samples * self.count, -1), groups * self.count, sample_weight)
        gradient = result.gradient.reshape(self.count, groups, -1).transpose(1, 0, 2).reshape(groups, -1)
        return LossGradient(result.loss * self.count, gradient, result.probability)
