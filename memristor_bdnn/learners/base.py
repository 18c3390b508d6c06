"""What every learner does alike: checks, input scaling, the generator, progress, checkpoints.

A learner inherits :class:`BaseLearner` and writes only its method: how it is fitted, how it learns in place, what
its posterior samples say, and which arrays a checkpoint needs besides the common ones.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.accelerator.watching import sends_nothing, watched
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError, MemristorError
from memristor_bdnn.learners import checkpoint as files
from memristor_bdnn.learners.checks import check_inputs, check_labels
from memristor_bdnn.learners.looking import Looking
from memristor_bdnn.learners.protocol import (
    CancelCallback,
    LearnProgress,
    LearnReport,
    Prediction,
    ProgressCallback,
)
from memristor_bdnn.network.bayesian import decided
from memristor_bdnn.network.features import feature_map, feature_width
from memristor_bdnn.network.scaling import LARGEST, SMALLEST, InputScaler
from memristor_bdnn.state import pack_rng, restore_rng

FloatArray = npt.NDArray[np.floating[Any]]
Arrays = dict[str, npt.NDArray[Any]]
_SCALER_RANGES = {"scaler_mean": (-LARGEST, LARGEST), "scaler_sd": (SMALLEST, LARGEST)}
Value = Callable[[Prediction, npt.NDArray[np.intp]], FloatArray]
"""From the prediction of some candidates and their numbers (k,) to their scores (k,)."""
ROWS_AT_ONCE = 1 << 15
"""Rows whose features, or first look, are made at a time: memory does not grow with a pool."""
SHORTLIST = 512
"""Candidates that are looked at by all samples where only the best are looked for."""
SURE = 32
"""Of those how many are predicted to the last digit: the others are behind by more than a look is wrong."""
COUNTED = (0, 2**48)
"""Range of a counter in a checkpoint: it can go on counting."""


@dataclass(frozen=True)
class LearnerConfig:
    """Options that every learner has; a learner's own configuration inherits them."""

    of_two: ClassVar[tuple[str, ...]] = ()
    """Options that say something of success and failure; with more classes they stay at their defaults."""

    n_inputs: int = option(11, "width of x", low=1, high=100_000)
    n_classes: int = option(
        2,
        "classes that are told apart; with 2, labels are success or failure as numbers in [0, 1], with more, 0 to "
        "n_classes - 1 or the probability of every class",
        low=2,
        high=1000,
    )
    features: str = option(
        "", "change of variables in front of the model, as module:function; empty for none", source="D"
    )
    input_bits: int = option(8, "bits of the input DAC; 0 does not quantise", low=0, high=16, source="mSGLD code")
    input_span: float = option(2.5, "clipping of standardised inputs, SD", low=0.1, high=100.0, source="mSGLD code")

    def __post_init__(self) -> None:
        """Validate every field, those of the inheriting class too."""
        check(self)
        if self.n_classes > 2:
            for name in self.of_two:
                usual = next(f.default for f in dataclasses.fields(self) if f.name == name)
                if getattr(self, name) != usual:
                    raise ConfigError(
                        f"{type(self).__name__}.{name} = {getattr(self, name)}: is for success or failure only, leave "
                        f"it at {usual} with n_classes = {self.n_classes}"
                    )


@dataclass(frozen=True)
class Watch:
    """Who watches a training: told of every epoch, and asked once an epoch whether to stop."""

    progress: ProgressCallback | None = None
    cancelled: CancelCallback | None = None

    def __call__(self, epoch: int, epochs: int, loss: float, accuracy: float, pulses: int) -> bool:
        """Tell that ``epoch`` of ``epochs`` are done (from 1); True asks to stop and keep what was learned."""
        if self.progress is not None:
            self.progress(LearnProgress(epoch, epochs, loss, accuracy, pulses))
        return self.cancelled is not None and self.cancelled()

    def of(self, epochs: int) -> Callable[[int, float, float, int], bool] | None:
        """The same for a trainer that counts epochs from 0, not knowing how many there are; None if none watches."""
        if self.progress is None and self.cancelled is None:
            return None
        return lambda epoch, loss, accuracy, pulses: self(epoch + 1, epochs, loss, accuracy, pulses)


class BaseLearner(ABC):
    """Everything of the learner protocol that is not the method itself.

    A subclass sets ``name``, ``config_type`` and ``checkpoint``, allocates its cells in ``__init__`` after calling
    this one, and implements :meth:`_fit`, :meth:`_learn`, :meth:`_samples`, :meth:`_state` and :meth:`_restore`.

    Args:
        accelerator: where its devices live.
        config: an instance of ``config_type``; default its defaults.
        seed: of every random draw of the learner.

    Attributes:
        features: the change of variables, (n, n_inputs) -> (n, n_features).
        scaler: standardises and quantises features; None before the first data.
        rng: the learner's only generator; a checkpoint holds its state.
        looking: where a learner shows its write-verify reports: ``deployed`` for a whole network, ``updated`` for some
            cells; what they say gets into the report of ``fit`` or ``learn``.

    Raises:
        ConfigError: the feature map does not exist or does not take ``n_inputs`` columns.
    """

    name: ClassVar[str]
    config_type: ClassVar[type]
    checkpoint: ClassVar[str]
    """Name and version of the checkpoint's format, such as ``memristor_bdnn.eapu/1``."""
    many_classes: ClassVar[bool] = False
    """Whether the method takes more classes than success and failure; without it ``n_classes`` above 2 is refused."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Arrays of :meth:`_state` that are not in every checkpoint."""
    growing: ClassVar[tuple[str, ...]] = ()
    """Arrays of :meth:`_state` whose shape is not that of a fresh learner's."""
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Lowest and highest value of arrays of :meth:`_state`; without an entry every finite number is one."""

    def __init__(self, accelerator: Accelerator, config: Any = None, seed: int = 0) -> None:
        self.config = self.config_type() if config is None else config
        self.accelerator = accelerator
        self.n_inputs: int = self.config.n_inputs
        self.n_classes: int = self.config.n_classes
        if self.n_classes > 2 and not self.many_classes:
            raise ConfigError(f"n_classes = {self.n_classes}: learner {self.name} tells success from failure, 2 only")
        self.features = feature_map(self.config.features)
        self.n_features = feature_width(self.features, self.n_inputs)
        self.rng = np.random.default_rng(seed)
        self.scaler: InputScaler | None = None
        self.looking = Looking(accelerator)

    def fit(
        self,
        x: FloatArray,
        y: FloatArray,
        progress: ProgressCallback | None = None,
        cancelled: CancelCallback | None = None,
    ) -> LearnReport:
        """Train from scratch and deploy; see :class:`memristor_bdnn.learners.protocol.Learner`."""
        x = check_inputs(x, self.n_inputs)
        y = check_labels(y, len(x), self.n_classes)
        with self._taught(cancelled):
            return self._looked(y, self._fit(x, y, Watch(progress, cancelled)))

    def learn(
        self,
        x: FloatArray,
        y: FloatArray,
        progress: ProgressCallback | None = None,
        cancelled: CancelCallback | None = None,
    ) -> LearnReport:
        """Train in situ on all labels so far; see :class:`memristor_bdnn.learners.protocol.Learner`."""
        x = check_inputs(x, self.n_inputs)
        y = check_labels(y, len(x), self.n_classes)
        with self._taught(cancelled):
            return self._looked(y, self._learn(x, y, Watch(progress, cancelled)))

    def _taught(self, cancelled: CancelCallback | None) -> AbstractContextManager[None]:
        """Chips that may be stopped while they are written, and that are written at all. Raises ConfigError else."""
        if sends_nothing(self.accelerator):
            raise ConfigError("dry run: no pulse is sent to the devices, so nothing can be learned on them")
        return watched(self.accelerator, cancelled=cancelled)

    def _looked(self, y: FloatArray, report: LearnReport) -> LearnReport:
        """The report with what is to be said of the devices and of the training."""
        self.looking.taught(y, report.accuracy)
        return self.looking.report(report)

    def predict(self, x: FloatArray, samples: int = 20) -> Prediction:
        """Probability of success, or of every class, of rows x (n, n_inputs) from at least ``samples`` samples.

        Raises:
            ConfigError: wrong width or NaN, ``samples`` below 1, or nothing learned yet.
        """
        self._check_asked(samples)
        return Prediction.of(self._samples(check_inputs(x, self.n_inputs, rows=0), samples))

    def shortlist(
        self, x: FloatArray, samples: int, value: Value, keep: int = SHORTLIST
    ) -> tuple[npt.NDArray[np.intp], Prediction]:
        """Predict only candidates that may be the best ones; a learner without a first look predicts all.

        The same samples are drawn as by :meth:`predict`, so that the best candidate is the same one as long as the
        first look, by some of the samples, leaves it on the list.

        Args:
            x: candidates, (n, n_inputs).
            samples: as for :meth:`predict`.
            value: scores of some candidates by their prediction, each by its own alone.
            keep: candidates that a first look leaves; a few of the best :data:`SURE` of them are to be chosen.

        Returns:
            Numbers of the candidates on the list, rising, (k,), and their prediction.

        Raises:
            ConfigError: as :meth:`predict`.
        """
        prediction = self.predict(x, samples)
        return np.arange(len(x)), prediction

    def _check_asked(self, samples: int) -> None:
        """Refuse a question without samples, or before there is anything to predict from."""
        if samples < 1:
            raise ConfigError(f"samples = {samples}: at least 1 posterior sample is needed")
        if not self._ready():
            raise ConfigError("this learner has no data yet: call fit or learn (or load a checkpoint) first")

    def save(self, path: str | Path) -> str:
        """Write learner and accelerator state (.npz without objects); returns its SHA-256.

        Raises:
            StoreError: the file cannot be written; learner, chips and an older file are as they were.
        """
        arrays = {"rng": pack_rng(self.rng), **self._state()}
        if self.scaler is not None:
            arrays["scaler_mean"], arrays["scaler_sd"] = self.scaler.mean, self.scaler.sd
        return files.save(path, self.checkpoint, self.config, self.accelerator, arrays)

    def load(self, path: str | Path) -> str:
        """Restore :meth:`save` bit-exactly; returns the file's SHA-256.

        All of the file is judged before the learner or its chips are touched, and if they refuse it all the same, they
        are put back as they were.

        Raises:
            ConfigError: damaged (names the array), of another learner, made with other options (names them), or of
                other hardware.
        """
        own = {**self._state(), "rng": pack_rng(self.rng)}
        scaling = dict.fromkeys(("scaler_mean", "scaler_sd"), np.zeros(self.n_features))
        growing = (*self.growing, "rng")
        fixed = {key: value for key, value in own.items() if key not in growing}
        file = files.read(path, self.checkpoint, self.config, self.accelerator, {**fixed, **scaling})
        arrays = file.arrays
        scaled = "scaler_mean" in arrays or "scaler_sd" in arrays
        if not file.complete:  # a file of before does not say what belongs to it: who has pulsed chips has seen data
            scaled = scaled or bool(np.any(file.accelerator.get("ledger.wear", 0)))
        expected = {**own, **scaling} if scaled else own
        files.check_arrays(path, arrays, expected, self.optional, growing, {**_SCALER_RANGES, **self.ranges})
        generator = np.random.default_rng(0)
        restore_rng(generator, arrays["rng"], f"{path}: rng")
        try:
            self._check(arrays)
        except ConfigError as error:
            raise ConfigError(f"damaged checkpoint {path}: {error}") from error
        self._take_over(path, file, arrays, generator)
        return file.sha256

    def _take_over(
        self, path: str | Path, file: files.Checkpoint, arrays: Arrays, generator: np.random.Generator
    ) -> None:
        """Put learner and chips into a state that was judged, or leave both as they were."""
        before = {key: np.array(value) for key, value in self._state().items()}
        chips, scaler, draws = self.accelerator.state_dict(), self.scaler, self.rng.bit_generator.state
        try:
            self.accelerator.load_state_dict(file.accelerator)
        except ConfigError as error:
            raise ConfigError(f"{path}: accelerator: {error}") from error
        try:
            self.rng.bit_generator.state = generator.bit_generator.state
            self.scaler = None
            if "scaler_mean" in arrays:
                bits, span = self.config.input_bits, self.config.input_span
                self.scaler = InputScaler(arrays["scaler_mean"], arrays["scaler_sd"], bits, span)
            self._restore(arrays)
        except Exception as error:  # a learner of another package may fail in any way
            self.rng.bit_generator.state, self.scaler = draws, scaler
            self._restore(before)
            self.accelerator.load_state_dict(chips)
            if isinstance(error, MemristorError):
                raise
            raise ConfigError(f"{path}: {self.name} cannot go on from it: {type(error).__name__}: {error}") from error

    @abstractmethod
    def _fit(self, x: FloatArray, y: FloatArray, watch: Watch) -> LearnReport:
        """Train from scratch on checked x (n, n_inputs) and y, and write the result into the devices.

        y is success (n,) in [0, 1], or with more than two classes the probability of every class, (n, n_classes).
        """

    @abstractmethod
    def _learn(self, x: FloatArray, y: FloatArray, watch: Watch) -> LearnReport:
        """Train on from the present device states."""

    @abstractmethod
    def _samples(self, x: FloatArray, samples: int) -> FloatArray:
        """Success probabilities (at least ``samples``, n) of checked x (n, n_inputs), a row per posterior sample.

        With more than two classes probabilities of every class, (at least ``samples``, n, n_classes).
        """

    @abstractmethod
    def _state(self) -> Arrays:
        """The learner's arrays for a checkpoint, besides generator, scaler, options and accelerator."""

    @abstractmethod
    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over :meth:`_state` from a checkpoint; all of it is there, finite and of the right shape."""

    def _check(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:  # noqa: B027
        """Judge what ``optional``, ``growing`` and ``ranges`` cannot say of a checkpoint; nothing is touched yet.

        Args:
            arrays: as for :meth:`_restore`; ``scaler_mean`` is among them if the learner had seen data.

        Raises:
            ConfigError: names the array; see :func:`memristor_bdnn.state.check_array`.
        """

    def _ready(self) -> bool:
        """Whether there is something to predict from."""
        return self.scaler is not None

    def _fit_scaler(self, x: FloatArray) -> None:
        """Standardise by the features of x from now on."""
        self.scaler = InputScaler.fit(self.features(x), self.config.input_bits, self.config.input_span)

    def _scaled(self, x: FloatArray) -> FloatArray:
        """Standardised, quantised features (n, n_features) of x (n, n_inputs), float32."""
        assert self.scaler is not None
        if len(x) <= ROWS_AT_ONCE:
            return self.scaler(self.features(x))
        scaled = np.empty((len(x), self.n_features), dtype=np.float32)
        for start in range(0, len(x), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            scaled[part] = self.scaler(self.features(x[part]))
        return scaled

    def _accuracy(self, x: FloatArray, y: FloatArray, samples: int = 20) -> float:
        """Share of the labels that the mean of a prediction gets right."""
        return float((decided(self.predict(x, samples).mean) == decided(y)).mean())


def softened(y: FloatArray, softness: float) -> FloatArray:
    """Targets (n,) between the bits of labels y (softness 0) and the labels themselves (softness 1).

    Class probabilities (n, classes) are learned as they were given.
    """
    if y.ndim == 2:
        return y
    hard = (y > 0.5).astype(np.float64)
    return hard + softness * (y - hard)
