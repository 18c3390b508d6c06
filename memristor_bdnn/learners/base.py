"""What every learner does alike: checks, input scaling, the generator, progress, checkpoints.

A learner inherits :class:`BaseLearner` and writes only its method: how it is fitted, how it learns in place, what
its posterior samples say, and which arrays a checkpoint needs besides the common ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners import checkpoint
from memristor_bdnn.learners.checks import check_inputs, check_labels
from memristor_bdnn.learners.protocol import (
    CancelCallback,
    LearnProgress,
    LearnReport,
    Prediction,
    ProgressCallback,
)
from memristor_bdnn.network.features import feature_map, feature_width
from memristor_bdnn.network.scaling import InputScaler
from memristor_bdnn.state import pack_rng, restore_rng

FloatArray = npt.NDArray[np.floating[Any]]
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class LearnerConfig:
    """Options that every learner has; a learner's own configuration inherits them."""

    n_inputs: int = option(11, "width of x", low=1, high=100_000)
    features: str = option(
        "", "change of variables in front of the model, as module:function; empty for none", source="D"
    )
    input_bits: int = option(8, "bits of the input DAC; 0 does not quantise", low=0, high=16, source="mSGLD code")
    input_span: float = option(2.5, "clipping of standardised inputs, SD", low=0.1, high=100.0, source="mSGLD code")

    def __post_init__(self) -> None:
        """Validate every field, those of the inheriting class too."""
        check(self)


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

    def of(self, epochs: int) -> Callable[[int, float, float, int], bool]:
        """The same for a trainer that counts its epochs from 0 and does not know how many there will be."""
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

    Raises:
        ConfigError: the feature map does not exist or does not take ``n_inputs`` columns.
    """

    name: ClassVar[str]
    config_type: ClassVar[type]
    checkpoint: ClassVar[str]
    """Name and version of the checkpoint's format, such as ``memristor_bdnn.eapu/1``."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Arrays of :meth:`_state` that are not in every checkpoint."""
    growing: ClassVar[tuple[str, ...]] = ()
    """Arrays of :meth:`_state` whose shape is not that of a fresh learner's."""

    def __init__(self, accelerator: Accelerator, config: Any = None, seed: int = 0) -> None:
        self.config = self.config_type() if config is None else config
        self.accelerator = accelerator
        self.n_inputs: int = self.config.n_inputs
        self.features = feature_map(self.config.features)
        self.n_features = feature_width(self.features, self.n_inputs)
        self.rng = np.random.default_rng(seed)
        self.scaler: InputScaler | None = None

    def fit(
        self,
        x: FloatArray,
        y: FloatArray,
        progress: ProgressCallback | None = None,
        cancelled: CancelCallback | None = None,
    ) -> LearnReport:
        """Train from scratch and deploy; see :class:`memristor_bdnn.learners.protocol.Learner`."""
        x = check_inputs(x, self.n_inputs)
        return self._fit(x, check_labels(y, len(x)), Watch(progress, cancelled))

    def learn(
        self,
        x: FloatArray,
        y: FloatArray,
        progress: ProgressCallback | None = None,
        cancelled: CancelCallback | None = None,
    ) -> LearnReport:
        """Train in situ on all labels so far; see :class:`memristor_bdnn.learners.protocol.Learner`."""
        x = check_inputs(x, self.n_inputs)
        return self._learn(x, check_labels(y, len(x)), Watch(progress, cancelled))

    def predict(self, x: FloatArray, samples: int = 20) -> Prediction:
        """Success probability of candidates x (n, n_inputs) from at least ``samples`` posterior samples.

        Raises:
            ConfigError: wrong width or NaN, ``samples`` below 1, or nothing learned yet.
        """
        if samples < 1:
            raise ConfigError(f"samples = {samples}: at least 1 posterior sample is needed")
        x = check_inputs(x, self.n_inputs, rows=0)
        if not self._ready():
            raise ConfigError("this learner has no data yet: call fit or learn (or load a checkpoint) first")
        p = self._samples(x, samples)
        return Prediction(p.mean(axis=0), p.std(axis=0), p)

    def save(self, path: str | Path) -> str:
        """Write learner and accelerator state (.npz without objects); returns its SHA-256."""
        arrays = {"rng": pack_rng(self.rng), **self._state()}
        if self.scaler is not None:
            arrays["scaler_mean"], arrays["scaler_sd"] = self.scaler.mean, self.scaler.sd
        return checkpoint.save(path, self.checkpoint, self.config, self.accelerator, arrays)

    def load(self, path: str | Path) -> str:
        """Restore :meth:`save` bit-exactly; returns the file's SHA-256.

        Everything that can be judged of the file is, before the learner or its chips are touched.

        Raises:
            ConfigError: damaged, of another learner, made with other options (names them), or of other hardware.
        """
        file = checkpoint.read(path, self.checkpoint, self.config)
        arrays = file.arrays
        expected: dict[str, tuple[int, ...] | None] = {
            key: None if key in self.growing else np.shape(value)
            for key, value in self._state().items()
            if key not in self.optional
        }
        if "scaler_mean" in arrays or "scaler_sd" in arrays:
            expected |= dict.fromkeys(("scaler_mean", "scaler_sd"), (self.n_features,))
        checkpoint.check_arrays(path, arrays, {"rng": None, **expected})
        generator = np.random.default_rng(0)
        restore_rng(generator, arrays["rng"])
        self.accelerator.load_state_dict(file.accelerator)
        self.rng.bit_generator.state = generator.bit_generator.state
        self.scaler = None
        if "scaler_mean" in arrays:
            bits, span = self.config.input_bits, self.config.input_span
            self.scaler = InputScaler(arrays["scaler_mean"], arrays["scaler_sd"], bits, span)
        self._restore(arrays)
        return file.sha256

    @abstractmethod
    def _fit(self, x: FloatArray, y: FloatArray, watch: Watch) -> LearnReport:
        """Train from scratch on checked x (n, n_inputs), y (n,) and write the result into the devices."""

    @abstractmethod
    def _learn(self, x: FloatArray, y: FloatArray, watch: Watch) -> LearnReport:
        """Train on from the present device states."""

    @abstractmethod
    def _samples(self, x: FloatArray, samples: int) -> FloatArray:
        """Success probabilities (at least ``samples``, n) of checked x (n, n_inputs), a row per posterior sample."""

    @abstractmethod
    def _state(self) -> Arrays:
        """The learner's arrays for a checkpoint, besides generator, scaler, options and accelerator."""

    @abstractmethod
    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over :meth:`_state` from a checkpoint; all of it is there, finite and of the right shape."""

    def _ready(self) -> bool:
        """Whether there is something to predict from."""
        return self.scaler is not None

    def _fit_scaler(self, x: FloatArray) -> None:
        """Standardise by the features of x from now on."""
        self.scaler = InputScaler.fit(self.features(x), self.config.input_bits, self.config.input_span)

    def _scaled(self, x: FloatArray) -> FloatArray:
        """Standardised, quantised features (n, n_features) of x (n, n_inputs), float32."""
        assert self.scaler is not None
        return self.scaler(self.features(x))

    def _accuracy(self, x: FloatArray, y: FloatArray, samples: int = 20) -> float:
        """Share of the labels that the mean of a prediction gets right."""
        return float(((self.predict(x, samples).mean > 0.5) == (y > 0.5)).mean())


def softened(y: FloatArray, softness: float) -> FloatArray:
    """Targets (n,) between the bits of labels y (softness 0) and the labels themselves (softness 1)."""
    hard = (y > 0.5).astype(np.float64)
    return hard + softness * (y - hard)
