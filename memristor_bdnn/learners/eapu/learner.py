"""EaPU for the skill: the network trained in place by Adam, few cells written, each with verification."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners import checkpoint
from memristor_bdnn.learners.checks import check_inputs, check_labels
from memristor_bdnn.learners.eapu.rule import probabilistic_update
from memristor_bdnn.learners.protocol import (
    CancelCallback,
    LearnProgress,
    LearnReport,
    Prediction,
    ProgressCallback,
)
from memristor_bdnn.network import exsitu
from memristor_bdnn.network.bayesian import layer_shapes
from memristor_bdnn.network.chains import Chains
from memristor_bdnn.network.features import feature_map, feature_width
from memristor_bdnn.network.scaling import InputScaler
from memristor_bdnn.state import pack_rng, restore_rng

FloatArray = npt.NDArray[np.floating[Any]]
CHECKPOINT = "memristor_bdnn.eapu/1"


@dataclass(frozen=True)
class EaPUConfig:
    """Options of the EaPU learner; P = paper, D = measured by us."""

    n_inputs: int = option(11, "width of x", low=1, high=100_000)
    features: str = option("", "change of variables in front of the network, as module:function; empty for none")
    hidden: tuple[int, ...] = option((24,), "units of the hidden layers", low=1, high=10_000, source="D")
    devices_per_weight: int = option(3, "memristors whose currents add up to one weight", low=1, high=16)
    networks: int = option(
        6, "independent networks side by side, whose disagreement joins the read noise", low=1, high=1000, source="D"
    )
    offset_ua: float | None = option(
        None, "sum of a weight's currents that means 0; empty: the middle of the window", low=0.0, unit="uA"
    )
    scale_ua: float | None = option(
        None, "current per unit of weight; empty: the window spans weights from -4.9 to 4.9", low=1e-3, unit="uA"
    )
    input_bits: int = option(8, "bits of the input DAC; 0 does not quantise", low=0, high=16)
    input_span: float = option(2.5, "clipping of standardised inputs, SD", low=0.1, high=100.0)

    learning_rate: float = option(0.02, "Adam step, in units of weight", low=1e-6, high=10.0, source="D")
    reads: int = option(4, "reads of all cells per step", low=1, high=1000, source="D")
    writing_sd_ua: float | None = option(
        None, "SD of the writing error; empty: as measured when fit() deploys", low=0.0, unit="uA", source="P"
    )
    max_epochs: int = option(40, "in situ epochs per call of learn", low=1, high=100_000, source="D")
    stop_accuracy: float = option(0.98, "training accuracy that ends in situ learning; above 1 never", low=0, high=1.1)
    stop_patience: int = option(3, "epochs in a row at stop_accuracy", low=1, high=1000)
    softness: float = option(
        0.0, "0 learns bits (y > 0.5), 1 the given probabilities, linear between", low=0.0, high=1.0, source="D"
    )
    memory_rounds: int = option(
        0, "rounds of learning whose last reads join the live reads in predictions", low=0, high=1000
    )
    memory_reads: int = option(2, "reads kept per round", low=1, high=100)
    ex_situ: exsitu.ExSituConfig = field(default_factory=lambda: exsitu.ExSituConfig(initial_sd=0.8))

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)
        if not self.hidden:
            raise ConfigError("EaPUConfig.hidden = (): at least one hidden layer is needed")


class EaPULearner:
    """Error-aware probabilistic update: Adam in place, writing few cells, none by less than its writing error.

    Works on any accelerator that offers write-verify. The predictive spread is the read noise and the
    disagreement of ``networks`` trained side by side, since the noise alone is too quiet to ask questions by.

    Args:
        accelerator: the network's cells are allocated on it here.
        config: options.
        seed: of the update choice and the ex situ start.

    Raises:
        CapacityError: the network does not fit; fewer devices per weight or hidden units do.
    """

    config_type = EaPUConfig
    name = "eapu"

    def __init__(self, accelerator: Accelerator, config: EaPUConfig | None = None, seed: int = 0) -> None:
        self.config = cfg = config or EaPUConfig()
        self.accelerator = accelerator
        self.n_inputs = cfg.n_inputs
        self.features = feature_map(cfg.features)
        low, high = accelerator.preset.window_ua
        devices = cfg.devices_per_weight
        offset = devices * (low + high) / 2 if cfg.offset_ua is None else cfg.offset_ua
        scale = devices * (high - low) / (2 * 4.91) if cfg.scale_ua is None else cfg.scale_ua
        width = feature_width(self.features, self.n_inputs)
        self.network = Chains(layer_shapes(width, cfg.hidden, devices=devices), offset, scale, cfg.networks)
        accelerator.allocate(self.network.n_cells)
        self.rng = np.random.default_rng(seed)
        self.scaler: InputScaler | None = None
        self.writing_sd_ua = cfg.writing_sd_ua or 0.0
        self.memory: deque[FloatArray] = deque(maxlen=cfg.memory_rounds)
        self.iterations = self.updates = self.pulses = 0
        self._adam = exsitu.Adam(self.network.n_weights, cfg.learning_rate)

    @property
    def r_up(self) -> float:
        """R_up: share of the weights updated per iteration of in situ learning."""
        return self.updates / max(self.network.n_weights * self.iterations, 1)

    @property
    def n_up(self) -> float:
        """N_up: programming pulses per device and iteration of in situ learning."""
        return self.pulses / max(self.network.n_cells * self.iterations, 1)

    def fit(
        self,
        x: FloatArray,
        y: FloatArray,
        progress: ProgressCallback | None = None,
        cancelled: CancelCallback | None = None,
    ) -> LearnReport:
        """Train ex situ on x (n, n_inputs), y (n,), write-verify the states, and measure the writing error."""
        x = check_inputs(x, self.n_inputs)
        y = check_labels(y, len(x))
        cfg = self.config
        self.scaler = InputScaler.fit(self.features(x), cfg.input_bits, cfg.input_span)

        def on_epoch(epoch: int, loss: float, accuracy: float, pulses: int) -> bool:
            if progress is not None:
                progress(LearnProgress(epoch + 1, cfg.ex_situ.epochs, loss, accuracy, pulses))
            return cancelled is not None and cancelled()

        result = exsitu.train(
            self.network,
            self.accelerator.preset,
            self._scaled(x),
            self._targets(y),
            cfg.ex_situ,
            self.rng,
            on_epoch=on_epoch,
        )
        written = self.accelerator.write_verify(result.states)
        self.writing_sd_ua = written.sd_error_ua if cfg.writing_sd_ua is None else cfg.writing_sd_ua
        self._adam = exsitu.Adam(self.network.n_weights, cfg.learning_rate)
        self.memory.clear()
        accuracy = float(((self.predict(x, cfg.reads).mean > 0.5) == (y > 0.5)).mean())
        return LearnReport(len(result.history), result.loss, accuracy, written.pulses, result.history)

    def learn(
        self,
        x: FloatArray,
        y: FloatArray,
        progress: ProgressCallback | None = None,
        cancelled: CancelCallback | None = None,
    ) -> LearnReport:
        """Train in situ on all labels x (n, n_inputs), y (n,), from the present device states."""
        x = check_inputs(x, self.n_inputs)
        y = check_labels(y, len(x))
        cfg = self.config
        if self.scaler is None:
            self.scaler = InputScaler.fit(self.features(x), cfg.input_bits, cfg.input_span)
        rows, targets, truth = self._scaled(x), self._targets(y), y > 0.5
        history: list[float] = []
        loss, streak, before = 0.0, 0, self.pulses
        for epoch in range(cfg.max_epochs):
            currents = self.accelerator.read(cfg.reads)
            result = self.network.gradient(rows, targets, self.network.flat_weights(currents))
            loss = result.loss
            history.append(float(((result.probability > 0.5) == truth).mean()))
            streak = streak + 1 if history[-1] >= cfg.stop_accuracy else 0
            if streak < cfg.stop_patience:
                self._update(currents.mean(axis=0), result.gradient[0] / len(x))
            if progress is not None:
                progress(LearnProgress(epoch + 1, cfg.max_epochs, loss, history[-1], self.pulses - before))
            if streak >= cfg.stop_patience or (cancelled is not None and cancelled()):
                break
        if cfg.memory_rounds:
            self.memory.append(self.network.flat_weights(self.accelerator.read(cfg.memory_reads)))
        return LearnReport(len(history), loss, history[-1], self.pulses - before, tuple(history))

    def predict(self, x: FloatArray, samples: int = 20) -> Prediction:
        """Success probability of candidates x (n, n_inputs) from ``samples`` live reads, plus the memory's."""
        if samples < 1:
            raise ConfigError(f"samples = {samples}: at least 1 read is needed")
        x = check_inputs(x, self.n_inputs, rows=0)
        if self.scaler is None:
            raise ConfigError("this learner has no data yet: call fit or learn (or load a checkpoint) first")
        flat = self.network.flat_weights(self.accelerator.read(samples))
        if self.memory:
            flat = np.concatenate([flat, *self.memory])
        p = self.network.forward_flat(self._scaled(x), flat)
        return Prediction(p.mean(axis=0), p.std(axis=0), p)

    def save(self, path: str | Path) -> str:
        """Write learner and accelerator state (.npz without objects); returns its SHA-256."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "rng": pack_rng(self.rng),
            "adam_first": self._adam.first,
            "adam_second": self._adam.second,
            "counters": np.array([self._adam.steps, self.iterations, self.updates, self.pulses], np.int64),
            "writing_sd_ua": np.array(self.writing_sd_ua),
            "memory": np.array(list(self.memory), np.float32),
        }
        if self.scaler is not None:
            arrays["scaler_mean"], arrays["scaler_sd"] = self.scaler.mean, self.scaler.sd
        return checkpoint.save(path, CHECKPOINT, self.config, self.accelerator, arrays)

    def load(self, path: str | Path) -> str:
        """Restore :meth:`save` bit-exactly; returns the file's SHA-256. Raises ConfigError if it does not fit."""
        arrays, digest = checkpoint.load(path, CHECKPOINT, self.config, self.accelerator)
        restore_rng(self.rng, arrays["rng"])
        self._adam.first, self._adam.second = arrays["adam_first"], arrays["adam_second"]
        self._adam.steps, self.iterations, self.updates, self.pulses = (int(v) for v in arrays["counters"])
        self.writing_sd_ua = float(arrays["writing_sd_ua"])
        self.memory.clear()
        self.memory.extend(arrays["memory"])
        self.scaler = None
        if "scaler_mean" in arrays:
            self.scaler = InputScaler(
                arrays["scaler_mean"], arrays["scaler_sd"], self.config.input_bits, self.config.input_span
            )
        return digest

    def _scaled(self, x: FloatArray) -> FloatArray:
        assert self.scaler is not None
        return self.scaler(self.features(x))

    def _targets(self, y: FloatArray) -> FloatArray:
        hard = (y > 0.5).astype(np.float64)
        return hard + self.config.softness * (y - hard)

    def _update(self, current_ua: FloatArray, gradient: FloatArray) -> None:
        """One Adam step on the weights, of which a few reach one device each, with verification."""
        step = self._adam.step(gradient)
        weights, change = probabilistic_update(step, self.writing_sd_ua / self.network.scale, self.rng)
        self.iterations += 1
        self.updates += weights.size
        if weights.size == 0:
            return
        target = current_ua.astype(np.float64)
        cells = self._device_with_room(target, weights, change)
        low, high = self.accelerator.preset.window_ua
        target[cells] = np.clip(target[cells] + change * self.network.scale, low, high)
        mask = np.zeros(target.size, dtype=bool)
        mask[cells] = True
        self.pulses += self.accelerator.write_verify(target, mask).pulses

    def _device_with_room(self, current_ua: FloatArray, weights: FloatArray, change: FloatArray) -> FloatArray:
        """Of each weight (k,) the cell farthest from the edge that the change goes towards, as cell numbers (k,)."""
        of_weight = current_ua.reshape(-1, self.network.devices)[weights]
        rising = change[:, None] > 0
        device = np.where(rising, of_weight, -of_weight).argmin(axis=1)
        return weights * self.network.devices + device
