"""EaPU for the skill: the network trained in place by Adam, few cells written, each with verification."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.config import option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.base import COUNTED, Arrays, BaseLearner, LearnerConfig, Watch, softened
from memristor_bdnn.learners.eapu.device import writing_sd_ua
from memristor_bdnn.learners.eapu.rule import probabilistic_update
from memristor_bdnn.learners.protocol import LearnReport
from memristor_bdnn.network import exsitu
from memristor_bdnn.network.bayesian import decided, layer_shapes
from memristor_bdnn.network.chains import Chains
from memristor_bdnn.state import check_array

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class EaPUConfig(LearnerConfig):
    """Options of the EaPU learner; P = paper, D = measured by us."""

    of_two = ("softness",)

    hidden: tuple[int, ...] = option((24,), "units of the hidden layers", low=1, high=10_000, source="D")
    devices_per_weight: int = option(3, "memristors whose currents add up to one weight", low=1, high=16)
    networks: int = option(
        6, "independent networks side by side, whose disagreement joins the read noise", low=1, high=1000, source="D"
    )
    offset_ua: float | None = option(
        None, "sum of a weight's currents that means 0; empty: the middle of the window", low=0.0, unit="uA"
    )
    scale_ua: float | None = option(
        None, "current per unit of weight; empty: the window spans weights from -4.9 to 4.9", low=1e-9, unit="uA"
    )

    learning_rate: float = option(0.02, "Adam step, in units of weight", low=1e-6, high=10.0, source="D")
    reads: int = option(4, "reads of all cells per step", low=1, high=1000, source="D")
    writing_sd_ua: float | None = option(
        None,
        "SD of the writing error; empty: the preset's, then as measured when fit() deploys",
        low=0.0,
        unit="uA",
        source="P",
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
        """Validate every field, and that there is a hidden layer."""
        super().__post_init__()
        if not self.hidden:
            raise ConfigError("EaPUConfig.hidden = (): at least one hidden layer is needed")


class EaPULearner(BaseLearner):
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
    many_classes = True
    checkpoint = "memristor_bdnn.eapu/1"
    growing = ("memory",)
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "adam_first": (-1e12, 1e12),
        "adam_second": (0.0, 1e24),
        "counters": COUNTED,
        "writing_sd_ua": (0.0, 1000.0),
    }
    config: EaPUConfig

    def __init__(self, accelerator: Accelerator, config: EaPUConfig | None = None, seed: int = 0) -> None:
        config = config or EaPUConfig()
        config = replace(config, ex_situ=exsitu.following(config.ex_situ, accelerator.preset))
        super().__init__(accelerator, config, seed)
        cfg = self.config
        low, high = accelerator.preset.usable_ua
        devices = cfg.devices_per_weight
        offset = devices * (low + high) / 2 if cfg.offset_ua is None else cfg.offset_ua
        scale = devices * (high - low) / (2 * 4.91) if cfg.scale_ua is None else cfg.scale_ua
        shapes = layer_shapes(self.n_features, cfg.hidden, self.n_classes, devices)
        self.network = Chains(shapes, offset, scale, cfg.networks)
        accelerator.allocate(self.network.n_cells)
        self.writing_sd_ua = writing_sd_ua(accelerator.preset) if cfg.writing_sd_ua is None else cfg.writing_sd_ua
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

    def _fit(self, x: FloatArray, y: FloatArray, watch: Watch) -> LearnReport:
        """Train ex situ on x (n, n_inputs), y, write-verify the states, and measure the writing error."""
        cfg = self.config
        self._fit_scaler(x)
        result = exsitu.train(
            self.network,
            self.accelerator.preset,
            self._scaled(x),
            softened(y, cfg.softness),
            cfg.ex_situ,
            self.rng,
            on_epoch=watch.of(cfg.ex_situ.epochs),
        )
        written = self.accelerator.write_verify(result.states)
        self.looking.deployed(written)
        self.writing_sd_ua = written.sd_error_ua if cfg.writing_sd_ua is None else cfg.writing_sd_ua
        self._adam = exsitu.Adam(self.network.n_weights, cfg.learning_rate)
        self.memory.clear()
        accuracy = self._accuracy(x, y, cfg.reads)
        return LearnReport(len(result.history), result.loss, accuracy, written.pulses, result.history)

    def _learn(self, x: FloatArray, y: FloatArray, watch: Watch) -> LearnReport:
        """Train in situ on all labels x (n, n_inputs), y, from the present device states."""
        cfg = self.config
        if self.scaler is None:
            self._fit_scaler(x)
        rows, targets, truth = self._scaled(x), softened(y, cfg.softness), decided(y)
        history: list[float] = []
        loss, streak, before = 0.0, 0, self.pulses
        for epoch in range(cfg.max_epochs):
            currents = self.accelerator.read(cfg.reads)
            result = self.network.gradient(rows, targets, self.network.flat_weights(currents))
            loss = result.loss
            history.append(float((decided(result.probability) == truth).mean()))
            streak = streak + 1 if history[-1] >= cfg.stop_accuracy else 0
            if streak < cfg.stop_patience:
                self._update(currents.mean(axis=0), result.gradient[0] / len(x))
            stop = watch(epoch + 1, cfg.max_epochs, loss, history[-1], self.pulses - before)
            if stop or streak >= cfg.stop_patience:
                break
        if cfg.memory_rounds:
            self.memory.append(self.network.flat_weights(self.accelerator.read(cfg.memory_reads)))
        return LearnReport(len(history), loss, history[-1], self.pulses - before, tuple(history))

    def _samples(self, x: FloatArray, samples: int) -> FloatArray:
        """Probabilities from ``samples`` live reads, then from the memory's."""
        flat = self.network.flat_weights(self.accelerator.read(samples))
        if self.memory:
            flat = np.concatenate([flat, *self.memory])
        return self.network.forward_flat(self._scaled(x), flat)

    def _state(self) -> Arrays:
        return {
            "adam_first": self._adam.first,
            "adam_second": self._adam.second,
            "counters": np.array([self._adam.steps, self.iterations, self.updates, self.pulses], np.int64),
            "writing_sd_ua": np.array(self.writing_sd_ua),
            "memory": np.array(list(self.memory), np.float32),
        }

    def _check(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        memory, net = arrays["memory"], self.network
        if memory.size or memory.shape != (0,):
            kept = min(len(memory) if memory.ndim else 0, self.config.memory_rounds)
            largest = (net.devices * 1000.0 + abs(net.offset)) / net.scale  # no cell carries a milliampere
            shape = (kept, self.config.memory_reads, net.n_weights)
            check_array("memory", memory, shape=shape, low=-largest, high=largest)

    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._adam.first, self._adam.second = arrays["adam_first"], arrays["adam_second"]
        self._adam.steps, self.iterations, self.updates, self.pulses = (int(v) for v in arrays["counters"])
        self.writing_sd_ua = float(arrays["writing_sd_ua"])
        self.memory.clear()
        self.memory.extend(arrays["memory"])

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
        low, high = self.accelerator.preset.usable_ua
        target[cells] = np.clip(target[cells] + change * self.network.scale, low, high)
        mask = np.zeros(target.size, dtype=bool)
        mask[cells] = True
        written = self.accelerator.write_verify(target, mask)
        self.looking.updated(written)
        self.pulses += written.pulses

    def _device_with_room(self, current_ua: FloatArray, weights: FloatArray, change: FloatArray) -> FloatArray:
        """Of each weight (k,) the cell farthest from the edge that the change goes towards, as cell numbers (k,)."""
        of_weight = current_ua.reshape(-1, self.network.devices)[weights]
        rising = change[:, None] > 0
        device = np.where(rising, of_weight, -of_weight).argmin(axis=1)
        return weights * self.network.devices + device
