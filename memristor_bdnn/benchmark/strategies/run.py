"""One session of the loop in a skill's simulated world: what it cost, what the skill is worth, what is predicted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn import accelerator, acquisitions, learners, skills
from memristor_bdnn.active import recipes
from memristor_bdnn.active.choice import CHOICES
from memristor_bdnn.active.evaluate import evaluate, learned_policy
from memristor_bdnn.active.loop import ActiveLoop, LoopConfig
from memristor_bdnn.active.losses import Losses
from memristor_bdnn.active.store import LABEL_PHASES, Trial, TrialStore
from memristor_bdnn.active.trials import LocalTrials
from memristor_bdnn.benchmark.dbal.data import split
from memristor_bdnn.benchmark.dbal.run import figures
from memristor_bdnn.benchmark.runs import code_digest
from memristor_bdnn.errors import ConfigError, StoreError

CODE = (
    "device", "crossbar", "accelerator", "network", "learners", "acquisitions", "active", "skills", "motion",
    "benchmark/strategies", "benchmark/dbal/run.py", "benchmark/dbal/data.py",
)  # fmt: skip
"""Rooms whose code decides a run."""
_trials: dict[str, LocalTrials] = {}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all runs of one benchmark share."""

    skill: str
    learner: str = "msgld"
    recipe: str = ""
    accelerator: str = "simulated"
    initial: int = 16
    queries: int = 64
    candidates: int = 1000
    pairs: int = 50

    def name(self, strategy: str, seed: int) -> str:
        """File of a finished run: names everything that decides its result, the code included."""
        skill = skills.load(self.skill)
        options = recipes.options(skill, self.learner, self.recipe)
        used = (type(skill), learners.learner_class(self.learner), accelerator.load(self.accelerator))
        code = code_digest(*CODE, plugins=(*used, acquisitions.load(strategy)))
        text = json.dumps([dataclasses.asdict(self), options], sort_keys=True, default=str)
        return f"{code}-{hashlib.sha256(text.encode()).hexdigest()[:8]}-{strategy}-{seed}.json"


def execute(setting: Setting, strategy: str, seed: int) -> dict[str, Any]:
    """Learn with a strategy, then use the skill in contexts that it has not seen, and predict the shipped test rows.

    The first trials, and contexts and candidates of all others, are those of the seed, whatever the strategy.

    Returns:
        ``scores`` and ``fractions`` of the labels in order, ``failures`` and ``done_share`` of the asked trials,
        ``skill_fraction`` and ``skill_success`` of the sturdy choice over the unseen contexts, the same of the
        confident choice, and accuracy, balanced accuracy and AUC on
        the last quarter of the pool that ships with the skill, where one does.
    """
    skill = skills.load(setting.skill)
    trials = _trials.setdefault(setting.skill, LocalTrials(skill))  # a process keeps one world
    chips = accelerator.create(setting.accelerator, seed=seed)
    try:
        learner = recipes.make(skill, setting.learner, chips, setting.recipe, seed=seed)
        labels = _learn(setting, strategy, seed, skill, learner, trials)
        lost = Losses.of(labels, ("query",))
        tried = np.array([t.features for t in labels]), np.array([t.score for t in labels])
        policies = {name: learned_policy(skill, learner, final=name, tried=tried) for name in CHOICES}
        shown = evaluate(skill, trials, policies, setting.pairs, setting.candidates, seed)
        return {
            "strategy": strategy,
            "seed": seed,
            "scores": [t.score for t in labels],
            "fractions": [t.fraction for t in labels],
            "failures": lost.failures,
            "done_share": 1.0 - lost.undone_share,
            "skill_fraction": shown["sturdy"].fraction,
            "skill_success": shown["sturdy"].success,
            "confident_fraction": shown["confident"].fraction,
            "confident_success": shown["confident"].success,
            **_predicted(skill, learner),
        }
    finally:
        chips.close()


def _learn(setting: Setting, strategy: str, seed: int, skill: Any, learner: Any, trials: LocalTrials) -> list[Trial]:
    """Run the loop; the labelled trials in order."""
    config = LoopConfig(
        initial_trials=setting.initial,
        queries=setting.queries,
        strategy=strategy,
        candidates=setting.candidates,
    )
    with (
        tempfile.TemporaryDirectory(prefix="strategies-") as folder,
        TrialStore(Path(folder) / "trials.jsonl") as store,
    ):
        ActiveLoop(skill, learner, store, config, np.random.default_rng(seed), trials=trials).run()
        return [t for t in store.trials if t.feasible and t.phase in LABEL_PHASES]


def _predicted(skill: Any, learner: Any) -> dict[str, float]:
    """Figures on the last quarter of the skill's pool; none where no pool ships."""
    try:
        rows = split(skill.pool())
    except (ConfigError, StoreError):
        return {}
    said = figures(learner.predict(rows["x_test"]).mean, rows["score_test"])
    return {name: said[name] for name in ("accuracy", "balanced_accuracy", "auc", "nll", "ece")}
