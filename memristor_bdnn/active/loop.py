"""The active-learning loop: ask, execute, commit, learn; then show what was learned.

It knows a skill, a runner of trials and a learner only through their protocols, so the command line runs
it in one process and the coordinator node runs it with proxies that call other nodes.

A run that was interrupted goes on as if it had not been. Every random choice of the loop is derived from the store's
seed and the number of the trial; the learner starts again from its checkpoint, whose mark says which trials it knew,
and what it was asked since then is asked again: trials that are in the store are taken from there, not executed.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import acquisitions
from memristor_bdnn.active import checkpoints, choice
from memristor_bdnn.active.checkpoints import Mark
from memristor_bdnn.active.losses import Losses
from memristor_bdnn.active.outcome import Asked, check_feasible, executed
from memristor_bdnn.active.recipes import check_width
from memristor_bdnn.active.records import LoopConfig, LoopLearner, LoopProgress, LoopReport, Round
from memristor_bdnn.active.resume import find
from memristor_bdnn.active.store import LABEL_PHASES, Trial, TrialStore
from memristor_bdnn.active.trials import LocalTrials, Trials
from memristor_bdnn.errors import AcceleratorError, Cancelled, ConfigError, StoreError
from memristor_bdnn.learners.protocol import LearnReport, Prediction
from memristor_bdnn.skills.candidates import ask, encoded, too_few
from memristor_bdnn.skills.protocol import Skill

__all__ = ["ActiveLoop", "LoopConfig", "LoopLearner", "LoopProgress", "LoopReport", "Round"]

FloatArray = npt.NDArray[np.floating[Any]]
CancelCallback = Callable[[], bool]
CONSIDERED = 64
"""Candidates of a context that a learner takes notice of: few of many contexts are the fairer sample."""


class ActiveLoop:
    """Active learning of a skill, resumable from its store.

    Args:
        skill: what is learned.
        learner: a learner or a proxy with fit, learn, predict, save.
        store: where every outcome is committed before anything else happens.
        config: see :class:`LoopConfig`.
        rng: gives the run's seed when the store is new; a resumed store keeps its own.
        trials: what runs the trials; left out, they are simulated in this process without an arm.
        checkpoint: file for the learner's state before the first training and after every round; None keeps none.
        prior: brings an untrained learner to the prior that ``config.prior_fitted`` speaks of.
        on_trial: called with (index, trial) after the commit.
        on_round: called with a :class:`Round` after every learning.
        on_candidates: called with (candidates (n, p), prediction of them, context (c,)) before one is chosen.
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
        prior: Callable[[], None] | None = None,
        on_trial: Callable[[int, Trial], None] | None = None,
        on_round: Callable[[Round], None] | None = None,
        on_candidates: Callable[[FloatArray, Prediction, FloatArray], None] | None = None,
    ) -> None:
        self.skill, self.learner, self.store, self.config = skill, learner, store, config
        self.trials: Trials = LocalTrials(skill) if trials is None else trials
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.on_trial, self.on_round, self.prior = on_trial, on_round, prior
        self.on_candidates = on_candidates
        if config.initial_trials < 2 and not config.prior_fitted:
            raise ConfigError(
                f"initial_trials = {config.initial_trials}: at least 2, since the learner knows nothing before; a "
                "recipe with a prior needs none"
            )
        if hasattr(learner, "n_inputs"):
            check_width(skill, learner)
        self.learned: LearnReport | None = None
        self.accuracy: float | None = None
        self._at = len(store.trials)  # trials that this run has taken in; the store holds more while it resumes
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
        self._at = len(self.store.trials)
        self._try_checkpoint()
        self._ended: list[str] = []
        self._warned: set[str] = set()
        stopped = not (self._initial() and self._prepare() and self._resume() and self._queries() and self._evaluate())
        return LoopReport.of(self.store.trials, self.learned, self.accuracy, stopped, "; ".join(self._ended))

    def _initial(self) -> bool:
        cfg = self.config
        while self._labels() < cfg.initial_trials:
            if self._cancelled():
                return False
            rng = self._rng()
            context = self.trials.sample_context(rng)
            candidates = ask(self.skill, context, 1, rng, self.trials.arm)
            if not len(candidates):
                raise ConfigError(
                    f"skill {self.skill.name} has no more candidates after {self._labels()} of "
                    f"{cfg.initial_trials} initial_trials; ask for fewer. What was committed is kept"
                )
            self._execute("initial", context, candidates[0], int(rng.integers(2**31)), "random")
            self._tell("initial", self._labels(), cfg.initial_trials)
        return True

    def _queries(self) -> bool:
        cfg = self.config
        goal = cfg.initial_trials + cfg.queries
        while self._labels() < goal:
            if self._cancelled():
                return False
            if self._query():
                self._learn()
            self._tell("query", self._labels() - cfg.initial_trials, cfg.queries, "; ".join(self._ended))
            if self._ended:
                break
        return not self._cancelled()

    def _query(self) -> bool:
        """Try the most informative candidates of one context until one can be executed."""
        cfg, rng = self.config, self._rng()
        context = self._context(rng)
        candidates = self._candidates("query", context, cfg.candidates, rng)
        if not len(candidates):
            return self._without_candidates()
        x = encoded(self.skill, context, candidates)
        if hasattr(self.learner, "consider"):
            self.learner.consider(x[:CONSIDERED])
        prediction = self.learner.predict(x, cfg.samples)
        strategy, known = acquisitions.load(cfg.strategy), self._known
        asked = acquisitions.propose(
            strategy, prediction, cfg.attempts, rng, lambda: choice.around(self.skill, x, known())
        )
        return self._try("query", cfg.strategy, context, candidates, prediction, asked, rng)

    def _evaluate(self) -> bool:
        cfg = self.config
        while True:
            done = sum(t.phase == "evaluation" and t.feasible for t in self.store.trials[: self._at])
            if done >= cfg.evaluations:
                return True
            if self._cancelled():
                return False
            before = len(self._ended)
            self._show()
            if len(self._ended) > before:
                self._tell("evaluation", done, cfg.evaluations, self._ended[-1])
                return True
            self._tell("evaluation", done + 1, cfg.evaluations)

    def _show(self) -> bool:
        """Try the most promising candidates of one context until one can be executed."""
        cfg, rng = self.config, self._rng()
        context = self._context(rng)
        candidates = self._candidates("evaluation", context, cfg.evaluation_candidates, rng)
        if not len(candidates):
            return self._without_candidates()
        x = encoded(self.skill, context, candidates)
        prediction = self.learner.predict(x, cfg.samples)
        scores = choice.scores(cfg.final, self.skill, prediction, x, self._known())
        best = np.argsort(-scores, kind="stable")[: cfg.attempts]
        return self._try("evaluation", cfg.final, context, candidates, prediction, (best, scores[best]), rng)

    def _known(self) -> choice.Labels:
        """Network inputs and scores of the labels; none where a prior knows more than what was tried here."""
        x, _, scores = self.store.labels(0 if self.config.prior_fitted else self._at)
        return x, scores

    def _candidates(self, phase: str, context: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """Candidates of a context, (m, p): n, or what is left of a finite pool, of which the phase began with n.

        Raises:
            ConfigError: fewer than n from the start.
        """
        rows = ask(self.skill, context, n, rng, self.trials.arm)
        if len(rows) >= n or self._at < len(self.store.trials):
            return rows
        option = "candidates" if phase == "query" else "evaluation_candidates"
        done = sum(t.feasible and t.phase == phase for t in self.store.trials)
        if len(rows) == 0:
            total = self.config.queries if phase == "query" else self.config.evaluations
            self._ended.append(
                f"skill {self.skill.name} has no more candidates for the context "
                f"{self.skill.context_space.named(context)}: ended after {done} of {total} trials of phase {phase}"
            )
        elif not self._ended and not any(t.phase == phase for t in self.store.trials):
            raise too_few(self.skill, len(rows), n, option)
        else:
            self._warn(
                "few", f"skill {self.skill.name}: {len(rows)} candidates are left, {option} = {n} were asked for"
            )
        return rows

    def _without_candidates(self) -> bool:
        """Where no candidate is left: a resumed run takes the trial from the store; True if that one was feasible."""
        if self._at == len(self.store.trials):
            return False
        self._at += 1
        return self.store.trials[self._at - 1].feasible

    def _try(
        self,
        phase: str,
        chosen_by: str,
        context: FloatArray,
        candidates: FloatArray,
        prediction: Prediction,
        proposals: tuple[npt.NDArray[np.intp], FloatArray],
        rng: np.random.Generator,
    ) -> bool:
        """Execute proposed candidates, indices and scores (k,), one after the other; True once one was feasible."""
        begin = self._at
        if self.on_candidates is not None:
            self.on_candidates(candidates, prediction, context)
        for index, score in zip(*proposals, strict=True):
            seed = int(rng.integers(2**31))
            if self._at < len(self.store.trials):
                trial = self.store.trials[self._at]
                if self._at > begin and (trial.phase, trial.seed) != (phase, seed):
                    return False  # the run that stopped had given this context up
                self._at += 1
            else:
                asked = (prediction, int(index), float(score))
                trial = self._execute(phase, context, candidates[index], seed, chosen_by, asked)
            if trial.feasible:
                return True
            if self._cancelled():
                return False
        return False

    def _resume(self) -> bool:
        """Ask again what was asked since the checkpoint; the trials' outcomes are in the store."""
        trials = self.store.trials
        while self._at < len(trials):
            if self._cancelled():
                return False
            phase = trials[self._at].phase
            if phase == "initial":
                self._at += 1
            elif phase == "evaluation":
                self._show()
            elif self._query():
                self._learn()
        if self._learned < self._labels():  # labels beyond those that were asked for
            self._learn()
        return not self._cancelled()

    def _context(self, rng: np.random.Generator) -> FloatArray:
        """The context of the next trial, (c,): drawn, or that of the trial in the store."""
        drawn = self.trials.sample_context(rng)
        if self._at < len(self.store.trials):
            return np.array(self.store.trials[self._at].context)
        return drawn

    def _execute(
        self,
        phase: str,
        context: FloatArray,
        parameters: FloatArray,
        seed: int,
        chosen_by: str,
        asked: Asked | None = None,
    ) -> Trial:
        """Run one trial and commit it before anything else; ``asked``: prediction, candidate and score."""
        made = executed(self.skill, self.trials, phase, context, parameters, seed, chosen_by, asked)
        number = self.store.commit(made)
        self._at = number + 1
        trial = self.store.trials[number]
        if self.on_trial is not None:
            self.on_trial(number, trial)
        if not trial.feasible:
            check_feasible(self.store.trials, self.config.max_infeasible)
        return trial

    def _prepare(self) -> bool:
        """Bring the learner to where the session stands: from its checkpoint, or by fit and learn."""
        if self._cancelled():
            return False
        mark = self._restore()
        if mark is not None and mark.labels:
            return True
        x, y = self._targets()
        if mark is None:
            if self.prior is not None:
                self.store.begin()
                self._tell("prior", 0, 1)
                self.prior()
            self._save(0)
        if not self.config.prior_fitted:
            n = self.config.initial_trials
            self._tell("fit", 0, 1, self._one_class(y[:n]))
            with self._unless_cancelled():
                self.learned = self.learner.fit(x[:n], y[:n], cancelled=self._cancelled)
            if self._cancelled():
                return False
        self._learn()
        return not self._cancelled()

    def _learn(self) -> None:
        x, y = self._targets()
        if len(x) == 0:
            return
        self._tell("learn", 0, 1, self._one_class(y))
        with self._unless_cancelled():
            self.learned = self.learner.learn(x, y, cancelled=self._cancelled)
        if self.learned is None or self._cancelled():
            return
        self._learned, self.accuracy = len(x), self.learned.accuracy
        if self.on_round is not None:
            self.on_round(Round(len(x), self.learned))
        self._save(len(x))

    @contextlib.contextmanager
    def _unless_cancelled(self) -> Iterator[None]:
        """A learner that was stopped while it wrote its chips says so by Cancelled: no failure, if we asked."""
        try:
            yield
        except Cancelled:
            if not self._cancelled():
                raise

    def _save(self, labels: int) -> None:
        """Keep the learner's state with what it knows of the session."""
        if self.checkpoint is None:
            return
        known = self._at if labels else 0
        mark = Mark(labels, known, self.store.history(known), self.accuracy if labels else None)
        if hasattr(self.learner, "keep"):
            self.learner.keep(self.checkpoint, mark)
        else:
            checkpoints.keep(self.checkpoint, self.learner.save, mark)

    def _try_checkpoint(self) -> None:
        """Refuse a checkpoint that cannot be read or written, before a trial is paid for."""
        if self.checkpoint is None:
            return
        if not hasattr(self.learner, "keep"):
            checkpoints.check_place(self.checkpoint)
        if hasattr(self.learner, "load"):
            for text in find(self.checkpoint, self.store).notes:
                warnings.warn(text, stacklevel=3)

    def _restore(self) -> Mark | None:
        """Load the session's checkpoint if there is one, and go back to the trials it knew."""
        self._learned = 0
        load = getattr(self.learner, "load", None)
        if self.checkpoint is None or load is None:
            return None
        found = find(self.checkpoint, self.store)
        for text in found.notes:
            warnings.warn(text, stacklevel=2)
        if found.path is None or found.mark is None:
            return None
        try:
            load(found.path)
        except (ConfigError, AcceleratorError) as error:
            if found.mark.labels:
                raise
            # A board that was pulsed since: the first training writes all of it anew anyway.
            warnings.warn(f"the first training begins anew, but not as it did before: {error}", stacklevel=2)
        self._learned, self.accuracy = found.mark.labels, found.mark.accuracy
        # The first training was on the initial trials alone, whatever came after.
        phases = [t.phase for t in self.store.trials]
        first = next((i for i, phase in enumerate(phases) if phase != "initial"), len(phases))
        self._at = found.mark.trials if found.mark.labels else first
        return found.mark

    def _targets(self) -> tuple[FloatArray, FloatArray]:
        x, y, scores = self.store.labels(self._at)
        return x, (scores + 1.0) / 2.0 if self.config.soft_labels else y

    def _one_class(self, y: FloatArray) -> str:
        """Warn, once, when labels y (n,) are all of one class; returns what was said."""
        good = int((y > 0.5).sum())
        if len(y) < 2 or 0 < good < len(y):
            return ""
        return self._warn(
            "one class",
            f"all {len(y)} labels so far are {'successes' if good else 'failures'}: nothing tells the classes apart; "
            f"more initial_trials than {self.config.initial_trials}, or other ranges or another score of skill "
            f"{self.skill.name}, would give both",
        )

    def _warn(self, about: str, text: str) -> str:
        """Warn once in a run of a thing; returns the text when it was said now, else an empty one."""
        if about in self._warned:
            return ""
        self._warned.add(about)
        warnings.warn(text, stacklevel=2)
        return text

    def _labels(self) -> int:
        return sum(t.feasible and t.phase in LABEL_PHASES for t in self.store.trials[: self._at])

    def _rng(self) -> np.random.Generator:
        """Draws of the next trial: a function of the run's seed and the number of trials so far."""
        return np.random.default_rng([int(self.store.metadata["seed"]), self._at])

    def _tell(self, phase: str, done: int, total: int, message: str = "") -> None:
        lost = Losses.of(self.store.trials[: self._at])
        good = lost.trials - lost.failures
        self._progress(LoopProgress(phase, done, total, lost.trials, good, message, lost.failures, lost.undone))
