"""The active-learning loop: ask, execute, commit, learn; then show what was learned.

It knows a skill, a runner of trials and a learner only through their protocols, so the command line runs
it in one process and the coordinator node runs it with proxies that call other nodes. Every random choice is
derived from the store's seed and the number of the trial, so a run that was interrupted goes on as
if it had not been.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn import acquisitions
from memristor_bdnn.acquisitions.scores import confident
from memristor_bdnn.active.store import LABEL_PHASES, Trial, TrialStore
from memristor_bdnn.active.trials import LocalTrials, Trials
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import MemristorError, PlanningError, StoreError
from memristor_bdnn.learners.protocol import LearnReport, Prediction
from memristor_bdnn.skills.protocol import Skill
from memristor_bdnn.state import write_atomic

FloatArray = npt.NDArray[np.floating[Any]]
CancelCallback = Callable[[], bool]


class LoopLearner(Protocol):
    """The part of a learner that the loop uses; ``load`` is used to resume where it exists."""

    def fit(self, x: FloatArray, y: FloatArray, progress: Any = None, cancelled: Any = None) -> LearnReport:
        """Train ex situ and deploy."""

    def learn(self, x: FloatArray, y: FloatArray, progress: Any = None, cancelled: Any = None) -> LearnReport:
        """Train in situ on all labels."""

    def predict(self, x: FloatArray, samples: int = 20) -> Prediction:
        """Predict candidates."""

    def save(self, path: str | Path) -> str:
        """Write a checkpoint."""


@dataclass(frozen=True)
class LoopConfig:
    """How many trials of which kind, and how queries are chosen."""

    initial_trials: int = option(64, "random labelled trials before any query", low=2, high=1_000_000, source="P")
    queries: int = option(64, "trials chosen by the strategy", low=0, high=1_000_000, source="P")
    evaluations: int = option(0, "confident trials on unseen contexts; never labels", low=0, high=1_000_000)
    strategy: str = option("straddle", "acquisition function", choices=acquisitions.names, source="P")
    candidates: int = option(10_000, "candidates scored per query", low=1, high=1_000_000, source="P")
    evaluation_candidates: int = option(1_000, "candidates per evaluation", low=1, high=1_000_000, source="P")
    samples: int = option(20, "posterior samples per prediction", low=1, high=10_000, source="C")
    soft_labels: bool = option(True, "give the learner (score + 1) / 2 instead of the bit", source="D")
    attempts: int = option(20, "candidates tried before a query is given up as infeasible", low=1, high=10_000)
    max_infeasible: int = option(
        200, "infeasible trials in a row that end the run with an error", low=1, high=1_000_000
    )
    prior_fitted: bool = option(
        False, "the learner already carries a deployed prior: learn in situ from the start instead of fit"
    )

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


@dataclass(frozen=True)
class LoopProgress:
    """Where the loop is: ``done`` of ``total`` in a phase (initial, fit, learn, query, evaluation)."""

    phase: str
    done: int
    total: int
    labels: int
    successes: int
    message: str = ""


@dataclass(frozen=True)
class Round:
    """One finished round of learning: number of labels so far and what the learner reported."""

    labels: int
    report: LearnReport


@dataclass(frozen=True)
class LoopReport:
    """Result of a run: counts, the last learning report, and the evaluation's mean fraction and success rate."""

    labels: int
    successes: int
    infeasible: int
    learned: LearnReport | None
    evaluation_trials: int
    evaluation_fraction: float
    evaluation_success: float
    cancelled: bool


class ActiveLoop:
    """Active learning of a skill, resumable from its store.

    Args:
        skill: what is learned.
        learner: a learner or a proxy with fit, learn, predict, save.
        store: where every outcome is committed before anything else happens.
        config: see :class:`LoopConfig`.
        rng: gives the run's seed when the store is new; a resumed store keeps its own.
        trials: what runs the trials; left out, they are simulated in this process without an arm.
        checkpoint: file for the learner's state after every round; None keeps none.
        on_trial: called with (index, trial) after the commit.
        on_round: called with a :class:`Round` after every learning.
    """

    def __init__(
        self,
        skill: Skill,
        learner: LoopLearner,
        store: TrialStore,
        config: LoopConfig,
        rng: np.random.Generator,
        *,
        trials: Trials | None = None,
        checkpoint: str | Path | None = None,
        on_trial: Callable[[int, Trial], None] | None = None,
        on_round: Callable[[Round], None] | None = None,
    ) -> None:
        self.skill, self.learner, self.store, self.config = skill, learner, store, config
        self.trials: Trials = LocalTrials(skill) if trials is None else trials
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.on_trial, self.on_round = on_trial, on_round
        self.learned: LearnReport | None = None
        if store.metadata.get("skill", skill.name) != skill.name:
            raise StoreError(f"{store.path} holds trials of skill {store.metadata['skill']!r}, not {skill.name!r}")
        store.metadata.setdefault("skill", skill.name)
        store.metadata.setdefault("features", list(skill.feature_names))
        store.metadata.setdefault("seed", int(rng.integers(2**31)))
        if store.metadata["features"] != list(skill.feature_names):
            raise StoreError(f"{store.path}: its trials have other features than the skill {skill.name!r}")

    def run(
        self, progress: Callable[[LoopProgress], None] | None = None, cancelled: CancelCallback | None = None
    ) -> LoopReport:
        """Run to the end, or until ``cancelled`` answers True; nothing committed is ever repeated."""
        self._progress, self._cancelled = progress or (lambda _: None), cancelled or (lambda: False)
        stopped = not (self._initial() and self._queries() and self._evaluate())
        return self._report(stopped)

    def _initial(self) -> bool:
        cfg = self.config
        while self._labels() < cfg.initial_trials:
            if self._cancelled():
                return False
            rng = self._rng()
            context = self.trials.sample_context(rng)
            parameters = self.skill.sample_candidates(context, 1, rng, self.trials.arm)[0]
            self._execute("initial", context, parameters, rng, "random")
            self._tell("initial", self._labels(), cfg.initial_trials)
        return True

    def _queries(self) -> bool:
        cfg = self.config
        goal = cfg.initial_trials + cfg.queries
        if self._cancelled() or not self._prepare():
            return False
        while self._labels() < goal:
            if self._cancelled():
                return False
            if self._query():
                self._learn()
            self._tell("query", self._labels() - cfg.initial_trials, cfg.queries)
        return True

    def _query(self) -> bool:
        """Try the most informative candidates of one context until one can be executed."""
        cfg, rng = self.config, self._rng()
        context = self.trials.sample_context(rng)
        candidates = self.skill.sample_candidates(context, cfg.candidates, rng, self.trials.arm)
        prediction = self.learner.predict(self.skill.encode(context, candidates), cfg.samples)
        scores = acquisitions.load(cfg.strategy)(prediction, rng)
        for choice in np.argsort(-scores, kind="stable")[: cfg.attempts]:
            trial = self._execute(
                "query",
                context,
                candidates[choice],
                rng,
                cfg.strategy,
                prediction,
                int(choice),
                float(scores[choice]),
            )
            if trial.feasible:
                return True
            if self._cancelled():
                return False
        return False

    def _evaluate(self) -> bool:
        cfg = self.config
        while True:
            done = sum(t.phase == "evaluation" and t.feasible for t in self.store.trials)
            if done >= cfg.evaluations:
                return True
            if self._cancelled():
                return False
            rng = self._rng()
            context = self.trials.sample_context(rng)
            candidates = self.skill.sample_candidates(context, cfg.evaluation_candidates, rng, self.trials.arm)
            prediction = self.learner.predict(self.skill.encode(context, candidates), cfg.samples)
            scores = confident(prediction)
            for choice in np.argsort(-scores, kind="stable")[: cfg.attempts]:
                trial = self._execute(
                    "evaluation",
                    context,
                    candidates[choice],
                    rng,
                    "confident",
                    prediction,
                    int(choice),
                    float(scores[choice]),
                )
                if trial.feasible or self._cancelled():
                    break
            self._tell("evaluation", done + 1, cfg.evaluations)

    def _execute(
        self,
        phase: str,
        context: FloatArray,
        parameters: FloatArray,
        rng: np.random.Generator,
        chosen_by: str,
        prediction: Prediction | None = None,
        index: int = 0,
        score: float = 0.0,
    ) -> Trial:
        """Run one trial and commit it before anything else."""
        seed = int(rng.integers(2**31))
        features = self.skill.encode(context, parameters[None])[0]
        try:
            outcome = self.trials.run(context, parameters, seed)
            feasible, value, fraction, details = outcome.feasible, outcome.score, outcome.fraction, outcome.details
        except PlanningError as error:
            feasible, value, fraction, details = False, 0.0, 0.0, {"reason": error.reason, "error": str(error)}
        trial = Trial(
            phase=phase,
            context=_floats(context),
            parameters=_floats(parameters),
            features=_floats(features),
            feasible=bool(feasible),
            score=float(value),
            fraction=float(fraction),
            seed=seed,
            strategy=chosen_by,
            acquisition=score,
            predicted_mean=0.5 if prediction is None else float(prediction.mean[index]),
            predicted_std=0.0 if prediction is None else float(prediction.std[index]),
            details=details,
        )
        number = self.store.commit(trial)
        trial = self.store.trials[number]
        if self.on_trial is not None:
            self.on_trial(number, trial)
        limit = self.config.max_infeasible
        if not feasible and len(self.store.trials) >= limit and not any(t.feasible for t in self.store.trials[-limit:]):
            raise MemristorError(
                f"{limit} trials in a row were infeasible (the last: {details or 'no reason'}); check the arm, "
                "the skill's ranges and the planner; what was committed is kept"
            )
        return trial

    def _prepare(self) -> bool:
        """Bring the learner to the labels of the store: from its checkpoint, or by fit and learn."""
        x, y = self._targets()
        learned = self._restore()
        if learned == len(x):
            return True
        if learned == 0 and not self.config.prior_fitted:
            n = self.config.initial_trials
            self._tell("fit", 0, 1)
            self.learned = self.learner.fit(x[:n], y[:n], cancelled=self._cancelled)
            if self._cancelled():
                return False
        self._learn()
        return not self._cancelled()

    def _learn(self) -> None:
        x, y = self._targets()
        if len(x) == 0:
            return
        self._tell("learn", 0, 1)
        self.learned = self.learner.learn(x, y, cancelled=self._cancelled)
        if self._cancelled():
            return
        if self.checkpoint is not None:
            self.learner.save(self.checkpoint)
            mark = {"labels": len(x), "seed": self.store.metadata["seed"]}
            write_atomic(self._mark(), json.dumps(mark).encode())
        if self.on_round is not None:
            self.on_round(Round(len(x), self.learned))

    def _restore(self) -> int:
        """Load the checkpoint of this store if there is one; returns the labels it has learned."""
        load = getattr(self.learner, "load", None)
        if self.checkpoint is None or load is None or not (self.checkpoint.exists() and self._mark().exists()):
            return 0
        mark = json.loads(self._mark().read_text())
        if mark.get("seed") != self.store.metadata["seed"] or mark.get("labels", 0) > self._labels():
            return 0
        load(self.checkpoint)
        return int(mark["labels"])

    def _mark(self) -> Path:
        assert self.checkpoint is not None
        return self.checkpoint.with_name(self.checkpoint.name + ".labels.json")

    def _targets(self) -> tuple[FloatArray, FloatArray]:
        x, y, scores = self.store.labels()
        return x, (scores + 1.0) / 2.0 if self.config.soft_labels else y

    def _labels(self) -> int:
        return sum(t.feasible and t.phase in LABEL_PHASES for t in self.store.trials)

    def _rng(self) -> np.random.Generator:
        """Draws of the next trial: a function of the run's seed and the number of trials so far."""
        return np.random.default_rng([int(self.store.metadata["seed"]), len(self.store.trials)])

    def _tell(self, phase: str, done: int, total: int, message: str = "") -> None:
        good = sum(t.feasible and t.phase in LABEL_PHASES and t.score > 0 for t in self.store.trials)
        self._progress(LoopProgress(phase, done, total, self._labels(), good, message))

    def _report(self, stopped: bool) -> LoopReport:
        trials = self.store.trials
        labels = [t for t in trials if t.feasible and t.phase in LABEL_PHASES]
        shown = [t for t in trials if t.feasible and t.phase == "evaluation"]
        return LoopReport(
            labels=len(labels),
            successes=sum(t.score > 0 for t in labels),
            infeasible=sum(not t.feasible for t in trials),
            learned=self.learned,
            evaluation_trials=len(shown),
            evaluation_fraction=float(np.mean([t.fraction for t in shown])) if shown else 0.0,
            evaluation_success=float(np.mean([t.score > 0 for t in shown])) if shown else 0.0,
            cancelled=stopped,
        )


def _floats(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(v) for v in np.asarray(values, dtype=np.float64))
