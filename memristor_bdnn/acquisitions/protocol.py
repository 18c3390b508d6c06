"""What an acquisition is: a function that scores candidates, and says whether it needs every posterior sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from memristor_bdnn.learners.protocol import Prediction

FloatArray = npt.NDArray[np.floating[Any]]


class Acquisition(Protocol):
    """A function ``(prediction, rng) -> scores``; the candidate with the highest score is asked first.

    Attributes:
        needs_samples: whether it reads ``prediction.samples``. They are many numbers for every candidate, so whoever
            fetches a prediction from another process leaves them out where nobody needs them.
    """

    needs_samples: bool

    def __call__(self, prediction: Prediction, rng: np.random.Generator | None = None) -> FloatArray:
        """Scores of n candidates.

        Args:
            prediction: means and standard deviations (n,); samples (samples, n) only if ``needs_samples``.
            rng: for functions that draw; one that does not draw ignores it.

        Returns:
            Finite scores (n,), higher asked first.

        Raises:
            ConfigError: it draws, and no generator was given.
        """


def acquisition(*, needs_samples: bool) -> Callable[[Callable[..., FloatArray]], Acquisition]:
    """Mark a function as an acquisition; there is no default, since a wrong one would show only in a remote session."""

    def mark(function: Callable[..., FloatArray]) -> Acquisition:
        marked = cast(Acquisition, function)
        marked.needs_samples = needs_samples
        return marked

    return mark
