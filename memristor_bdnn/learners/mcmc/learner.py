"""MCMC for the skill: Metropolis-Hastings whose proposals are the devices' own programming spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.config import option
from memristor_bdnn.errors import CapacityError, ConfigError, UnsupportedError
from memristor_bdnn.learners.base import COUNTED, Arrays, BaseLearner, LearnerConfig, Watch, softened
from memristor_bdnn.learners.mcmc import diagnostics
from memristor_bdnn.learners.mcmc.models import Logistic, Model, Network, chosen, log_likelihood, sigmoid
from memristor_bdnn.learners.protocol import LearnReport
from memristor_bdnn.network.bayesian import decided, softmax
from memristor_bdnn.network.window import proposal_sd_ua
from memristor_bdnn.state import check_array

FloatArray = npt.NDArray[np.floating[Any]]
SHARE_REACHED = 0.2
"""Share of the window that blind writes must reach for ``auto`` to take them."""
SHARES_DRAWN = (0.5, 2.5)
"""Their SD over that of a proposal drawn by the host, for the same: a chain of smaller proposals moves too slowly,
larger ones are hardly ever accepted."""


@dataclass(frozen=True)
class MCMCConfig(LearnerConfig):
    """Options of the MCMC learner; P = paper, D = measured by us."""

    of_two = ("softness",)

    expansion: str = option(
        "squares", "what the model sees of its inputs besides a constant 1", choices=("linear", "squares"), source="D"
    )
    model: str = option("logistic", "model that a row holds", choices=("logistic", "network"), source="P")
    hidden: tuple[int, ...] = option(
        (9,), "units of the hidden layers of the network model", low=1, high=1000, source="P"
    )
    rows: int = option(96, "rows that hold posterior samples", low=2, high=65536, source="P")
    spare_rows: int = option(
        8, "rows that receive proposals in turn; 1 is the published order of work", low=1, high=1024, source="D"
    )
    rows_per_round: int = option(
        32, "rows that one call of learn replaces by samples of the new posterior", low=1, high=65536, source="D"
    )
    burn_in: int = option(64, "rows accepted and overwritten again by fit before those that count", low=0, high=65536)
    weight_span: float = option(
        2.0,
        "weight when one device of a pair is at the top of the window and the other at the bottom",
        low=1e-3,
        high=1e3,
        source="D",
    )
    prior_sd: float = option(1.0, "SD of the Gaussian prior on a weight", low=1e-3, high=1e3, source="D")
    max_proposals: int = option(4000, "proposals in one call of fit or learn", low=1, high=10_000_000, source="D")
    softness: float = option(
        0.0, "0 learns bits (y > 0.5), 1 the given probabilities, linear between", low=0.0, high=1.0, source="D"
    )
    writing: str = option(
        "auto",
        "blind: the device's spread makes the proposal (published); verified: the host draws it and write-verify "
        "programs it, for hardware without blind writes; auto: blind where the accelerator can and its spread and "
        "reach suit the window",
        choices=("auto", "blind", "verified"),
    )
    proposal_sd_ua: float | None = option(
        None,
        "SD of a proposal drawn by the host, per device; empty: from the preset's window (0.2 on the published one)",
        low=0.0,
        unit="uA",
    )

    def __post_init__(self) -> None:
        """Validate; one hidden layer may be given as a number."""
        if isinstance(self.hidden, int) and not isinstance(self.hidden, bool):
            object.__setattr__(self, "hidden", (self.hidden,))
        super().__post_init__()
        if not self.hidden:
            raise ConfigError("MCMCConfig.hidden = (): at least one hidden layer is needed")


class MCMCLearner(BaseLearner):
    """Metropolis-Hastings on rows of memristors: each row a model, its spread the proposal, its counter the weight.

    Args:
        accelerator: rows are allocated on it here, one after the other.
        config: options.
        seed: of the acceptance test and of the choice of rows for a prediction.

    Raises:
        CapacityError: the rows do not fit; the text says how many would.
    """

    config_type = MCMCConfig
    name = "mcmc"
    many_classes = True
    checkpoint = "memristor_bdnn.mcmc/1"
    optional = ("burnt_in",)
    growing = ("order", "spare")
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "row_counters": COUNTED,
        "totals": COUNTED,
        "burnt_in": (-65536, COUNTED[1]),
        "current_ua": (0.0, 1000.0),
        "square_mean": (0.0, 1e5),
    }
    config: MCMCConfig

    def __init__(self, accelerator: Accelerator, config: MCMCConfig | None = None, seed: int = 0) -> None:
        preset, config = accelerator.preset, config or MCMCConfig()
        drawn = proposal_sd_ua(preset) if config.proposal_sd_ua is None else config.proposal_sd_ua
        super().__init__(accelerator, replace(config, proposal_sd_ua=drawn), seed)
        cfg = self.config
        self._proposal_sd_ua = drawn
        width = (2 * self.n_features if cfg.expansion == "squares" else self.n_features) + 1
        self.verified = cfg.writing == "verified" or (cfg.writing == "auto" and not self._blind_suits())
        low, high = self._low_ua, self._high_ua = self._reached()
        scale = cfg.weight_span / (high - low)
        classes = cfg.n_classes
        self.model: Model = Logistic(scale, classes) if cfg.model == "logistic" else Network(cfg.hidden, scale, classes)
        self.pairs = self.model.parameters(width)
        self._allocate(cfg.rows + cfg.spare_rows)
        self.square_mean: FloatArray = np.zeros(self.n_features)
        self.spare = list(range(cfg.spare_rows))
        self.order: list[int] = []
        """Rows that hold samples, oldest first; the last is where the chain is."""
        self.counters: npt.NDArray[np.int64] = np.zeros(cfg.rows + cfg.spare_rows, np.int64)
        self.proposals = self.accepted = 0
        self._burnt_in = 0
        """Rows accepted since the burn-in ended; below 0 until then."""
        self._current_ua: FloatArray = np.zeros(2 * self.pairs)

    def _allocate(self, rows: int) -> None:
        needed = rows * 2 * self.pairs
        if needed > self.accelerator.capacity:
            fits = self.accelerator.capacity // (2 * self.pairs) - self.config.spare_rows
            raise CapacityError(
                f"{rows} rows of {2 * self.pairs} devices need {needed} cells, the accelerator has "
                f"{self.accelerator.capacity}: {needed - self.accelerator.capacity} missing; use rows = {max(fits, 0)}"
            )
        self.accelerator.allocate(needed)

    def _blind_suits(self) -> bool:
        """Whether blind writes reach most states and scatter enough to propose by."""
        (low, high), preset = self.accelerator.preset.usable_ua, self.accelerator.preset
        reached = min(high, preset.blind_write.target_ua[1]) - max(low, preset.blind_write.target_ua[0])
        middle = (
            (low + high) / 2 if reached <= 0 else float(np.mean(np.clip((low, high), *preset.blind_write.target_ua)))
        )
        spread = float(np.hypot(preset.blind_sd_ua(middle), preset.blind_write.device_spread * middle))
        least, most = SHARES_DRAWN
        wide = reached >= SHARE_REACHED * (high - low) and spread <= most * self._proposal_sd_ua * reached / (
            high - low
        )
        return wide and spread >= least * self._proposal_sd_ua

    def _reached(self) -> tuple[float, float]:
        """States that rows are written to, uA: of the window what the way of writing reaches."""
        preset = self.accelerator.preset
        (low, high), target = preset.usable_ua, preset.blind_write.target_ua
        if self.verified:
            return low, high
        if min(high, target[1]) <= max(low, target[0]):
            raise ConfigError(
                f"writing = {self.config.writing!r}: blind_write.target_ua = {list(target)} uA of preset {preset.name} "
                f"has nothing in common with its window {low:g} to {high:g} uA; use writing = verified"
            )
        return max(low, target[0]), min(high, target[1])

    def _fit(self, x: FloatArray, y: FloatArray, watch: Watch) -> LearnReport:
        """Start a new chain on x (n, n_inputs), y (n,): burn in, then fill every row."""
        self._fit_inputs(x)
        cfg = self.config
        self.counters[:] = 0
        self.order, self.spare = [], list(range(cfg.rows + cfg.spare_rows))
        before = self._pulses()
        middle = float(np.mean((self._low_ua, self._high_ua)))
        first = self.spare.pop(0)
        self._write([first], np.full(2 * self.pairs, middle))
        self._current_ua = self._read(first)
        self.looking.landed(self._current_ua, middle, self._high_ua - self._low_ua)
        self.order.append(first)
        self.counters[first] = 1
        self._burnt_in = -cfg.burn_in
        return self._walk(x, y, cfg.burn_in + cfg.rows, before, watch, cfg.burn_in)

    def _learn(self, x: FloatArray, y: FloatArray, watch: Watch) -> LearnReport:
        """Go on with the chain under all labels x (n, n_inputs), y (n,), replacing the oldest rows."""
        if not self.order:
            return self._fit(x, y, watch)
        return self._walk(x, y, self.config.rows_per_round, self._pulses(), watch)

    def _samples(self, x: FloatArray, samples: int) -> FloatArray:
        """Probabilities from ``samples`` rows, drawn in proportion to C_n."""
        inputs = self._inputs(x)
        weights = np.cumsum(self.counters[self.order]).astype(np.float64)
        points = (np.arange(samples) + self.rng.random()) / samples * weights[-1]
        rows = np.asarray(self.order)[np.minimum(np.searchsorted(weights, points), len(weights) - 1)]
        currents = np.stack([self._read(int(row)) for row in rows])
        logits = self.model.logits(inputs, self._parameters(currents).astype(np.float32))
        return sigmoid(logits) if self.n_classes == 2 else softmax(logits)

    def _ready(self) -> bool:
        return bool(self.order)

    def _state(self) -> Arrays:
        return {
            "order": np.array(self.order, np.int64),
            "spare": np.array(self.spare, np.int64),
            "row_counters": self.counters,
            "totals": np.array([self.proposals, self.accepted, int(self.verified)], np.int64),
            "current_ua": self._current_ua,
            "square_mean": self.square_mean,
            "burnt_in": np.array(self._burnt_in, np.int64),
        }

    def _check(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        cfg, order, spare = self.config, arrays["order"], arrays["spare"]
        rows = cfg.rows + cfg.spare_rows
        for name, value in (("order", order), ("spare", spare)):
            if value.dtype == np.float64 and not value.size:
                value = value.astype(np.int64)
            check_array(name, value, kinds="i", shape=(value.size,), low=0, high=rows - 1)
        if "scaler_mean" not in arrays:
            if order.size or arrays["row_counters"].any():
                raise ConfigError(f"order has {order.size} rows and row_counters counts some, but nothing was learned")
            return
        if not 0 < order.size <= cfg.rows:
            raise ConfigError(f"order has {order.size} rows, expected 1 to {cfg.rows}")
        if not np.array_equal(np.sort(np.concatenate([order, spare])), np.arange(rows)):
            raise ConfigError(f"order and spare do not name each of the {rows} rows once")
        used = np.flatnonzero(arrays["row_counters"])
        if not np.array_equal(used, np.sort(order)):
            raise ConfigError("row_counters does not count the rows of order, and no others")
        proposals, accepted, verified = (int(v) for v in arrays["totals"])
        if verified not in (0, 1) or accepted > proposals:
            raise ConfigError(
                f"totals = {[proposals, accepted, verified]}: no more accepted than proposed, then 0 or 1"
            )

    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.order, self.spare = arrays["order"].tolist(), arrays["spare"].tolist()
        self.counters = arrays["row_counters"]
        self.proposals, self.accepted, verified = (int(v) for v in arrays["totals"])
        self.verified = bool(verified)
        self._current_ua, self.square_mean = arrays["current_ua"], arrays["square_mean"]
        # A file of before does not say it: rows that are all in use were overwritten at least once in its burn-in.
        usual = self.accepted - self.config.burn_in if len(self.order) < self.config.rows else len(self.order)
        self._burnt_in = int(arrays.get("burnt_in", usual))

    def _walk(
        self,
        x: FloatArray,
        y: FloatArray,
        wanted: int,
        pulses_before: int,
        watch: Watch,
        burn_in: int = 0,
    ) -> LearnReport:
        """Accept ``wanted`` rows, or as many as the proposals allow; an epoch is one writing of the spare rows.

        The first ``burn_in`` of them are not yet samples of the posterior.
        """
        cfg = self.config
        inputs, truth = self._inputs(x), decided(y)
        targets = softened(y, cfg.softness)
        present, logits = self._log_posterior(inputs, targets, self._current_ua)
        history: list[float] = []
        trace: list[float] = []
        accepted = proposals = 0
        stopped = False
        while accepted < wanted and proposals < cfg.max_proposals:
            aimed = self._current_ua
            self._write(self.spare[: cfg.spare_rows], aimed)
            for row in self.spare[: cfg.spare_rows]:
                proposals += 1
                currents = self._read(row)
                self.looking.pairs(aimed, currents)
                value, proposed = self._log_posterior(inputs, targets, currents)
                if np.log(self.rng.random()) < value - present:
                    self._move(row, currents)
                    present, logits = value, proposed
                    accepted += 1
                else:
                    self.counters[self.order[-1]] += 1
                if accepted >= burn_in:
                    trace.append(present)
                if self.order[-1] == row:
                    break
            history.append(float((chosen(logits) == truth).mean()))
            stopped = watch(accepted, wanted, -present, history[-1], self._pulses() - pulses_before)
            if stopped:
                break
        self.looking.related()
        self.proposals += proposals
        self.accepted += accepted
        self._burnt_in += accepted
        rows = min(max(self._burnt_in, 0), len(self.order))
        found = diagnostics.figures(accepted, proposals, rows, self.counters[self.order], np.array(trace))
        if not stopped and (said := diagnostics.stuck(found, wanted, burn_in)):
            self.looking.say("chain", said)
        pulses, accuracy = self._pulses() - pulses_before, self._accuracy(x, y)
        return LearnReport(len(history), -present, accuracy, pulses, tuple(history), diagnostics=found)

    def _move(self, row: int, currents: FloatArray) -> None:
        """The chain moves to a spare row; the oldest sample's row becomes spare once all rows are in use."""
        self.spare.remove(row)
        self.order.append(row)
        self.counters[row] = 1
        self._current_ua = currents
        if len(self.order) > self.config.rows:
            oldest = self.order.pop(0)
            self.counters[oldest] = 0
            self.spare.append(oldest)

    def _log_posterior(self, inputs: FloatArray, targets: FloatArray, currents: FloatArray) -> tuple[float, Any]:
        """Log prior plus log likelihood of one row's currents, and its logits (n,) or (n, classes)."""
        g = self._parameters(currents[None])
        z = self.model.logits(inputs, g)[0]
        likelihood = log_likelihood(z, targets)
        weights = self.model.scale * g[0]
        return float(likelihood - 0.5 * (weights @ weights) / self.config.prior_sd**2), z

    @staticmethod
    def _parameters(currents: FloatArray) -> FloatArray:
        """Differences of the pairs of rows (r, 2 p); shape (r, p), microampere."""
        return currents[:, 0::2] - currents[:, 1::2]

    def _read(self, row: int) -> FloatArray:
        width = 2 * self.pairs
        read = self.accelerator.read(1, slice(row * width, (row + 1) * width))
        return read[0].astype(np.float64)

    def _write(self, rows: list[int], around_ua: FloatArray) -> None:
        """Draw rows around currents (2 p,): blindly by the device's spread, or by the host with verification."""
        width = 2 * self.pairs
        target = np.zeros(self.accelerator.n_cells)
        mask = np.zeros(self.accelerator.n_cells, dtype=bool)
        for row in rows:
            target[row * width : (row + 1) * width] = around_ua
            mask[row * width : (row + 1) * width] = True
        if not self.verified:
            try:
                self.accelerator.program(target, mask)
                return
            except UnsupportedError:
                if self.config.writing == "blind":
                    raise
                self.verified = True
        spread = self._proposal_sd_ua * self.rng.standard_normal(int(mask.sum()))
        target[mask] = np.clip(target[mask] + spread, self._low_ua, self._high_ua)
        self.looking.updated(self.accelerator.write_verify(target, mask))

    def _fit_inputs(self, x: FloatArray) -> None:
        self._fit_scaler(x)
        self.square_mean = (self._scaled(x).astype(np.float64) ** 2).mean(axis=0)

    def _inputs(self, x: FloatArray) -> FloatArray:
        """Model inputs: standardised features, their centred squares (halved) where asked for, and a 1."""
        z = self._scaled(x).astype(np.float64)
        parts = [z, np.ones((len(z), 1))]
        if self.config.expansion == "squares":
            parts.insert(1, (z**2 - self.square_mean) / 2)
        return np.concatenate(parts, axis=1)

    def _pulses(self) -> int:
        ledger = self.accelerator.ledger
        return int(ledger.set_pulses + ledger.reset_pulses)
