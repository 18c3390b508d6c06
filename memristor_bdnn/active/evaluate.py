"""How well a policy does in contexts it has not seen: learned, random, designed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import acquisitions
from memristor_bdnn.active import choice
from memristor_bdnn.active.trials import Trials
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Learner
from memristor_bdnn.skills.candidates import ask, encoded, too_few
from memristor_bdnn.skills.pool import Pool
from memristor_bdnn.skills.protocol import Skill

FloatArray = npt.NDArray[np.floating[Any]]
Policy = Callable[[FloatArray, FloatArray, np.random.Generator], FloatArray]
"""From a context (c,) and valid candidates (n, p) to the parameters (p,) to execute."""


@dataclass(frozen=True)
class SkillScore:
    """What a policy achieved.

    Attributes:
        fractions: how much of the task was done, one per context.
        scores: in [-1, 1], one per context; above 0 is a success.
        infeasible: contexts for which the chosen parameters could not be planned (not among the fractions).
    """

    fractions: FloatArray
    scores: FloatArray
    infeasible: int = 0

    @property
    def fraction(self) -> float:
        """Mean fraction of the task done."""
        return float(self.fractions.mean()) if len(self.fractions) else 0.0

    @property
    def success(self) -> float:
        """Share of successful trials."""
        return float((self.scores > 0).mean()) if len(self.scores) else 0.0

    @property
    def standard_error(self) -> float:
        """Of the mean fraction, over contexts."""
        return float(self.fractions.std() / np.sqrt(max(len(self.fractions), 1)))


def random_policy(context: FloatArray, candidates: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Any valid candidate."""
    return np.asarray(candidates[rng.integers(len(candidates))])


def designed_policy(skill: Skill) -> Policy:
    """What a person would choose; see :meth:`Skill.baseline`.

    Raises:
        ConfigError: when it is asked, if the skill has none.
    """

    def choose(context: FloatArray, candidates: FloatArray, rng: np.random.Generator) -> FloatArray:
        parameters = skill.baseline(context, candidates)
        if parameters is None:
            raise ConfigError(f"skill {skill.name} has no baseline: nobody designed parameters for it")
        return parameters

    return choose


def learned_policy(
    skill: Skill, learner: Learner, samples: int = 20, final: str = "confident", tried: choice.Labels | None = None
) -> Policy:
    """What a learner would do.

    Args:
        skill: the skill.
        learner: predicts the candidates.
        samples: posterior samples per prediction.
        final: see :func:`memristor_bdnn.active.choice.scores`.
        tried: network inputs (m, d) and scores (m,) of the learner's labels; ``sturdy`` needs them.

    Raises:
        ConfigError: an unknown choice, or ``sturdy`` without ``tried``.
    """
    if final != "confident" and tried is None:
        raise ConfigError(f"final choice {final!r} needs inputs and scores of the labels that were tried")
    known = (np.zeros((0, len(skill.feature_names))), np.zeros(0)) if tried is None else tried

    def choose(context: FloatArray, candidates: FloatArray, rng: np.random.Generator) -> FloatArray:
        x = encoded(skill, context, candidates)
        value = choice.scores(final, skill, learner.predict(x, samples), x, known)
        return np.asarray(candidates[int(np.argmax(value))])

    return choose


def evaluate(
    skill: Skill,
    trials: Trials,
    policies: dict[str, Policy],
    pairs: int = 50,
    candidates: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, SkillScore]:
    """Let every policy work in the same unseen contexts, with the same randomness.

    Args:
        skill: the skill.
        trials: runs them.
        policies: by name.
        pairs: contexts.
        candidates: valid parameters to choose from.
        seed: of contexts, candidates and trials; shares no draw with pools or stores.
        progress: called with (trials done, trials in all).

    Raises:
        ConfigError: fewer than one pair or candidate, or a skill that gives fewer candidates than asked for.
    """
    if pairs < 1 or candidates < 1:
        raise ConfigError(f"pairs = {pairs}, candidates = {candidates}: at least one of each is needed")
    fractions: dict[str, list[float]] = {name: [] for name in policies}
    scores: dict[str, list[float]] = {name: [] for name in policies}
    infeasible = dict.fromkeys(policies, 0)
    for pair in range(pairs):
        draws = np.random.default_rng([0xE7A1, seed, pair])
        context = trials.sample_context(draws)
        choices = ask(skill, context, candidates, draws, trials.arm)
        if len(choices) < candidates:
            raise too_few(skill, len(choices), candidates, "candidates")
        trial_seed = int(draws.integers(2**31))
        for k, (name, policy) in enumerate(policies.items()):
            parameters = policy(context, choices, np.random.default_rng([seed, pair, 1]))
            outcome = trials.run(context, parameters, trial_seed)
            if outcome.feasible:
                fractions[name].append(outcome.fraction)
                scores[name].append(outcome.score)
            else:
                infeasible[name] += 1
            if progress is not None:
                progress(pair * len(policies) + k + 1, pairs * len(policies))
    return {name: SkillScore(np.array(fractions[name]), np.array(scores[name]), infeasible[name]) for name in policies}


def learn_from_pool(
    skill: Skill,
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
        skill: knows in which coordinates trials are alike.
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
    score = acquisitions.load(chosen_by)
    while len(known) < labels:
        asked = rest[:candidates]
        x = pool.x[asked]
        prediction = learner.predict(x, samples)
        around = functools.partial(choice.around, skill, x, (pool.x[known], pool.score[known]))
        best, _ = acquisitions.propose(score, prediction, min(per_round, labels - len(known)), rng, around)
        chosen = [asked[i] for i in best]
        known += chosen
        rest = [r for r in rest if r not in set(chosen)]
        learner.learn(pool.x[known], targets[known])
        if progress is not None:
            progress(len(known), labels)
    return [int(k) for k in known]
