"""How well a policy pours for bowl/cup pairs it has not seen: learned, random, designed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.acquisitions.scores import confident, strategy
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Learner
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters, encode
from memristor_bdnn.skills.pouring.geometry import is_valid
from memristor_bdnn.skills.pouring.pool import Pool

FloatArray = npt.NDArray[np.floating[Any]]
Policy = Callable[[FloatArray, FloatArray, np.random.Generator], FloatArray]
"""From a context (6,) and valid candidates (n, 5) to the control parameters (5,) to execute."""

# A person's guess: tilt about the pouring lip, held over the middle of the bowl, until the cup is well
# past horizontal. Order: axis_in_bowl_x, axis_in_bowl_z, axis_in_cup_x, axis_in_cup_z, pitch.
DESIGNED = (0.05, 0.03, -0.5, 0.5, -2.4)


@dataclass(frozen=True)
class SkillScore:
    """What a policy achieved.

    Attributes:
        fractions: of the beads that ended in the bowl, one per bowl/cup pair.
        infeasible: pairs for which the chosen parameters could not be planned (not among the fractions).
    """

    fractions: FloatArray
    infeasible: int = 0

    @property
    def fraction(self) -> float:
        """Mean fraction of beads poured into the bowl."""
        return float(self.fractions.mean()) if len(self.fractions) else 0.0

    @property
    def success(self) -> float:
        """Share of trials with at least nine tenths in the bowl."""
        return float((self.fractions >= 0.9).mean()) if len(self.fractions) else 0.0

    @property
    def standard_error(self) -> float:
        """Of the mean fraction, over pairs."""
        return float(self.fractions.std() / np.sqrt(max(len(self.fractions), 1)))


def random_policy(context: FloatArray, candidates: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Any valid candidate."""
    return np.asarray(candidates[rng.integers(len(candidates))])


def designed_policy(context: FloatArray, candidates: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The same hand-made parameters for every pair, raised above the bowl until they are valid."""
    parameters = np.array(DESIGNED)
    for height in np.arange(DESIGNED[1], 0.1501, 0.01):
        parameters[1] = height
        if is_valid(PourContext.from_array(context), PourParameters.from_array(parameters)):
            return parameters
    return parameters


def learned_policy(learner: Learner, samples: int = 20) -> Policy:
    """The candidate with the highest mu / sigma, mu = 0 on the decision boundary (source paper)."""

    def choose(context: FloatArray, candidates: FloatArray, rng: np.random.Generator) -> FloatArray:
        prediction = learner.predict(encode(context, candidates), samples)
        return np.asarray(candidates[int(np.argmax(confident(prediction)))])

    return choose


def evaluate(
    skill: Any,
    policies: dict[str, Policy],
    pairs: int = 50,
    candidates: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, SkillScore]:
    """Let every policy pour for the same unseen pairs, with the same beads.

    Args:
        skill: a pouring skill.
        policies: by name.
        pairs: bowl/cup pairs.
        candidates: valid control parameters to choose from.
        seed: of pairs, candidates and beads; shares no draw with pools or stores.
        progress: called with (trials done, trials in all).

    Raises:
        ConfigError: fewer than one pair or candidate.
    """
    if pairs < 1 or candidates < 1:
        raise ConfigError(f"pairs = {pairs}, candidates = {candidates}: at least one of each is needed")
    fractions: dict[str, list[float]] = {name: [] for name in policies}
    infeasible = dict.fromkeys(policies, 0)
    for pair in range(pairs):
        draws = np.random.default_rng([0xE7A1, seed, pair])
        context = skill.sample_context(draws)
        choices = skill.sample_candidates(context, candidates, draws)
        trial_seed = int(draws.integers(2**31))
        for k, (name, policy) in enumerate(policies.items()):
            parameters = policy(context, choices, np.random.default_rng([seed, pair, 1]))
            outcome = skill.run_trial(context, parameters, trial_seed)
            if outcome.feasible:
                fractions[name].append(outcome.fraction)
            else:
                infeasible[name] += 1
            if progress is not None:
                progress(pair * len(policies) + k + 1, pairs * len(policies))
    return {name: SkillScore(np.array(fractions[name]), infeasible[name]) for name in policies}


def learn_from_pool(
    learner: Learner,
    pool: Pool,
    labels: int,
    initial: int = 64,
    chosen_by: str = "straddle",
    rng: np.random.Generator | None = None,
    per_round: int = 1,
    samples: int = 20,
    candidates: int = 10_000,
    progress: Callable[[int, int], None] | None = None,
) -> list[int]:
    """Learn from labelled trials as the active-learning loop would, with a pool's outcomes for the asked ones.

    Args:
        learner: fitted on the first labels, then taught in situ round by round.
        pool: labelled trials.
        labels: in all.
        initial: drawn at random, for the first fit.
        chosen_by: acquisition function; ``random`` is passive learning.
        rng: of the draws.
        per_round: labels asked before each in situ learning.
        samples: posterior samples per prediction.
        candidates: of the pool, scored in each round.
        progress: called with (labels, labels in all).

    Returns:
        Rows of the pool that were labelled, in order.

    Raises:
        ConfigError: more labels asked than the pool has.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    if not 2 <= initial <= labels <= len(pool.x) or per_round < 1:
        raise ConfigError(
            f"initial = {initial}, labels = {labels}, per_round = {per_round}: a pool of "
            f"{len(pool.x)} rows allows 2 <= initial <= labels <= {len(pool.x)} and per_round >= 1"
        )
    targets = (pool.score + 1) / 2
    order = rng.permutation(len(pool.x))
    known, rest = list(order[:initial]), list(order[initial:])
    learner.fit(pool.x[known], targets[known])
    learner.learn(pool.x[known], targets[known])
    score = strategy(chosen_by)
    while len(known) < labels:
        asked = rest[:candidates]
        prediction = learner.predict(pool.x[asked], samples)
        best = np.argsort(-score(prediction, rng), kind="stable")[: min(per_round, labels - len(known))]
        chosen = [asked[i] for i in best]
        known += chosen
        rest = [r for r in rest if r not in set(chosen)]
        learner.learn(pool.x[known], targets[known])
        if progress is not None:
            progress(len(known), labels)
    return [int(k) for k in known]
