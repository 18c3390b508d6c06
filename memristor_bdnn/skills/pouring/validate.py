"""How well simulated labels agree with labels from elsewhere, and with themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters, decode, fraction_of
from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Agreement:
    """Comparison of simulated with given labels.

    Attributes:
        rows: how many rows were compared.
        seeds: simulations of each row, with different beads, frictions and masses.
        agreement: share of simulated labels (success or not) that equal the given one, over rows and seeds.
        agreement_se: its standard error over rows.
        self_agreement: share of rows on which two of our own simulations give the same label.
        balanced: mean of the agreements on given successes and on given failures.
        given_success, simulated_success: shares of successes.
        correlation: of the simulated fraction in the bowl with the one behind the given score.
        trials_per_s: per second of processor time.
        trials_per_s_wall: per second on the clock.
        leaks: beads that went through a wall or a floor (only with ``audit``).
        tipped: bowls that tipped over.
    """

    rows: int
    seeds: int
    agreement: float
    agreement_se: float
    self_agreement: float
    balanced: float
    given_success: float
    simulated_success: float
    correlation: float
    trials_per_s: float
    trials_per_s_wall: float
    leaks: int
    tipped: int


def compare(
    x: FloatArray,
    score: FloatArray,
    config: WorldConfig | None = None,
    seeds: int = 2,
    first_seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Simulate labelled rows and compare.

    Args:
        x: network inputs, (n, 11).
        score: (n,), above 0 is a success.
        config: how to simulate.
        seeds: simulations of each row, at least 2 for the self agreement.
        first_seed: row i, repetition k runs with seed ``first_seed + k * n + i``.
        progress: called with (trials done, trials in all).

    Raises:
        ConfigError: nothing to compare, or inputs outside their ranges.
    """
    if not len(x) or seeds < 2:
        raise ConfigError(f"{len(x)} rows, {seeds} seeds: at least one row and two seeds are needed")
    contexts, parameters = decode(x)
    fraction = np.empty((seeds, len(x)))
    leaks = tipped = 0
    cpu, clock = time.process_time(), time.perf_counter()
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
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    given, found = score > 0, fraction >= 0.9
    same = (found == given).mean(axis=0)
    kinds = [same[given == kind].mean() for kind in (True, False) if (given == kind).any()]
    pairs = [(found[a] == found[b]).mean() for a in range(seeds) for b in range(a)]
    spread = fraction.std() > 0 and np.std(score) > 0
    correlation = np.corrcoef(fraction.ravel(), np.tile(fraction_of(score), seeds))[0, 1] if spread else 0.0
    return Agreement(
        len(x),
        seeds,
        float(same.mean()),
        float(same.std() / np.sqrt(len(x))),
        float(np.mean(pairs)),
        float(np.mean(kinds)),
        float(given.mean()),
        float(found.mean()),
        float(correlation),
        fraction.size / cpu,
        fraction.size / clock,
        leaks,
        tipped,
    )
