"""In situ training on the devices: read, vote on marks, pulse, repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.learners.msgld.config import MSGLDConfig
from memristor_bdnn.learners.msgld.update import GradientScale, choose_pulses, mark
from memristor_bdnn.learners.protocol import LearnReport
from memristor_bdnn.network import exsitu
from memristor_bdnn.network.chains import Chains

FloatArray = npt.NDArray[np.floating[Any]]
OnEpoch = Callable[[int, float, float, int], bool]


class InSituTrainer:
    """The mSGLD loop on one network and one accelerator, for any number of classes.

    Args:
        network: layout, offset and scale; its cells are allocated on the accelerator.
        accelerator: where they live.
        config: which parts of the method are on.
        rng: chooses the device of a marked weight.

    Attributes:
        epochs_done: epochs since the marks were last restarted (decides the marked fraction).
        on_sample: called with flat weights (n_weights,) of one read whenever a sample is to be kept.
        anchor: centre of the weights' prior, (n_weights,); None for zero.
    """

    def __init__(
        self,
        network: Chains,
        accelerator: Accelerator,
        config: MSGLDConfig,
        rng: np.random.Generator,
        on_sample: Callable[[FloatArray], None] | None = None,
    ) -> None:
        self.network, self.accelerator, self.config, self.rng = network, accelerator, config, rng
        self.scale = GradientScale(network.n_weights, config.rms_decay)
        self.epochs_done = 0
        self.on_sample = on_sample
        self.anchor: FloatArray | None = None

    def reset(self) -> None:
        """Forget gradient averages and start the marks afresh, as after a deployment."""
        self.scale.reset()
        self.epochs_done = 0

    def run(
        self,
        rows: FloatArray,
        targets: FloatArray,
        hits: Callable[[FloatArray], float],
        weight: FloatArray | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> LearnReport:
        """Train on scaled rows (n, d) until accurate enough, out of epochs, or told to stop.

        Args:
            rows: scaled inputs.
            targets: probability of class 1 (n,), or of every class (n, classes).
            hits: training accuracy from class probabilities averaged over the reads: (n,) or (n, classes).
            weight: of every row, (n,).
            on_epoch: called with (epoch, loss, accuracy, pulses so far); True stops.
        """
        cfg = self.config
        kl = exsitu.gaussian_kl(self.network, cfg.kl_layers, cfg.prior_sd, cfg.beta, self.anchor)
        history: list[float] = []
        loss, streak, pulses = 0.0, 0, 0
        for epoch in range(cfg.max_epochs):
            flat = self.network.flat_weights(self.accelerator.read(cfg.reads))
            result = self.network.gradient(rows, targets, flat, cfg.evaluations, weight)
            gradient, loss = result.gradient, result.loss
            history.append(hits(result.probability))
            streak = streak + 1 if history[-1] >= cfg.stop_accuracy else 0
            finished = streak >= cfg.stop_patience
            if kl is not None:
                told = on_epoch is not None or finished or epoch == cfg.max_epochs - 1
                penalty, kl_gradient = kl(flat, told)
                gradient, loss = gradient + kl_gradient, loss + penalty
            if not finished:
                pulses += self._update(gradient)
            self.epochs_done += 1
            kept = epoch - cfg.memory_skip
            if self.on_sample is not None and kept >= 0 and kept % cfg.memory_every == 0:
                self.on_sample(flat[0].copy())
            if (on_epoch is not None and on_epoch(epoch, loss, history[-1], pulses)) or finished:
                break
        return LearnReport(len(history), loss, history[-1], pulses, tuple(history))

    def _update(self, gradient: FloatArray) -> int:
        """One step on the devices from gradients (evaluations, n_weights); returns the pulses given."""
        cfg = self.config
        size = np.ones(self.network.n_weights)
        fraction = cfg.mark_fraction * cfg.mark_decay ** (self.epochs_done // cfg.mark_decay_every)
        if cfg.update == "sign":
            mean, marked = self.scale.marked(gradient, fraction, cfg.mark_votes)
        elif cfg.update == "sgd":
            mean, marked = gradient.mean(axis=0), np.ones(self.network.n_weights, dtype=bool)
            size = cfg.sgd_rate * np.abs(mean)
        else:
            mean = gradient.mean(axis=0)
            scaled = self.scale.apply(gradient, mean)
            marked = mark(scaled, fraction, cfg.mark_votes)
            if marked.any():
                size = np.abs(scaled.mean(axis=0))
                size /= max(float(np.median(size[marked])), 1e-12)
        given = 0
        devices = self.network.devices
        for pulse in choose_pulses(-np.sign(mean), marked, size, devices, cfg.max_pulses, self.rng):
            self.accelerator.pulse(pulse)
            given += int(np.count_nonzero(pulse))
        return given
