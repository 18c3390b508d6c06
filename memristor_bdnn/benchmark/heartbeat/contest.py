"""Who tells the heartbeats of a person apart that nobody has learned from: rows of memristors, and software."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from memristor_bdnn.benchmark.heartbeat.data import Array, Beats
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.learners.mcmc.models import BernoulliData, Network, posterior_mean
from memristor_bdnn.learners.mcmc.rows import ChainConfig, RowArrays, run_chains

HIDDEN = 9
"""10-9-1 with sigmoid units and without biases: 198 devices a model (MCMC paper)."""
SCALE_PER_US, SHARE = 0.03, 0.1
"""S, and the share of the pairs that a proposal draws anew (whole rows are hardly ever accepted); unpublished, chosen
on draws of beats 100 to 109."""
CONFIG = ChainConfig(rows=82, burn_in=32, prior_sd_us=20.0, max_proposals=3000)
"""82 rows, 32 of them burn-in (MCMC paper); sigma is unpublished, chosen as S."""
BATCH = 50
"""Chains side by side: more would leave the cache."""
METHODS = ("mcmc", "perceptron", "mlp", "constant")


@dataclass(frozen=True)
class Task:
    """Training beats of some people and all beats of another one, standardised by the former."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def task(beats: Beats, person: int, training: int, seed: int) -> Task:
    """One person held out: random beats of all others to learn from.

    Args:
        beats: of everybody.
        person: who is held out.
        training: number of beats to learn from.
        seed: of the draw; every person has a draw of its own.
    """
    others, own = np.flatnonzero(beats.person != person), beats.person == person
    rows = np.random.default_rng([seed, person]).choice(others, training, replace=False)
    x, test = np.log1p(beats.x[rows]), np.log1p(beats.x[own])
    mean, sd = x.mean(axis=0), x.std(axis=0) + 1e-9
    return Task((x - mean) / sd, beats.arrhythmic[rows], (test - mean) / sd, beats.arrhythmic[own])


@dataclass(frozen=True)
class Chains:
    """What the chains did.

    Attributes:
        accuracy: of every task, (n,).
        proposals: made in every task, (n,).
        filled: rows that were accepted in every task, (n,).
        operations: SET and RESET operations of every task, in devices, (n,).
    """

    accuracy: Array
    proposals: Array
    filled: Array
    operations: Array


def on_rows(tasks: list[Task], preset: DevicePreset, seed: int) -> Chains:
    """Accuracy of a chain on an array of its own for every task, by the counters of its rows."""
    model, found = Network(HIDDEN, SCALE_PER_US), []
    for begin in range(0, len(tasks), BATCH):
        some = tasks[begin : begin + BATCH]
        pairs = model.parameters(some[0].x.shape[1])
        arrays = RowArrays(preset, len(some), CONFIG.rows, pairs, np.random.default_rng([seed, begin]))
        data = BernoulliData(model, np.stack([t.x for t in some]), np.stack([t.y for t in some]))
        posterior = run_chains(arrays, data, CONFIG, SHARE)
        for k, one in enumerate(some):
            said = posterior_mean(model, posterior.only(k), one.x_test)[0] > 0.5
            right = float((said == (one.y_test > 0.5)).mean())
            found.append((right, posterior.proposals[k], posterior.accepted[k] + 1, posterior.operations[k]))
    return Chains(*(np.array(column) for column in zip(*found, strict=True)))


def in_software(kind: str, one: Task, seed: int) -> float:
    """Accuracy of scikit-learn's logistic regression (``perceptron``), MLP 10-9-1, or of always saying "normal"."""
    if kind == "constant":
        return float((one.y_test < 0.5).mean())
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    if one.y.min() == one.y.max():
        return float((one.y_test == one.y[0]).mean())  # one class to learn from
    network = (
        LogisticRegression(max_iter=1000)
        if kind == "perceptron"
        else MLPClassifier((HIDDEN,), "logistic", max_iter=2000, random_state=seed)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(one.x, one.y > 0.5)
    return float((network.predict(one.x_test) == (one.y_test > 0.5)).mean())
