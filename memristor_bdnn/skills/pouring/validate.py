"""How well simulated labels agree with labels from elsewhere, such as the published ones, and with themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.skills import validate
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters, decode, fraction_of
from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Agreement(validate.Agreement):
    """Comparison of simulated with given labels; the correlation is that of the fractions in the bowl.

    Attributes:
        leaks: beads that went through a wall or a floor (only with ``audit``).
        tipped: bowls that tipped over.
    """

    leaks: int
    tipped: int


def compare(
    x: FloatArray,
    score: FloatArray,
    config: WorldConfig | None = None,
    seeds: int = 2,
    first_seed: int = 0,
    progress: validate.Progress | None = None,
) -> Agreement:
    """Simulate labelled rows, with other beads, frictions and masses, and compare.

    Args:
        x: network inputs, (n, 11); what was tried is decoded from them, because published trials have nothing else.
        score: (n,), above 0 is a success.
        config: how to simulate.
        seeds: simulations of each row, at least 2 for the self agreement.
        first_seed: row i, repetition k runs with seed ``first_seed + k * n + i``.
        progress: called with (trials done, trials in all).

    Raises:
        ConfigError: nothing to compare, or inputs outside their ranges.
    """
    validate.check_counts(len(x), seeds)
    contexts, parameters = decode(x)
    fraction = np.empty((seeds, len(x)))
    leaks = tipped = 0
    watch = validate.Stopwatch()
    with PouringWorld(config) as world:
        for k in range(seeds):
            for i in range(len(x)):
                world.reset(first_seed + k * len(x) + i, PourContext.from_array(contexts[i]))
                outcome = world.pour_cup_alone(PourParameters.from_array(parameters[i]))
                fraction[k, i] = outcome.fraction_in_bowl
                leaks += int(outcome.details.get("leaks", 0))
                tipped += int(outcome.details["bowl_tipped"])
                if progress is not None:
                    progress(k * len(x) + i + 1, seeds * len(x))
    rates = watch.rates(fraction.size)
    figures = validate.statistics(fraction >= 0.9, score > 0, fraction, fraction_of(score))
    return Agreement(**figures, **rates, leaks=leaks, tipped=tipped)
