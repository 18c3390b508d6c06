"""What an acquisition is: a function that scores candidates, and says whether it needs every posterior sample.

:func:`propose` turns it into the candidates to try.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from memristor_bdnn.acquisitions.surroundings import Tried
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Prediction

FloatArray = npt.NDArray[np.floating[Any]]
IndexArray = npt.NDArray[np.intp]
Batch = Callable[[Prediction, int, np.random.Generator | None], tuple[IndexArray, FloatArray]]
"""From a prediction of n candidates and k <= n to k different candidates and their scores, in the order of asking."""


class Acquisition(Protocol):
    """A function ``(prediction, rng) -> scores``; the candidate with the highest score is asked first.

    Attributes:
        needs_samples: whether it reads ``prediction.samples``. They are many numbers for every candidate, so whoever
            fetches a prediction from another process leaves them out where nobody needs them.
    """

    needs_samples: bool
    needs_labels: bool
    """Whether it is called as ``(prediction, rng, tried)``, to score by labels too; may be missing in a plugin."""
    rowwise: bool
    """Whether every candidate's score follows from its own prediction alone; may be missing in a plugin (no)."""
    batch: Batch | None
    """Chooses k candidates at once, where that is not simply the k highest scores; may be missing in a plugin."""

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


def acquisition(
    *, needs_samples: bool, needs_labels: bool = False, rowwise: bool = False, batch: Batch | None = None
) -> Callable[[Callable[..., FloatArray]], Acquisition]:
    """Mark a function as an acquisition.

    Args:
        needs_samples: no default, since a wrong one would show only in a remote session.
        needs_labels: it takes a third argument, the candidates and labelled trials where trials go alike.
        rowwise: every candidate's score follows from its own prediction alone, without draws: then candidates that a
            first look rules out need not be predicted by all samples.
        batch: how several candidates are chosen at once; left out, those with the highest scores.

    Raises:
        ConfigError: a batch of its own and labels; a batch is not shown any.
    """
    if needs_labels and batch is not None:
        raise ConfigError("@acquisition: a batch is not shown labels; leave needs_labels or batch out")

    def mark(function: Callable[..., FloatArray]) -> Acquisition:
        marked = cast(Acquisition, function)
        marked.needs_samples, marked.needs_labels = needs_samples, needs_labels
        marked.rowwise, marked.batch = rowwise, batch
        return marked

    return mark


def score(
    function: Acquisition,
    prediction: Prediction,
    rng: np.random.Generator | None = None,
    tried: Callable[[], Tried] | None = None,
) -> FloatArray:
    """Scores (n,) of candidates, whether the function looks at what was tried or not.

    Args:
        function: the acquisition.
        prediction: of n candidates.
        rng: for functions that draw.
        tried: gives candidates and labels where trials go alike; called only for a function that needs them.

    Raises:
        ConfigError: it draws, and no generator was given; it needs labels, and none were given.
    """
    if not getattr(function, "needs_labels", False):
        return np.asarray(function(prediction, rng))
    if tried is None:
        raise ConfigError(f"{getattr(function, '__name__', function)} scores by labelled trials too: give them")
    return np.asarray(cast(Any, function)(prediction, rng, tried()))


def propose(
    function: Acquisition,
    prediction: Prediction,
    k: int,
    rng: np.random.Generator | None = None,
    tried: Callable[[], Tried] | None = None,
) -> tuple[IndexArray, FloatArray]:
    """Which k candidates to try, in this order, and their scores.

    Those with the highest scores, equal ones as they come; a function with a ``batch`` of its own chooses itself.

    Args:
        function: the acquisition.
        prediction: of n candidates.
        k: how many; n where there are fewer.
        rng: for functions that draw.
        tried: as for :func:`score`.

    Returns:
        Indices and scores, (k,) each.

    Raises:
        ConfigError: it draws, and no generator was given; it needs labels, and none were given.
    """
    k = min(k, len(prediction.mean))
    batch = getattr(function, "batch", None)
    if batch is not None:
        chosen, scores = batch(prediction, k, rng)
        return chosen, scores
    scores = score(function, prediction, rng, tried)
    best = np.argsort(-scores, kind="stable")[:k]
    return best, scores[best]
