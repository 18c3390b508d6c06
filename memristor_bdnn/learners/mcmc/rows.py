"""Metropolis-Hastings on rows of memristors: an array of rows, and the chain that walks down it.

Every row holds one whole model in differential pairs, a parameter being g = g_plus - g_minus in
microsiemens. Many independent arrays (chains) are simulated side by side in the same numpy calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import check, option
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError

Array = npt.NDArray[Any]
LogLikelihood = Callable[[Array, Array], Array]
"""(chain numbers (a,), parameters (a, p) in uS) -> log likelihood (a,)."""


@dataclass(frozen=True)
class ChainConfig:
    """Shape of the array and the constants of the acceptance test."""

    rows: int = option(256, "rows of an array, each a whole model", low=2, high=65536, source="MCMC paper")
    burn_in: int = option(32, "first rows left out of predictions", low=0, high=65535, source="MCMC paper")
    prior_sd_us: float = option(
        50.0, "SD sigma of the Gaussian prior on a parameter", low=1e-3, unit="uS", source="D; unpublished"
    )
    max_proposals: int = option(
        100_000, "proposals after which a chain ends with the rows it has", low=1, high=1_000_000_000
    )

    patience: int = option(
        0, "refusals after which a row is skipped for the next one; 0 never skips (published)", low=0, source="D"
    )

    def __post_init__(self) -> None:
        """Validate, fields together too."""
        check(self)
        if self.burn_in >= self.rows:
            raise ConfigError(f"ChainConfig.burn_in = {self.burn_in}: must be below rows = {self.rows}")


class RowArrays:
    """Rows of differential pairs in several independent arrays, written blindly through gate voltages.

    Attributes:
        g: (chains, rows, p) parameters as they were read, microsiemens.
        sets, resets: (chains,) programming operations given, in devices.
    """

    def __init__(
        self,
        preset: DevicePreset,
        chains: int,
        rows: int,
        parameters: int,
        rng: np.random.Generator,
        stuck_low: float = 0.0,
        stuck_high: float = 0.0,
    ) -> None:
        """Fabricate the arrays.

        Args:
            preset: device technology; its blind write gives median, cycle and device spread.
            chains: independent arrays.
            rows: rows of each.
            parameters: differential pairs in a row.
            rng: source of every random number.
            stuck_low: share of devices stuck at zero conductance.
            stuck_high: share stuck at the upper edge of the preset's window.
        """
        self.preset, self.rng = preset, rng
        shape = (chains, rows, parameters, 2)
        spread = preset.blind_write.device_spread
        self._factor = np.maximum(1.0 + spread * rng.standard_normal(shape, np.float32), np.float32(0.05))
        self._pair = np.zeros(shape, np.float32)
        self.g = np.zeros(shape[:3], np.float32)
        self.sets, self.resets = np.zeros(chains, np.int64), np.zeros(chains, np.int64)
        self._volt = preset.read_voltage_v
        self._level, self._sd = _gate_table(preset)
        low, high = (edge / self._volt for edge in preset.blind_write.target_ua)
        self._low, self._step = np.float32(low), np.float32((high - low) / (len(self._level) - 1))
        self._stuck: Array | None = None
        if stuck_low or stuck_high:
            draw = rng.random(shape, np.float32)
            self._stuck = np.full(shape, np.nan, np.float32)
            self._stuck[draw < stuck_low] = 0.0
            self._stuck[draw >= 1 - stuck_high] = preset.window_ua[1] / self._volt

    def first(self, chain: Array, row: Array) -> Array:
        """SET rows with the lowest current of the gate table (a wide prior); returns g (a, p)."""
        lowest = np.zeros((len(chain), *self._pair.shape[2:]), np.intp)
        return self.store(chain, row, self._land(chain, row, lowest))

    def propose(self, chain: Array, source: Array, row: Array, share: float = 1.0) -> Array:
        """SET rows around the conductances read in other rows of the same arrays.

        Args:
            chain: (a,) array numbers, no repetitions.
            source: (a,) rows read.
            row: (a,) rows written.
            share: expected share of the pairs drawn anew; the others are copies of the source row,
                written with verification. 1 is the published method.

        Returns:
            (a, p) the new rows' parameters, uS.
        """
        pair = self.draw(chain, source, row)
        if share < 1.0:
            keep = self.rng.random(pair.shape[:2]) >= share
            pair = self._faulty(chain, row, np.where(keep[..., None], self._pair[chain, source], pair))
        return self.store(chain, row, pair)

    def draw(self, chain: Array, source: Array, row: Array) -> Array:
        """Where devices of a row would land if SET around another row's, (a, p, 2) uS; nothing is written yet."""
        read = self._pair[chain, source]
        level = np.clip(np.rint((read - self._low) / self._step), 0, len(self._level) - 1).astype(np.intp)
        return self._land(chain, row, level)

    def store(self, chain: Array, row: Array, pair: Array) -> Array:
        """The rows now hold what :meth:`draw` gave; counts the SETs; returns g (a, p)."""
        self._pair[chain, row] = pair
        g = pair[..., 0] - pair[..., 1]
        self.g[chain, row] = g
        self.sets[chain] += 2 * self.g.shape[2]
        return g

    def reset(self, chain: Array) -> None:
        """Count the RESET of one row of each of these arrays (a rejected proposal)."""
        self.resets[chain] += 2 * self.g.shape[2]

    def _land(self, chain: Array, row: Array, level: Array) -> Array:
        # The spread belongs to the SET current that the gate allows, so it is the level's own.
        pair = self._level[level] * self._factor[chain, row]
        pair += self._sd[level] * self.rng.standard_normal(pair.shape, np.float32)
        return self._faulty(chain, row, np.maximum(pair, np.float32(0.0), out=pair))

    def _faulty(self, chain: Array, row: Array, pair: Array) -> Array:
        if self._stuck is None:
            return pair
        stuck = self._stuck[chain, row]
        return np.where(np.isnan(stuck), pair, stuck)


def _gate_table(preset: DevicePreset) -> tuple[Array, Array]:
    """Median conductance of every gate voltage and the cycle-to-cycle SD there, microsiemens, float32."""
    write = preset.blind_write
    levels = np.linspace(*write.target_ua, write.gate_levels or 256)
    volt = preset.read_voltage_v
    return (levels / volt).astype(np.float32), (preset.blind_sd_ua(levels) / volt).astype(np.float32)


@dataclass(frozen=True)
class Posterior:
    """Rows that a chain has visited and how long it stayed in each.

    Attributes:
        g: (chains, rows, p) parameters, uS; rows that were skipped or never reached have counter 0.
        counters: (chains, rows) C_n, one for the row itself and one for every proposal it refused.
        proposals: (chains,) proposals made.
        accepted: (chains,) rows accepted after the first.
        burn_in: rows left out of predictions.
        operations: (chains,) SET and RESET operations, in devices.
    """

    g: Array
    counters: Array
    proposals: Array
    accepted: Array
    burn_in: int
    operations: Array

    def only(self, chain: int) -> Posterior:
        """The posterior of one chain."""
        one = slice(chain, chain + 1)
        parts = (self.g[one], self.counters[one], self.proposals[one], self.accepted[one])
        return Posterior(*parts, self.burn_in, self.operations[one])

    def weights(self) -> Array:
        """(chains, rows) normalised counters, burn-in rows zero; a chain that ended inside it keeps its last row."""
        kept = self.counters.astype(np.float64)
        kept[:, : self.burn_in] = 0.0
        empty = kept.sum(axis=1) == 0
        last = self.counters.shape[1] - 1 - (self.counters[:, ::-1] > 0).argmax(axis=1)
        kept[empty, last[empty]] = 1.0
        weights: Array = kept / kept.sum(axis=1, keepdims=True)
        return weights


def run_chains(arrays: RowArrays, log_likelihood: LogLikelihood, config: ChainConfig, share: float = 1.0) -> Posterior:
    """Walk every array's chain from its first row to its last.

    Row n + 1 is proposed around row n; it is accepted with probability min(1, a), a the ratio of
    priors times the ratio of likelihoods. A rejection RESETs the row, increments C_n and SETs it
    again; an acceptance moves on. Source: MCMC paper, methods.

    Args:
        arrays: fabricated arrays of ``config.rows`` rows.
        log_likelihood: of the data, for some of the chains.
        config: rows, prior, limits.
        share: see :meth:`RowArrays.propose`.
    """
    chains, rows = arrays.g.shape[:2]
    active = np.arange(chains)
    row = np.zeros(chains, np.intp)  # the row that the chain is in
    trial = np.ones(chains, np.intp)  # the row that receives proposals
    refusals = np.zeros(chains, np.int64)  # of the trial row
    counters = np.zeros((chains, rows), np.int64)
    counters[:, 0] = 1
    proposals = np.zeros(chains, np.int64)
    inverse = -0.5 / config.prior_sd_us**2

    def log_posterior(who: Array, g: Array) -> Array:
        return log_likelihood(who, g) + inverse * (g * g).sum(axis=1)

    present = np.zeros(chains)
    present[:] = log_posterior(active, arrays.first(active, row))
    while active.size:
        here = row[active]
        proposal = log_posterior(active, arrays.propose(active, here, trial[active], share))
        proposals[active] += 1
        accept = np.log(arrays.rng.random(active.size)) < proposal - present[active]
        taken, refused = active[accept], active[~accept]
        present[taken] = proposal[accept]
        row[taken] = trial[taken]
        counters[taken, row[taken]] = 1
        counters[refused, row[refused]] += 1
        arrays.reset(refused)
        refusals[refused] += 1
        given_up = refused[refusals[refused] >= config.patience] if config.patience else refused[:0]
        for moved in (taken, given_up):
            trial[moved] += 1
            refusals[moved] = 0
        done = (trial[active] >= rows) | (proposals[active] >= config.max_proposals)
        if done.any():
            active = active[~done]
    accepted = np.count_nonzero(counters, axis=1) - 1
    return Posterior(arrays.g, counters, proposals, accepted, config.burn_in, arrays.sets + arrays.resets)
