"""Unseen contexts with their candidates: what a learner would do in each, and what comes of it in the skill's world."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.acquisitions.scores import confident
from memristor_bdnn.active.trials import LocalTrials
from memristor_bdnn.skills.candidates import ask, encoded, too_few
from memristor_bdnn.skills.protocol import Skill

FloatArray = npt.NDArray[np.floating[Any]]
_trials: dict[str, LocalTrials] = {}
_done: dict[tuple[str, int, int, int, int], float] = {}
"""What was executed in this process: skill, seed, candidates, context, choice."""


class Scenes:
    """Contexts in which the skill is used again and again, with the same candidates and the same randomness.

    Args:
        skill: the skill.
        pairs: contexts.
        candidates: valid parameters in each.
        seed: of contexts, candidates and trials.

    Raises:
        ConfigError: a skill that gives fewer candidates than asked for.
    """

    def __init__(self, skill: Skill, pairs: int, candidates: int, seed: int) -> None:
        self.skill, self.pairs, self.candidates, self.seed = skill, pairs, candidates, seed
        self._contexts, self._parameters, rows = [], [], []
        for pair in range(pairs):
            rng = np.random.default_rng([0x57AB, seed, pair])
            context = skill.sample_context(rng)
            found = ask(skill, context, candidates, rng)
            if len(found) < candidates:
                raise too_few(skill, len(found), candidates, "candidates")
            self._contexts.append(context)
            self._parameters.append(found)
            rows.append(encoded(skill, context, found))
        self._x = np.concatenate(rows)
        self._seeds = np.random.default_rng([0x57AB, seed]).integers(2**31, size=pairs)

    def choose(self, learner: Any) -> npt.NDArray[np.intp]:
        """The candidate with the highest mu / sigma in every context, (pairs,)."""
        value = confident(learner.predict(self._x))
        chosen: npt.NDArray[np.intp] = np.asarray(value).reshape(self.pairs, -1).argmax(axis=1)
        return chosen

    def done(self, chosen: npt.NDArray[np.intp]) -> float:
        """Mean fraction of the task that choices (pairs,) do in the skill's world; what is infeasible does nothing.

        The same choice in the same context is executed once.
        """
        return float(np.mean([self._execute(pair, int(index)) for pair, index in enumerate(chosen)]))

    def _execute(self, pair: int, index: int) -> float:
        key = (self.skill.name, self.seed, self.candidates, pair, index)
        if key not in _done:
            trials = _trials.setdefault(self.skill.name, LocalTrials(self.skill))  # a process keeps one world
            outcome = trials.run(self._contexts[pair], self._parameters[pair][index], int(self._seeds[pair]))
            _done[key] = outcome.fraction if outcome.feasible else 0.0
        return _done[key]
