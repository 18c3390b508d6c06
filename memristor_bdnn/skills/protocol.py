"""What the active-learning loop needs to know of a skill; a new skill implements this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class TrialOutcome:
    """What one executed (or refused) trial gave.

    Attributes:
        feasible: False when no motion was found; such a trial is recorded but is no label.
        score: in [-1, 1]; above 0 is a success. 0.0 when infeasible.
        fraction: the skill's raw measure in [0, 1] (pouring: fraction of beads in the bowl).
        details: JSON-able extras for the trial store (fractions spilled, reasons, times).
    """

    feasible: bool
    score: float
    fraction: float
    details: dict[str, Any]


class Skill(Protocol):
    """A manipulation skill with a context and control parameters encoded to network inputs."""

    name: str
    feature_names: tuple[str, ...]

    def sample_context(self, rng: np.random.Generator) -> FloatArray:
        """A random context as physical values, shape (c,)."""

    def sample_candidates(self, context: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """n valid control parameters for a context as physical values, shape (n, p)."""

    def encode(self, context: FloatArray, parameters: FloatArray) -> FloatArray:
        """Network inputs in [-1, 1], shape (n, len(feature_names))."""

    def run_trial(self, context: FloatArray, parameters: FloatArray, seed: int) -> TrialOutcome:
        """Execute one trial, parameters of shape (p,)."""
