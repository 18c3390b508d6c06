"""Data sets that come with scikit-learn, who is compared on them, and how well each knows what it does not know."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import accelerator, learners
from memristor_bdnn.device import presets
from memristor_bdnn.errors import DeviceWarning
from memristor_bdnn.learners.protocol import Learner

Array = npt.NDArray[Any]
TEST_SHARE, BINS, ENSEMBLE, SAMPLES = 0.25, 15, 5, 40

IN_SITU = {"chains": 2, "kl_layers": "all", "prior_sd": 1.5, "beta": 0.1, "mark_fraction": 0.03, "stop_accuracy": 1.0}
IN_SITU |= {"max_epochs": 40, "memory_samples": 30, "memory_skip": 2}
ROWS = {"expansion": "linear"}


@dataclass(frozen=True)
class Task:
    """A data set, the network for it, and the options of learners that differ from their defaults.

    Options were chosen on other divisions of the same rows than those that the benchmark draws.
    """

    name: str
    load: str
    hidden: tuple[int, ...]
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def learner_options(self, learner: str, x: Array, classes: int) -> dict[str, Any]:
        """Options of a learner on rows x (n, d)."""
        usual: dict[str, dict[str, Any]] = {"msgld": {**IN_SITU, "hidden": self.hidden}, "mcmc": ROWS}
        usual["eapu"] = {"hidden": self.hidden, "networks": 3}
        own = usual.get(learner, {}) | self.options.get(learner, {})
        return {"n_inputs": x.shape[1], "n_classes": classes, **own}


TASKS = (
    Task("iris", "load_iris", (10,)),
    Task("wine", "load_wine", (16,)),
    Task("breast cancer", "load_breast_cancer", (20,)),
    Task(
        "digits",
        "load_digits",
        (100,),
        # 650 weights in a row: small ones, so that a proposal is a small step, and many proposals
        {"mcmc": {"weight_span": 0.5, "prior_sd": 0.3, "burn_in": 200, "max_proposals": 40_000}},
    ),
)


@dataclass(frozen=True)
class Split:
    """One division of a data set: x (n, d), y (n,) numbers of classes."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1


def split(task: Task, seed: int) -> Split:
    """A stratified division, three quarters to learn from."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    x, y = getattr(datasets, task.load)(return_X_y=True)
    # Divisions 0 to 9 were used to choose options.
    x, x_test, y, y_test = train_test_split(x, y, test_size=TEST_SHARE, random_state=1000 + seed, stratify=y)
    return Split(x, y, x_test, y_test)


@dataclass(frozen=True)
class Outcome:
    """What one method did on one division.

    Attributes:
        accuracy: share of the test rows that the most probable class is right for.
        nll: mean negative log likelihood of the test labels, nats.
        ece: expected calibration error of the most probable class, 15 bins (Guo et al. 2017).
        deployed_accuracy: the same as accuracy before in situ learning; None for software.
        pulses: programming pulses of deployment and in situ learning; None for software.
        learning_energy_j: energy in the cells for that, reads included; None for software.
        learning_system_j: the same with converters, drivers and controller; None for software.
        prediction_j: energy in the cells for the prediction of one row, all samples; None for software.
        cells: devices in use; None for software.
        processor_s: of this machine.
        warnings: what the learner said.
    """

    accuracy: float
    nll: float
    ece: float
    processor_s: float
    deployed_accuracy: float | None = None
    pulses: int | None = None
    learning_energy_j: float | None = None
    learning_system_j: float | None = None
    prediction_j: float | None = None
    cells: int | None = None
    warnings: tuple[str, ...] = ()


def calibration_error(p: Array, y: Array, bins: int = BINS) -> float:
    """Mean distance of confidence and accuracy over bins of equal width, weighted by their rows.

    Args:
        p: class probabilities (n, k).
        y: numbers of classes (n,).
        bins: number of bins.
    """
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for one in range(bins):
        inside = place == one
        if inside.any():
            error += inside.mean() * abs(float(confidence[inside].mean()) - float(right[inside].mean()))
    return error


def scores(p: Array, y: Array) -> dict[str, Any]:
    """Accuracy, negative log likelihood and calibration error of class probabilities (n, k)."""
    likelihood = np.maximum(p[np.arange(len(y)), y], 1e-12)
    return {
        "accuracy": float((p.argmax(axis=1) == y).mean()),
        "nll": float(-np.log(likelihood).mean()),
        "ece": calibration_error(p, y),
    }


def on_devices(name: str, task: Task, data: Split, seed: int, preset: str) -> Outcome:
    """A learner fitted, deployed and trained in place, on as many chips as it needs."""
    options = task.learner_options(name, data.x, data.classes)
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeviceWarning)  # they are in the reports
        learner = _on_enough_chips(name, options, seed, preset)
        ledger = learner.accelerator.ledger
        fitted = learner.fit(data.x, data.y)
        deployed = float((learner.predict(data.x_test, SAMPLES).label == data.y_test).mean())
        learned = learner.learn(data.x, data.y)
        before, system = ledger.device_energy_j, ledger.system_energy_j
        prediction = learner.predict(data.x_test, SAMPLES)
    # A read of all cells serves the whole batch of rows.
    return Outcome(
        **scores(np.asarray(prediction.classes, np.float64), data.y_test),
        processor_s=time.process_time() - began,
        deployed_accuracy=deployed,
        pulses=fitted.pulses + learned.pulses,
        learning_energy_j=before,
        learning_system_j=system,
        prediction_j=(ledger.device_energy_j - before) / len(data.y_test),
        cells=learner.accelerator.n_cells,
        warnings=tuple(dict.fromkeys((*fitted.warnings, *learned.warnings))),
    )


def _on_enough_chips(name: str, options: dict[str, Any], seed: int, preset: str) -> Learner:
    """A learner on the preset's chips, twice as many until it fits."""
    from memristor_bdnn.errors import CapacityError

    device = presets.load(preset)
    while True:
        try:
            return learners.create(name, accelerator.create("simulated", preset=device, seed=seed), options, seed)
        except CapacityError:
            if device.chips > 5000:
                raise
            device = presets.override(device, {"chips": 2 * device.chips})


def in_software(members: int, task: Task, data: Split, seed: int) -> Outcome:
    """scikit-learn's MLP with the same hidden layers, or the mean of several that began differently."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    began = time.process_time()
    scale = StandardScaler().fit(data.x)
    total = np.zeros((len(data.x_test), data.classes))
    for member in range(members):
        network = MLPClassifier(task.hidden, max_iter=1000, random_state=seed * ENSEMBLE + member)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit(scale.transform(data.x), data.y)
        total += network.predict_proba(scale.transform(data.x_test))
    return Outcome(**scores(total / members, data.y_test), processor_s=time.process_time() - began)


def methods(names: tuple[str, ...], preset: str) -> dict[str, Callable[[Task, Split, int], Outcome]]:
    """Everyone who is compared, by name: learners on devices, then software."""

    def learner(name: str) -> Callable[[Task, Split, int], Outcome]:
        return lambda task, data, seed: on_devices(name, task, data, seed, preset)

    compared = {name: learner(name) for name in names}
    compared["MLP"] = lambda task, data, seed: in_software(1, task, data, seed)
    compared[f"{ENSEMBLE} MLPs"] = lambda task, data, seed: in_software(ENSEMBLE, task, data, seed)
    return compared
