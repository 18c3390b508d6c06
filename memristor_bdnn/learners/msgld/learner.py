"""mSGLD: in situ Bayesian learning whose randomness is the devices' own noise (the source paper's method)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.base import COUNTED, ROWS_AT_ONCE, SHORTLIST, SURE, Arrays, BaseLearner, Value, Watch
from memristor_bdnn.learners.checks import check_inputs
from memristor_bdnn.learners.msgld.boundary import boundary, nearest_share
from memristor_bdnn.learners.msgld.config import MSGLDConfig
from memristor_bdnn.learners.msgld.insitu import InSituTrainer
from memristor_bdnn.learners.protocol import LearnReport, Prediction
from memristor_bdnn.network import exsitu
from memristor_bdnn.network.bayesian import decided, layer_shapes
from memristor_bdnn.network.chains import Chains
from memristor_bdnn.state import check_array

FloatArray = npt.NDArray[np.floating[Any]]
IndexArray = npt.NDArray[np.intp]
ANCHOR_READS = 16
FIRST_LOOK = 4
"""Chains from which on two samples are enough for a first look at candidates of whom a few are asked for."""


class MSGLD(BaseLearner):
    """Memristor stochastic-gradient Langevin dynamics: marked weights get single pulses, reads are samples.

    Args:
        accelerator: any accelerator; the network's cells are allocated on it here.
        config: options; default the published ones.
        seed: of the learner's own draws (marks' devices, ex situ start).

    Raises:
        CapacityError: the network does not fit on the accelerator.
    """

    config_type = MSGLDConfig
    name = "msgld"
    many_classes = True
    checkpoint = "memristor_bdnn.msgld/2"
    optional = ("anchor", "reference", "fitted")
    growing = ("replay_x", "replay_y", "memory", "reference")
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "counters": COUNTED,
        "odds": (1e-4, 1e4),
        "gradient_mean": (-1e12, 1e12),
        "gradient_square": (0.0, 1e24),
        "gradient_steps": COUNTED,
        "replay_y": (0.0, 1.0),
        "fitted": COUNTED,
    }
    config: MSGLDConfig

    def __init__(self, accelerator: Accelerator, config: MSGLDConfig | None = None, seed: int = 0) -> None:
        config = (config or MSGLDConfig()).following(accelerator.preset)
        super().__init__(accelerator, config, seed)
        assert config.offset_ua is not None and config.scale_ua is not None
        self._offset_ua, self._scale_ua = config.offset_ua, config.scale_ua
        shapes = layer_shapes(self.n_features, config.hidden, self.n_classes, config.devices_per_weight)
        self.network = Chains(shapes, self._offset_ua, self._scale_ua, self.config.chains)
        accelerator.allocate(self.network.n_cells)
        self.memory: deque[FloatArray] = deque(maxlen=self.config.memory_samples)
        self.trainer = InSituTrainer(self.network, accelerator, self.config, self.rng, self._remember)
        self._samples_kept = 0
        self._forget()
        self._labels_learned = 0
        self._deployment_odds = self._label_odds = 1.0
        self._replay: tuple[FloatArray, FloatArray] = (
            np.zeros((0, self.n_inputs)),
            np.zeros((0, *self._label)),
        )
        self._fitted = 0
        self._reference = np.zeros((0, self.n_inputs))

    @property
    def _label(self) -> tuple[int, ...]:
        """Shape of the checked label of one row."""
        return () if self.n_classes == 2 else (self.n_classes,)

    def consider(self, x: FloatArray) -> None:
        """Take notice of unlabelled candidates (n, n_inputs), a fair sample of those that will be decided about.

        The last ``reference_rows`` of them are kept, of many at once as many evenly spaced; without that option
        nothing happens.

        Raises:
            ConfigError: wrong width or NaN.
        """
        x, room = check_inputs(x, self.n_inputs, rows=0), self.config.reference_rows
        if room is not None and len(x):
            some = x[np.linspace(0, len(x) - 1, min(len(x), room)).astype(int)]
            self._reference = np.concatenate([self._reference, some])[-room:]

    def _fit(self, x: FloatArray, y: FloatArray, watch: Watch) -> LearnReport:
        """Train ex situ from scratch on x (n, n_inputs) and labels y, then write-verify the states."""
        cfg = self.config
        self._fit_scaler(x)
        self._forget()
        self._set_deployment_odds(y)
        self._set_label_odds(y)
        self.network.offset = self._offset_ua
        result = exsitu.train(
            self.network,
            self.accelerator.preset,
            self._scaled(x),
            self._targets(y),
            cfg.ex_situ,
            self.rng,
            kl=exsitu.gaussian_kl(self.network, cfg.kl_layers, cfg.prior_sd, cfg.beta),
            on_epoch=watch.of(cfg.ex_situ.epochs),
        )
        written = self.accelerator.write_verify(result.states)
        self.looking.deployed(written)
        self.network.offset = self._offset_ua
        if cfg.calibrate_offset:
            self.network.offset += cfg.devices_per_weight * written.mean_error_ua
        self.trainer.reset()
        if cfg.prior_mean == "deployed":
            self.trainer.anchor = self.network.flat_weights(self.accelerator.read(ANCHOR_READS)).mean(axis=0)
        self.memory.clear()
        self._forget()
        self._labels_learned = 0
        self._fitted = len(x)
        keep = self.rng.permutation(len(x))[: cfg.replay_rows]
        self._replay = (x[keep].copy(), y[keep].copy())
        accuracy = self._accuracy(x, y, cfg.reads)
        return LearnReport(len(result.history), result.loss, accuracy, written.pulses, result.history)

    def _learn(self, x: FloatArray, y: FloatArray, watch: Watch) -> LearnReport:
        """Train in situ on all labels x (n, n_inputs), y, from the present device states."""
        cfg = self.config
        if cfg.refit_growth is not None and 0 < self._fitted * cfg.refit_growth <= len(x):
            self._fit(x, y, watch)
        if self.scaler is None:
            self._fit_scaler(x)
            self._set_label_odds(y)
            self._forget()
        if cfg.restart_marks and len(x) != self._labels_learned:
            self.trainer.epochs_done = 0
        self._labels_learned = len(x)
        rows, targets, weight = self.training_rows(x, y)
        truth = decided(y)

        def hits(probability: FloatArray) -> float:
            return float((decided(self._carried(probability[: len(truth)])) == truth).mean())

        report = self.trainer.run(rows, targets, hits, weight, watch.of(cfg.max_epochs))
        self._set_boundary(x, y)
        return report

    def _samples(self, x: FloatArray, samples: int) -> FloatArray:
        """Probabilities from ``samples`` live reads, then from the memory's."""
        x = self._same(x)
        flat = self.network.flat_weights(self.accelerator.read(samples))
        p = self.network.forward_flat(self._scaled(x), flat)
        if self.memory:
            p = np.concatenate([p, self._remembered(x)])
        return self._carried(p)

    def shortlist(
        self, x: FloatArray, samples: int, value: Value, keep: int = SHORTLIST
    ) -> tuple[IndexArray, Prediction]:
        """See :meth:`BaseLearner.shortlist`.

        The first look is by a mirrored pair (antithetic variates: Hammersley and Morton 1956): one posterior sample of
        the weights and its image on the other side of the samples' mean. It sees how much chains disagree, and so
        takes some; a network alone is asked in full. A second look is by all samples.
        """
        if len(x) < 2 * keep or self.network.count < FIRST_LOOK:
            return super().shortlist(x, samples, value, keep)
        self._check_asked(samples)
        x = self._same(x if np.array_equal(x, self._seen[0]) else check_inputs(x, self.n_inputs))
        live = self.network.flat_weights(self.accelerator.read(samples))
        flat, rows = np.concatenate([live, *(m[None] for m in self.memory)]), self._scaled(x)
        pair = np.stack([flat[0], 2 * flat.mean(axis=0) - flat[0]])
        scores = np.empty(len(x))
        for start in range(0, len(x), ROWS_AT_ONCE):
            part = np.arange(start, min(start + ROWS_AT_ONCE, len(x)))
            scores[part] = value(self._look(rows[start : part[-1] + 1], pair), part)
        best = _highest(scores, keep)
        if keep > SURE:
            best = best[_highest(value(self._look(rows[best], flat), best), SURE)]
        return best, Prediction.of(self._carried(self.network.forward_flat(rows[best], flat)))

    def _look(self, rows: FloatArray, flat: FloatArray) -> Prediction:
        """Of scaled rows from flat weights of some samples, to some 1e-6; carried as :meth:`_carried` does."""
        odds = self._deployment_odds * self._label_odds
        carried = flat if self.n_classes > 2 or odds == 1.0 else self.network.moved(flat, math.log(odds))
        return Prediction.of(self.network.look_flat(rows, carried))

    def _state(self) -> Arrays:
        arrays: Arrays = {
            "counters": np.array([self.trainer.epochs_done, self._labels_learned], dtype=np.int64),
            "odds": np.array([self._deployment_odds, self._label_odds]),
            "offset": np.array(self.network.offset),
            "gradient_mean": self.trainer.scale.mean,
            "gradient_square": self.trainer.scale.square,
            "gradient_steps": np.array(self.trainer.scale.steps),
            "replay_x": self._replay[0],
            "replay_y": self._replay[1],
            "memory": np.array(list(self.memory), dtype=np.float32),
        }
        if self.trainer.anchor is not None:
            arrays["anchor"] = self.trainer.anchor
        if self.config.refit_growth is not None:
            arrays["fitted"] = np.array(self._fitted, dtype=np.int64)
        if self.config.reference_rows is not None:
            arrays["reference"] = self._reference
        return arrays

    def _check(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        cfg, weights = self.config, self.network.n_weights
        # No cell carries a milliampere: what sums of currents and weights can be follows.
        most = cfg.devices_per_weight * 1000.0
        check_array("offset", arrays["offset"], low=self._offset_ua - most, high=self._offset_ua + most)
        if not cfg.calibrate_offset and float(arrays["offset"]) != self._offset_ua:
            raise ConfigError(
                f"offset = {float(arrays['offset'])}, expected offset_ua = {self._offset_ua}: not calibrated"
            )
        largest = (most + abs(float(arrays["offset"]))) / self._scale_ua
        memory = arrays["memory"]
        if memory.size or memory.shape != (0,):
            kept = min(len(memory) if memory.ndim else 0, cfg.memory_samples)
            check_array("memory", memory, shape=(kept, weights), low=-largest, high=largest)
        if "anchor" in arrays:
            check_array("anchor", arrays["anchor"], shape=(weights,), low=-largest, high=largest)
        if "anchor" in arrays and cfg.prior_mean != "deployed":
            raise ConfigError(f"anchor is there, but prior_mean = {cfg.prior_mean!r} has none")
        replay_x, replay_y = arrays["replay_x"], arrays["replay_y"]
        check_array("replay_x", replay_x, shape=(min(len(np.atleast_1d(replay_x)), cfg.replay_rows), self.n_inputs))
        check_array("replay_y", replay_y, shape=(min(len(np.atleast_1d(replay_y)), cfg.replay_rows), *self._label))
        seen = arrays.get("reference", np.zeros((0, self.n_inputs)))
        check_array("reference", seen, shape=(min(len(np.atleast_1d(seen)), cfg.reference_rows or 0), self.n_inputs))
        if len(replay_x) != len(replay_y):
            raise ConfigError(f"replay_x has {len(replay_x)} rows, replay_y {len(replay_y)}: expected as many")

    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.trainer.epochs_done, self._labels_learned = (int(v) for v in arrays["counters"])
        self._deployment_odds, self._label_odds = (float(v) for v in arrays["odds"])
        self.network.offset = float(arrays["offset"])
        self.trainer.scale.mean = arrays["gradient_mean"]
        self.trainer.scale.square = arrays["gradient_square"]
        self.trainer.scale.steps = int(arrays["gradient_steps"])
        self.trainer.anchor = arrays.get("anchor")
        self._replay = (arrays["replay_x"], arrays["replay_y"])
        self._fitted = int(arrays.get("fitted", 0))
        self._reference = arrays.get("reference", np.zeros((0, self.n_inputs)))
        self.memory.clear()
        self.memory.extend(arrays["memory"])
        self._samples_kept = len(self.memory)
        self._forget()

    def _forget(self) -> None:
        """Drop what is kept for repeated questions about the same candidates."""
        empty = np.zeros((0, 0), np.float32)
        self._seen: tuple[FloatArray, FloatArray, FloatArray, int] = (empty, empty, empty, 0)
        self._seen_before: tuple[FloatArray, FloatArray] = (empty, empty)

    def _remember(self, flat: FloatArray) -> None:
        """Keep one posterior sample of the trajectory, the oldest making room."""
        if self.memory.maxlen:
            self.memory.append(flat)
            self._samples_kept += 1

    def _remembered(self, x: FloatArray) -> FloatArray:
        """Predictions of the kept samples, as :meth:`_samples`; those made before for the same x are not made again."""
        first = self._samples_kept - len(self.memory)
        seen_x, _, seen, last = self._seen
        known = max(last - first, 0) if x is seen_x else 0
        old = seen[len(seen) - known * self.network.count :]  # every sample speaks once for each chain
        if known < len(self.memory):
            new = self.network.forward_flat(self._scaled(x), np.stack(list(self.memory)[known:]))
            old = np.concatenate([old, new]) if known else new
        self._seen = (x, self._seen[1], old, self._samples_kept)
        return old

    def _scaled(self, x: FloatArray) -> FloatArray:
        """Standardised features of x; those of the candidates asked about last time are kept."""
        return self._seen[1] if x is self._seen[0] else super()._scaled(x)

    def _same(self, x: FloatArray) -> FloatArray:
        """The kept copy of x if it is one of the two sets of candidates asked about last, else a new copy.

        Two: who asks about a pool is often tested on other rows in between.
        """
        if np.array_equal(x, self._seen[0]):
            return self._seen[0]
        before, self._seen_before = self._seen_before, self._seen[:2]
        known = np.array_equal(x, before[0])
        x = before[0] if known else x.copy()
        scaled = before[1] if known else super()._scaled(x)
        self._seen = (x, scaled, np.zeros((0, len(x)), np.float32), 0)
        return x

    def _set_deployment_odds(self, y: FloatArray) -> None:
        """Odds ratio from the labels' share of successes to the deployment's, if one was given."""
        share = self.config.deployment_share
        self._deployment_odds = 1.0 if share == 0.0 or y.ndim == 2 else _odds(share) / _odds(float((y > 0.5).mean()))

    def _set_label_odds(self, y: FloatArray) -> None:
        """Odds ratio from the mean of the first labels' targets to their share of successes; 1 when bits are learned.

        Nearly good trials are common and nearly bad ones rare, so soft targets average to more than the share of
        successes; uncorrected, the decision boundary would lie below a score of 0. Later labels may have been asked
        for and are no fair sample.
        """
        if y.ndim == 2:
            return
        self._label_odds = _odds(float((y > 0.5).mean())) / _odds(float(self._targets(y).mean()))

    def _set_boundary(self, x: FloatArray, y: FloatArray) -> None:
        """Odds that put the decision where the share of successes among the candidates says; see ``boundary``."""
        if not len(self._reference):
            return
        rows = super()._scaled(self._reference)
        share = nearest_share(rows, super()._scaled(x), y > 0.5)
        flat = self.network.flat_weights(self.accelerator.read(self.config.reads))
        p = self.network.forward_flat(rows, np.concatenate([flat, *(m[None] for m in self.memory)]))
        line = boundary(p.mean(axis=0), min(max(share, 0.02), 0.98))
        self._label_odds = (1.0 - line) / line

    def _carried(self, p: FloatArray) -> FloatArray:
        """Outputs of the network as probabilities of success."""
        odds = self._deployment_odds * self._label_odds
        if odds == 1.0:
            return p
        carried, rest = p * odds, 1.0 - p
        rest += carried
        carried /= rest
        return carried

    def _targets(self, y: FloatArray) -> FloatArray:
        """Probability that a repeat of each trial would succeed: its score plus logistic noise above 0.

        Class probabilities (n, classes) are learned as they were given.
        """
        if y.ndim == 2:
            return y
        scale = self.config.label_noise
        return (y > 0.5).astype(np.float64) if scale == 0.0 else 1.0 / (1.0 + np.exp((1.0 - 2.0 * y) / scale))

    def training_rows(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Scaled rows, targets and row weights, replayed rows last."""
        old_x, old_y = self._replay
        if not len(old_x):
            return self._scaled(x), self._targets(y), None
        weight = np.concatenate([np.ones(len(x)), np.full(len(old_x), self.config.replay_weight)])
        return (
            self._scaled(np.concatenate([x, old_x])),
            self._targets(np.concatenate([y, old_y])),
            weight,
        )


def _highest(scores: FloatArray, count: int) -> IndexArray:
    """Numbers (count,), rising, of the highest scores (n,)."""
    return np.sort(np.argpartition(scores, len(scores) - count)[len(scores) - count :])


def _odds(share: float) -> float:
    """Odds of a share; shares of few labels are kept away from 0 and 1."""
    share = min(max(share, 0.05), 0.95)
    return share / (1.0 - share)
