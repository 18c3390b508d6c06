"""One active-learning run on a pool: 64 random labels, then one query at a time, measured on test rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn import acquisitions
from memristor_bdnn.benchmark.dbal.data import Oracle, Trials
from memristor_bdnn.learners.protocol import Prediction

FloatArray = npt.NDArray[np.floating[Any]]


class Method(Protocol):
    """A learner as the benchmark drives it: labels are scores in [-1, 1]."""

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


def run(method: Method, data: Trials, strategy_name: str, seed: int, protocol: Protocol64) -> dict[str, Any]:
    """Figures at every measured number of labels, with the rows that were asked.

    The choice of rows depends on pool inputs and on labels already asked, never on other labels or on
    test rows: the method sees test inputs only to predict them.
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
    started = time.process_time()
    if hasattr(method, "consider"):  # inputs alone: the pool's labels stay with the oracle
        method.consider(data.x_pool)
    method.fit(data.x_pool[asked], np.array(scores))
    points: dict[str, Any] = {}
    for query in range(protocol.queries + 1):
        if query % protocol.every == 0:
            seconds = time.process_time() - started
            predicted = method.predict(data.x_test)
            points[str(len(asked))] = {
                **figures(predicted.mean, data.score_test),
                **method.costs(),
                "seconds": seconds,
                "pool_share_of_successes": float(np.mean(np.array(scores) > 0)),
            }
            started = time.process_time() - seconds  # the test rows are no part of the run
        if query == protocol.queries or not free.any():
            break
        if strategy_name == "random":
            row = int(rng.choice(np.flatnonzero(free)))
        else:
            value = score_of(method.ask(data.x_pool), rng)
            row = int(np.argmax(np.where(free, value, -np.inf)))
        free[row] = False
        asked.append(row)
        scores.append(oracle.ask(row))
        method.learn(data.x_pool[asked], np.array(scores))
    curve = [p["accuracy"] for p in points.values()]
    return {
        "points": points,
        "asked": asked,
        "aulc": float(np.mean((np.array(curve[1:]) + curve[:-1]) / 2)) if len(curve) > 1 else curve[0],
    }


def figures(p: FloatArray, score: FloatArray, bins: int = 10) -> dict[str, Any]:
    """Accuracy, balanced accuracy, area under the ROC curve, log likelihood, calibration of probabilities p (n,)."""
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
        "auc": _area_under_roc(p, truth),
        "nll": float(-np.where(truth, np.log(p), np.log(1 - p)).mean()),
        "ece": float((count * np.abs(mean_p - mean_y)).sum() / len(p)),
        "calibration": {"count": count.tolist(), "predicted": mean_p.tolist(), "observed": mean_y.tolist()},
    }


def _area_under_roc(p: FloatArray, truth: npt.NDArray[np.bool_]) -> float:
    """Chance that a success gets the higher probability of a success and a failure; ties count half."""
    failures = np.sort(p[~truth])
    below, upto = (np.searchsorted(failures, p[truth], side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(failures)))
