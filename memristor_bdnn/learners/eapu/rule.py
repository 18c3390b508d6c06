"""The update rule of EaPU: which cells to write, and by how much, so that the expected change is the step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_SPARSE_FROM = 20_000  # cells from which drawing candidates beats one random number for each cell
_SPARSE_BELOW = 0.25  # largest update probability for which that holds


def probabilistic_update(
    delta: Array, threshold: float, rng: np.random.Generator, largest: float | None = None
) -> tuple[Array, Array]:
    """Turn a full step into few writes, none smaller than the threshold, unbiased.

    Where |d| >= T the step d itself; below, sign(d) T with probability |d| / T and nothing otherwise.

    Args:
        delta: (n,) the optimiser's full step, float32 or float64.
        threshold: T = SD of the writing error, in the unit of ``delta``; 0 passes every non-zero step.
        rng: source of the choice.
        largest: the largest |d|, if it is known already.

    Returns:
        Indices (k,) of the cells to write, ascending, and their changes (k,).

    Source: EaPU paper, update rule, and authors' code.
    """
    if threshold == 0:
        index = delta.nonzero()[0]
        return index, delta[index]
    if largest is None:
        largest = max(float(delta.max(initial=0.0)), -float(delta.min(initial=0.0)))
    index = _draw(delta, threshold, rng, largest / threshold)
    step = delta.take(index)
    unit = np.copysign(delta.dtype.type(threshold), step)
    return index, unit if largest < threshold else np.where(np.abs(step) >= threshold, step, unit)


def _draw(delta: Array, threshold: float, rng: np.random.Generator, largest: float) -> Array:
    """Each index independently with probability min(|delta| / threshold, 1), at most ``largest``.

    Candidates are drawn with the largest of the probabilities, by geometric gaps from one to the
    next, and kept with the ratio of their own to the largest: exact, and cheap where updates are rare.
    """
    if delta.size < _SPARSE_FROM or largest > _SPARSE_BELOW:
        kept: Array = (np.abs(delta) > threshold * rng.random(delta.size, delta.dtype)).nonzero()[0]
        return kept
    if largest == 0:
        return np.empty(0, np.int64)
    candidates = _bernoulli(rng, delta.size, largest)
    limit = rng.random(candidates.size, delta.dtype)
    limit *= threshold * largest
    size = delta.take(candidates)
    return candidates.compress(np.abs(size, out=size) > limit)


def _bernoulli(rng: np.random.Generator, n: int, p: float) -> Array:
    """Indices of the successes among n independent trials with probability p < 1, in order."""
    parts, last = [], -1
    while last < n - 1:
        expected = (n - 1 - last) * p
        draws = int(expected + 4 * math.sqrt(expected) + 8)
        # Exponential draws by the logarithm, which numpy computes for many numbers at once; for rare successes in
        # double precision, lest the gaps come in steps.
        gaps = rng.random(draws, np.float32 if p > 1e-3 else np.float64)
        np.log1p(np.negative(gaps, out=gaps), out=gaps)
        gaps *= 1 / math.log1p(-p)
        np.minimum(gaps, n, out=gaps)  # else a gap could overflow an integer
        steps = gaps.astype(np.int64)
        steps += 1
        steps[0] += last
        parts.append(np.cumsum(steps, out=steps))
        last = int(steps[-1])
    index = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return index[: np.searchsorted(index, n)]
