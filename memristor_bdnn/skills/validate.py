"""How well simulated labels agree with the labels of a pool, and with themselves; for any skill."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError

if TYPE_CHECKING:
    from memristor_bdnn.skills.pool import Pool
    from memristor_bdnn.skills.records import SkillMaths as Skill

FloatArray = npt.NDArray[np.floating[Any]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Agreement:
    """Comparison of simulated with given labels.

    Attributes:
        rows: how many rows were compared.
        seeds: simulations of each row, each with another seed.
        agreement: share of simulated labels (success or not) that equal the given one, over rows and seeds.
        agreement_se: its standard error over rows.
        self_agreement: share of rows on which two of our own simulations give the same label.
        balanced: mean of the agreements on given successes and on given failures.
        given_success, simulated_success: shares of successes.
        correlation: of the simulated outcome with the given one.
        trials_per_s: per second of processor time.
        trials_per_s_wall: per second on the clock.
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


class Stopwatch:
    """Seconds of this process and of the clock since it was made."""

    def __init__(self) -> None:
        self._cpu, self._clock = time.process_time(), time.perf_counter()

    def rates(self, trials: int) -> dict[str, Any]:
        """Trials per second, by the names of :class:`Agreement`."""
        return {
            "trials_per_s": trials / (time.process_time() - self._cpu),
            "trials_per_s_wall": trials / (time.perf_counter() - self._clock),
        }


def compare(
    skill: Skill, pool: Pool, options: Any = None, seeds: int = 2, first_seed: int = 0, progress: Progress | None = None
) -> Agreement:
    """Simulate the rows of a pool again, with other seeds, and compare.

    Args:
        skill: the skill.
        pool: what was tried, and how it came out.
        options: of the skill's world.
        seeds: simulations of each row, at least 2 for the self agreement.
        first_seed: row i, repetition k runs with seed ``first_seed + k * n + i``.
        progress: called with (trials done, trials in all).

    Raises:
        ConfigError: nothing to compare, or the pool does not say what was tried.
    """
    check_counts(len(pool.x), seeds)
    if len(pool.rows) != len(pool.x):
        raise ConfigError(
            f"this pool holds inputs and scores alone: skill {skill.name} needs rows of memristor-bdnn collect to "
            "simulate them again"
        )
    score = np.empty((seeds, len(pool.x)))
    watch = Stopwatch()
    world = skill.world("", options)
    try:
        for k in range(seeds):
            for i, row in enumerate(pool.rows):
                world.reset(first_seed + k * len(pool.x) + i, row["context"].astype(float))
                score[k, i] = skill.score(world.execute(row["parameters"].astype(float)).measures)
                if progress is not None:
                    progress(k * len(pool.x) + i + 1, score.size)
    finally:
        world.close()
    rates = watch.rates(score.size)
    return Agreement(**statistics(score > 0, pool.score > 0, score, pool.score), **rates)


def check_counts(rows: int, seeds: int) -> None:
    """Raise ConfigError when there is nothing to compare."""
    if not rows or seeds < 2:
        raise ConfigError(f"{rows} rows, {seeds} seeds: at least one row and two seeds are needed")


def statistics(
    found: npt.NDArray[np.bool_], given: npt.NDArray[np.bool_], outcome: FloatArray, given_outcome: FloatArray
) -> dict[str, Any]:
    """Figures of :class:`Agreement` without the rates.

    Args:
        found: simulated successes, (seeds, n).
        given: given successes, (n,).
        outcome: a number for every simulated trial, (seeds, n).
        given_outcome: the same of the given trials, (n,).
    """
    seeds, n = found.shape
    same = (found == given).mean(axis=0)
    kinds = [same[given == kind].mean() for kind in (True, False) if (given == kind).any()]
    pairs = [(found[a] == found[b]).mean() for a in range(seeds) for b in range(a)]
    spread = outcome.std() > 0 and np.std(given_outcome) > 0
    correlation = np.corrcoef(outcome.ravel(), np.tile(given_outcome, seeds))[0, 1] if spread else 0.0
    return {
        "rows": n,
        "seeds": seeds,
        "agreement": float(same.mean()),
        "agreement_se": float(same.std() / np.sqrt(n)),
        "self_agreement": float(np.mean(pairs)),
        "balanced": float(np.mean(kinds)),
        "given_success": float(given.mean()),
        "simulated_success": float(found.mean()),
        "correlation": float(correlation),
    }
