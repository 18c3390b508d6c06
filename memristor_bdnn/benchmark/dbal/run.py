"""One active-learning run on a pool: 64 random labels, then one query at a time, measured on test rows."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn import acquisitions
from memristor_bdnn.acquisitions.surroundings import Tried
from memristor_bdnn.benchmark.dbal.data import Oracle, Trials
from memristor_bdnn.learners.protocol import Prediction

FloatArray = npt.NDArray[np.floating[Any]]


class Method(Protocol):
    """A learner as the benchmark drives it: labels are scores in [-1, 1]."""

    def prepare(self) -> bool:
        """Learn what is known before the first label; False where nothing is."""

    def fit(self, x: FloatArray, score: FloatArray) -> None:
        """Learn the first labels."""

    def learn(self, x: FloatArray, score: FloatArray) -> None:
        """Learn all labels so far, after one or more were added."""

    def predict(self, x: FloatArray) -> Prediction:
        """Success probability with its spread."""

    def ask(self, x: FloatArray) -> Prediction:
        """What the next question is chosen by; :meth:`predict` unless another one asks."""

    def costs(self) -> dict[str, float]:
        """Pulses and device energy so far; empty for software."""


@dataclass(frozen=True)
class Protocol64:
    """Numbers of the published protocol."""

    initial: int = 64
    queries: int = 64
    every: int = 16
    first_rows: bool = False


def run(
    method: Method,
    data: Trials,
    strategy_name: str,
    seed: int,
    protocol: Protocol64,
    likeness: Callable[[FloatArray], FloatArray] | None = None,
) -> dict[str, Any]:
    """Figures at every measured number of labels, with the rows that were asked.

    The choice of rows depends on pool inputs and on labels already asked, never on other labels or on
    test rows: the method sees test inputs only to predict them, and audit rows only after the last label.

    Args:
        method: the contender.
        data: pool, test and audit rows.
        strategy_name: which row next.
        seed: of the draws.
        protocol: numbers of labels.
        likeness: where trials go alike, for strategies that look at what was tried.

    Returns:
        ``points`` by number of labels ("0" where a prior speaks without any), ``asked``, ``aulc`` (area under the
        learning curve, from the first labels on), and ``audit``: the last figures on the audit's rows, where there
        are any.
    """
    rng = np.random.default_rng([seed, 64])
    oracle = Oracle(data.score_pool)
    rows = np.arange(len(data.x_pool))
    first = rows[: protocol.initial] if protocol.first_rows else rng.choice(rows, protocol.initial, replace=False)
    asked = [int(r) for r in first]
    scores = [oracle.ask(r) for r in asked]
    free = np.ones(len(rows), dtype=bool)
    free[asked] = False
    score_of = acquisitions.load(strategy_name)
    points: dict[str, Any] = {}
    started = time.process_time()

    def measure(labels: int) -> None:
        nonlocal started
        seconds = time.process_time() - started
        predicted = method.predict(data.x_test).mean
        points[str(labels)] = {**figures(predicted, data.score_test), **method.costs(), "seconds": seconds}
        if labels:
            points[str(labels)]["pool_share_of_successes"] = float(np.mean(np.array(scores) > 0))
        started = time.process_time() - seconds  # the test rows are no part of the run

    @functools.cache
    def alike() -> FloatArray:
        return likeness(data.x_pool) if likeness else data.x_pool

    def tried() -> Tried:
        """Pool rows and those that were asked where trials go alike."""
        return Tried(alike(), alike()[asked], np.array(scores))

    if hasattr(method, "consider"):  # inputs alone: the pool's labels stay with the oracle
        method.consider(data.x_pool)
    if method.prepare():
        measure(0)
    method.fit(data.x_pool[asked], np.array(scores))
    for query in range(protocol.queries + 1):
        if query % protocol.every == 0:
            measure(len(asked))
        if query == protocol.queries or not free.any():
            break
        if strategy_name == "random":
            row = int(rng.choice(np.flatnonzero(free)))
        else:
            row = _best(method, data.x_pool, score_of, free, rng, tried if likeness else None)
        free[row] = False
        asked.append(row)
        scores.append(oracle.ask(row))
        method.learn(data.x_pool[asked], np.array(scores))
    curve = [point["accuracy"] for labels, point in points.items() if labels != "0"]
    made = {
        "points": points,
        "asked": asked,
        "aulc": float(np.mean((np.array(curve[1:]) + curve[:-1]) / 2)) if len(curve) > 1 else curve[0],
    }
    if data.x_audit is not None and data.score_audit is not None:
        made["audit"] = figures(method.predict(data.x_audit).mean, data.score_audit)
    return made


def _best(method: Method, x: FloatArray, score_of: Any, free: Any, rng: Any, around: Any) -> int:
    """The free row with the highest score; where scores allow it only rows on a shortlist are predicted in full."""
    if not (getattr(score_of, "rowwise", False) and hasattr(method, "shortlist")):
        return int(np.argmax(np.where(free, acquisitions.score(score_of, method.ask(x), rng, around), -np.inf)))

    def value(prediction: Prediction, rows: npt.NDArray[np.intp]) -> FloatArray:
        return np.where(free[rows], acquisitions.score(score_of, prediction), -np.inf)

    rows, prediction = method.shortlist(x, value)
    return int(rows[np.argmax(value(prediction, rows))])


def figures(p: FloatArray, score: FloatArray, bins: int = 10) -> dict[str, Any]:
    """Figures of probabilities p (n,) against scores (n,), a success being a score above 0.

    ``accuracy``, ``balanced_accuracy``, ``sensitivity`` and ``specificity`` with the answer "yes" where p > 0.5, and
    ``yes_share``, how often that is. ``accuracy_matched`` is the accuracy of answering "yes" on exactly as many rows as
    hold successes, those with the highest p: every learner then says "yes" equally often, so it measures how well
    rows are told apart and not where the threshold lies. ``auc`` is the area under the ROC curve, ``nll`` the mean
    negative log likelihood, ``ece`` the expected calibration error.
    """
    truth = np.asarray(score) > 0
    p = np.clip(np.asarray(p, dtype=np.float64), 1e-6, 1 - 1e-6)
    said = p > 0.5
    index = np.minimum((p * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    mean_p = np.bincount(index, p, bins) / np.maximum(count, 1)
    mean_y = np.bincount(index, truth.astype(float), bins) / np.maximum(count, 1)
    return {
        "accuracy": float((said == truth).mean()),
        "balanced_accuracy": float((said[truth].mean() + (~said[~truth]).mean()) / 2),
        "sensitivity": float(said[truth].mean()),
        "specificity": float((~said[~truth]).mean()),
        "yes_share": float(said.mean()),
        "accuracy_matched": _accuracy_at_share(p, truth),
        "auc": _area_under_roc(p, truth),
        "nll": float(-np.where(truth, np.log(p), np.log(1 - p)).mean()),
        "ece": float((count * np.abs(mean_p - mean_y)).sum() / len(p)),
        "calibration": {"count": count.tolist(), "predicted": mean_p.tolist(), "observed": mean_y.tolist()},
    }


def _accuracy_at_share(p: FloatArray, truth: npt.NDArray[np.bool_]) -> float:
    """Accuracy of "yes" on as many rows as hold successes, the highest p first; ties count by their share."""
    yes = int(truth.sum())
    edge = np.sort(p)[::-1][yes - 1]
    above, tied = p > edge, p == edge
    hits = truth[above].sum() + (yes - above.sum()) * truth[tied].mean()
    return float(1.0 - 2.0 * (yes - hits) / len(p))  # each missed success is a false "yes" elsewhere


def _area_under_roc(p: FloatArray, truth: npt.NDArray[np.bool_]) -> float:
    """Chance that a success gets the higher probability of a success and a failure; ties count half."""
    failures = np.sort(p[~truth])
    below, upto = (np.searchsorted(failures, p[truth], side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(failures)))
