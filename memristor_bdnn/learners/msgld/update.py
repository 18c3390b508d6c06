"""The pieces of one mSGLD step: scale the gradient, mark weights, choose the devices that get a pulse."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.native import kernels

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]


class GradientScale:
    """Centred RMS average of the gradient (RMSprop with the mean taken out), with start-up correction.

    Args:
        size: number of weights.
        decay: of the running averages per gradient evaluation.
    """

    def __init__(self, size: int, decay: float) -> None:
        self.decay = decay
        self.mean = np.zeros(size, dtype=np.float32)
        self.square = np.zeros(size, dtype=np.float32)
        self.steps = 0

    def reset(self) -> None:
        """Forget all gradients seen."""
        self.mean = np.zeros_like(self.mean)
        self.square = np.zeros_like(self.square)
        self.steps = 0

    def apply(self, gradient: FloatArray, average: FloatArray | None = None) -> FloatArray:
        """Take in gradients (evaluations, n_weights) and return them divided by the centred RMS.

        ``average`` is their mean (n_weights,) where somebody has it already.
        """
        keep = np.float32(self.decay)
        average = gradient.mean(axis=0) if average is None else average
        self.mean = keep * self.mean + (1 - keep) * average
        self.square = keep * self.square + (1 - keep) * (gradient * gradient).mean(axis=0)
        correction = self._correction()
        mean = self.mean / correction
        variance = np.maximum(self.square / correction - mean * mean, 0.0)
        return gradient / (np.sqrt(variance) + np.float32(1e-8))

    def marked(self, gradient: FloatArray, fraction: float, votes: float) -> tuple[FloatArray, BoolArray]:
        """Take in gradients (evaluations, n_weights); their mean (n_weights,), and what :func:`mark` marks of them."""
        if kernels is None or gradient.dtype != np.float32:
            average = gradient.mean(axis=0)
            return average, mark(self.apply(gradient, average), fraction, votes)
        evaluations, size = gradient.shape
        average, found = np.empty(size, dtype=np.float32), np.empty(size, dtype=bool)
        self.mean, self.square = self.mean.astype(np.float32), self.square.astype(np.float32)  # copies
        keep, needed = np.float32(self.decay), math.ceil(max(votes * evaluations, 1e-9))
        numbers = (keep, 1 - keep, self._correction(), round(fraction * size), needed)
        kernels.marked(np.ascontiguousarray(gradient), self.mean, self.square, average, found, numbers)
        return average, found

    def _correction(self) -> np.float32:
        """Count a step; by what the running averages fall short of averages."""
        self.steps += 1
        return np.float32(1.0 - self.decay**self.steps) if self.decay > 0.0 else np.float32(1.0)


def mark(scaled: FloatArray, fraction: float, votes: float) -> BoolArray:
    """Weights among the top ``fraction`` of |gradient| in at least ``votes`` of the evaluations.

    Args:
        scaled: shape (evaluations, n_weights).
        fraction: of the weights, in [0, 1].
        votes: share of the evaluations, in [0, 1].
    """
    evaluations, size = scaled.shape
    count = round(fraction * size)
    if count == 0:
        return np.zeros(size, dtype=bool)
    magnitude = np.abs(scaled)
    threshold = np.partition(magnitude, size - count, axis=1)[:, size - count]
    marks = magnitude >= threshold[:, None]
    return marks.sum(axis=0) >= max(votes * evaluations, 1e-9)


def choose_pulses(
    direction: FloatArray,
    marked: BoolArray,
    size: FloatArray,
    devices: int,
    max_pulses: int,
    rng: np.random.Generator,
) -> Iterator[npt.NDArray[np.int8]]:
    """Pulse patterns (n_cells,) that move every marked weight by one of its devices, chosen at random.

    Args:
        direction: +1 raises a weight's current (SET), -1 lowers it (RESET), shape (n_weights,).
        marked: which weights move.
        size: number of pulses asked for; fractions are rounded at random, so the mean is right.
        devices: memristors per weight.
        max_pulses: upper limit of pulses per weight.
        rng: source of the draws.
    """
    where = np.flatnonzero(marked)
    if len(where) == 0:
        return
    wanted = np.minimum(size[where], max_pulses)
    floor = np.floor(wanted)
    left = floor + (rng.random(len(where)) < wanted - floor)
    steps = direction[where].astype(np.int8)
    while len(where := where[left > 0]):
        steps, left = steps[left > 0], left[left > 0] - 1
        pulse = np.zeros(len(size) * devices, dtype=np.int8)
        pulse[where * devices + rng.integers(0, devices, len(where))] = steps
        yield pulse
