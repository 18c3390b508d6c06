"""Where the decision boundary lies when labels were asked for: asked labels are no fair sample of what is decided.

The share of successes among asked labels says where questions were asked, not how many candidates succeed. Every
candidate of a fair sample therefore votes with the label that is nearest to it, which weighs labels by the inverse of
how densely they were asked for (nearest-neighbour importance weights: Loog 2012); the boundary is put where as many
candidates lie above it as have voted for success.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]

_BLOCK = 2048


def nearest_share(candidates: FloatArray, labelled: FloatArray, success: npt.NDArray[np.bool_]) -> float:
    """Share of candidates (n, d) whose nearest label, of inputs (m, d) on the same scale, is a success (m,)."""
    votes = 0
    for begin in range(0, len(candidates), _BLOCK):
        rows = candidates[begin : begin + _BLOCK]
        square = (labelled**2).sum(axis=1)[None] - 2.0 * rows @ labelled.T
        votes += int(success[square.argmin(axis=1)].sum())
    return votes / len(candidates)


def boundary(probability: FloatArray, share: float) -> float:
    """The output above which the highest ``share`` of outputs (n,) lie, in (0, 1)."""
    return float(np.clip(np.quantile(probability, 1.0 - share), 0.01, 0.99))
