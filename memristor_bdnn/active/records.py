"""What an active-learning session is asked for, and what it says: options, progress, rounds, the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn import acquisitions
from memristor_bdnn.active import choice
from memristor_bdnn.active.losses import NONE, Losses
from memristor_bdnn.active.store import LABEL_PHASES, Trial
from memristor_bdnn.config import check, option
from memristor_bdnn.learners.protocol import LearnReport, Prediction

FloatArray = npt.NDArray[np.floating[Any]]


class LoopLearner(Protocol):
    """The part of a learner that the loop uses.

    Where they exist, ``load(path)`` is used to resume, ``keep(path, mark)`` saves where the learner is, and
    ``consider(x)`` shows it some of the candidates of every query, (n, d), before they are predicted.
    """

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

    initial_trials: int = option(
        64,
        "random labelled trials before any query; at least 2 without a prior",
        low=0,
        high=1_000_000,
        source="P",
        changes="live",
    )
    queries: int = option(64, "trials chosen by the strategy", low=0, high=1_000_000, source="P", changes="live")
    evaluations: int = option(
        0, "confident trials on unseen contexts; never labels", low=0, high=1_000_000, changes="live"
    )
    strategy: str = option("straddle", "acquisition function", choices=acquisitions.names, source="P", changes="live")
    final: str = option(
        "confident",
        "how evaluations are chosen: mu / sigma (confident), or promising and near to what was tried (sturdy)",
        choices=choice.CHOICES,
        source="P, D",
        changes="live",
    )
    candidates: int = option(10_000, "candidates scored per query", low=1, high=1_000_000, source="P", changes="live")
    evaluation_candidates: int = option(
        1_000, "candidates per evaluation", low=1, high=1_000_000, source="P", changes="live"
    )
    samples: int = option(20, "posterior samples per prediction", low=1, high=10_000, source="C", changes="live")
    soft_labels: bool = option(True, "give the learner (score + 1) / 2 instead of the bit", source="D", changes="live")
    attempts: int = option(
        20, "candidates tried before a query is given up as infeasible", low=1, high=10_000, changes="live"
    )
    max_infeasible: int = option(
        200, "infeasible trials in a row that end the run with an error", low=1, high=1_000_000, changes="live"
    )
    prior_fitted: bool = option(
        False,
        "the learner already carries a deployed prior: learn in situ from the start instead of fit",
        changes="live",
    )

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


@dataclass(frozen=True)
class LoopProgress:
    """Where the loop is: ``done`` of ``total`` in a phase (initial, fit, learn, query, evaluation).

    ``failures`` and ``undone`` are what the labels have cost so far, see :class:`~memristor_bdnn.active.losses.Losses`.
    """

    phase: str
    done: int
    total: int
    labels: int
    successes: int
    message: str = ""
    failures: int = 0
    undone: float = 0.0


@dataclass(frozen=True)
class Round:
    """One finished round of learning: number of labels so far and what the learner reported."""

    labels: int
    report: LearnReport


@dataclass(frozen=True)
class LoopReport:
    """Result of a run: counts, what was learned, and the evaluation's mean fraction and success rate.

    ``learned`` is the last learning of this run, None when everything had been learned before; ``accuracy`` on the
    labels is known in both cases, None only when nothing was ever learned. ``ended`` says why there were fewer trials
    than asked for (the skill had no more candidates); it is empty when there were not. ``losses`` are those of all
    labels, ``query_losses`` of the trials that the strategy chose.
    """

    labels: int
    successes: int
    infeasible: int
    learned: LearnReport | None
    accuracy: float | None
    evaluation_trials: int
    evaluation_fraction: float
    evaluation_success: float
    cancelled: bool
    ended: str = ""
    losses: Losses = NONE
    query_losses: Losses = NONE

    @classmethod
    def of(
        cls,
        trials: Sequence[Trial],
        learned: LearnReport | None,
        accuracy: float | None,
        cancelled: bool,
        ended: str = "",
    ) -> LoopReport:
        """Count the trials of a session."""
        labels = [t for t in trials if t.feasible and t.phase in LABEL_PHASES]
        shown = [t for t in trials if t.feasible and t.phase == "evaluation"]
        return cls(
            labels=len(labels),
            successes=sum(t.score > 0 for t in labels),
            infeasible=sum(not t.feasible for t in trials),
            learned=learned,
            accuracy=accuracy,
            evaluation_trials=len(shown),
            evaluation_fraction=float(np.mean([t.fraction for t in shown])) if shown else 0.0,
            evaluation_success=float(np.mean([t.score > 0 for t in shown])) if shown else 0.0,
            cancelled=cancelled,
            ended=ended,
            losses=Losses.of(trials),
            query_losses=Losses.of(trials, ("query",)),
        )
