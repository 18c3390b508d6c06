"""Whether a device can learn: written, read, and given the simplest rule with every learner."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from memristor_bdnn import accelerator as accelerators
from memristor_bdnn import learners
from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.device.concerns import blind_concerns, concerns
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import DeviceWarning, MemristorError, UnsupportedError

INPUTS, LABELS, TESTS, CELLS = 11, 160, 1000, 1000
GOOD = 0.9
"""Test accuracy from which a learner is said to work on a device."""
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "msgld": {"hidden": [24], "chains": 2, "largest_weight": 1.08, "prior_sd": 1.0, "beta": 0.03, "max_epochs": 20},
}
"""What learners are started with where their defaults are for another task; networks fit on 4,096 cells."""


@dataclass(frozen=True)
class LearnerCheck:
    """How one learner did on the rule: accuracies, pulses, seconds; ``error`` in place of them where it could not."""

    learner: str
    train_accuracy: float
    test_accuracy: float
    spread: float
    pulses: int
    seconds: float
    warnings: tuple[str, ...] = ()
    error: str = ""

    @property
    def verdict(self) -> str:
        """``learns``, ``does not learn``, or ``refused``."""
        return "refused" if self.error else "learns" if self.test_accuracy >= GOOD else "does not learn"


@dataclass(frozen=True)
class DeviceCheck:
    """What a device can do.

    Attributes:
        preset: name.
        window_ua: that of the preset.
        cells: how many were written.
        within: share of them that read within the tolerance after write-verify.
        error_ua: RMS of (read - target) after write-verify.
        levels: states that write-verify can tell apart: span over four times the error's SD, at least 1.
        read_sd_ua: SD of repeated reads of one cell, median over the cells.
        blind_error_ua: RMS of (read - target) after blind writes; NaN where there are none.
        concerns: fields of the preset that do not go with its window.
        error: why nothing could be written, or empty.
        learners: one entry each.
    """

    preset: str
    window_ua: tuple[float, float]
    cells: int
    within: float
    error_ua: float
    levels: float
    read_sd_ua: float
    blind_error_ua: float
    concerns: tuple[str, ...]
    error: str
    learners: tuple[LearnerCheck, ...]


def rule(seed: int, labels: int = LABELS) -> tuple[Any, Any, Any, Any]:
    """x (labels, 11), y = x0 > 0, and a test set of 1,000 rows."""
    rng = np.random.default_rng([seed, 15])
    x = rng.uniform(-1, 1, (labels + TESTS, INPUTS))
    y = (x[:, 0] > 0).astype(np.float64)
    return x[:labels], y[:labels], x[labels:], y[labels:]


def check(
    preset: DevicePreset,
    seed: int = 0,
    names: Iterable[str] = tuple(learners.BUILT_IN),
    options: Mapping[str, Mapping[str, Any]] = OPTIONS,
    progress: Callable[[str], None] | None = None,
) -> DeviceCheck:
    """Write, read and learn on simulated devices of a preset.

    Args:
        preset: the devices.
        seed: of devices, data and learners.
        names: learners to try.
        options: of each learner, by name; its defaults for those that are not there.
        progress: told what comes next.

    Raises:
        ConfigError: an unknown learner or option.
    """
    say = progress or (lambda text: None)
    say("writing and reading")
    figures, error = _written(preset, seed)
    tried = []
    for name in names:
        learners.learner_class(name)
        say(f"learning with {name}")
        tried.append(_learned(preset, seed, name, options.get(name, {})))
    try:
        found = (*concerns(preset), *blind_concerns(preset))
    except MemristorError as refused:
        found, error = (), error or str(refused)
    return DeviceCheck(preset.name, preset.window_ua, CELLS, *figures, found, error, tuple(tried))


def _written(preset: DevicePreset, seed: int) -> tuple[tuple[float, float, float, float, float], str]:
    """Share within tolerance, RMS error, levels, read SD, RMS error of blind writes; and why not."""
    chips = accelerators.create("simulated", preset=preset, seed=seed)
    cells = min(CELLS, chips.capacity)
    try:
        low, high = preset.usable_ua
    except MemristorError as error:
        return (0.0, np.nan, 1.0, np.nan, np.nan), str(error)
    chips.allocate(cells)
    target = np.random.default_rng([seed, 16]).uniform(low, high, cells)
    written = chips.write_verify(target)
    reads = chips.read(50)
    error_ua = float(np.hypot(written.mean_error_ua, written.sd_error_ua))
    levels = max((high - low) / (4 * max(written.sd_error_ua, 1e-12)), 1.0)
    read_sd = float(np.median(reads.std(axis=0)))
    return (written.within_tolerance / cells, error_ua, levels, read_sd, _blind(chips, target)), ""


def _blind(chips: Accelerator, target: Any) -> float:
    try:
        chips.program(target)
    except UnsupportedError:
        return float("nan")
    return float(np.sqrt(np.mean((chips.read(1)[0] - target) ** 2)))


def _learned(preset: DevicePreset, seed: int, name: str, options: Mapping[str, Any]) -> LearnerCheck:
    """Fit, then learn in place, on one rule; then ask about a thousand new rows."""
    x, y, x_test, y_test = rule(seed)
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeviceWarning)  # they are in the reports
            chips = accelerators.create("simulated", preset=preset, seed=seed)
            learner = learners.create(name, chips, {"n_inputs": INPUTS, **options}, seed)
            fitted = learner.fit(x, y)
            report = learner.learn(x, y)
            prediction = learner.predict(x_test)
    except MemristorError as error:
        return LearnerCheck(name, np.nan, np.nan, np.nan, 0, time.perf_counter() - began, (), str(error))
    said = tuple(dict.fromkeys((*fitted.warnings, *report.warnings)))
    return LearnerCheck(
        name,
        report.accuracy,
        float(((prediction.mean > 0.5) == (y_test > 0.5)).mean()),
        float(prediction.std.mean()),
        fitted.pulses + report.pulses,
        time.perf_counter() - began,
        said,
    )
