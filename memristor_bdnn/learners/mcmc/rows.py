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
"""(chain numbers (a,), parameters (a, p) in uS) -> log likelihood (a,); different chains, or all of one."""
MOST_AHEAD = 64
"""Proposals that a chain alone draws before it looks at the first."""


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

    def draw_ahead(
        self, chain: int, source: int, row: int, count: int, share: float = 1.0
    ) -> tuple[Array, Array, Callable[[int], None]]:
        """What the next proposals of one chain would be if all of them but the last were refused; nothing is written.

        Args:
            chain: number of the array.
            source: row read.
            row: row written.
            count: how many.
            share: see :meth:`propose`.

        Returns:
            Pairs (count, p, 2) in uS, the uniform draws (count,) of their acceptance tests, and a function that takes
            all draws after the first so many proposals back, as if they had never been drawn.
        """
        state, shape = self.rng.bit_generator.state, self._pair.shape[2:]

        def drawn(count: int) -> tuple[Array, Array, Array]:
            normals, chances = np.empty((count, *shape), np.float32), np.empty((count, 2))
            renewed = np.zeros((count, shape[0]))
            for k in range(count):
                self.rng.standard_normal(dtype=np.float32, out=normals[k])
                if share < 1.0:
                    self.rng.random(out=renewed[k])
                chances[k, 0] = self.rng.random()
            return normals, renewed, chances[:, 0]

        def take_back(used: int) -> None:
            self.rng.bit_generator.state = state
            drawn(used)

        normals, renewed, chances = drawn(count)
        read = self._pair[chain, source]
        level = self._nearest(read)
        one, where = np.array([chain]), np.array([row])
        pair = self._level[level] * self._factor[chain, row] + self._sd[level] * normals
        pair = self._faulty(one, where, np.maximum(pair, np.float32(0.0), out=pair))
        if share < 1.0:
            pair = self._faulty(one, where, np.where((renewed >= share)[..., None], read, pair))
        return pair, chances, take_back

    def draw(self, chain: Array, source: Array, row: Array) -> Array:
        """Where devices of a row would land if SET around another row's, (a, p, 2) uS; nothing is written yet."""
        return self._land(chain, row, self._nearest(self._pair[chain, source]))

    def store(self, chain: Array, row: Array, pair: Array, times: int = 1) -> Array:
        """The rows now hold what :meth:`draw` gave, after so many SETs; counts them; returns g (a, p)."""
        self._pair[chain, row] = pair
        g = pair[..., 0] - pair[..., 1]
        self.g[chain, row] = g
        self.sets[chain] += times * 2 * self.g.shape[2]
        return g

    def reset(self, chain: Array, times: int = 1) -> None:
        """Count the RESETs of one row of each of these arrays (rejected proposals)."""
        self.resets[chain] += times * 2 * self.g.shape[2]

    def _nearest(self, read: Array) -> Array:
        """Levels of the gate table whose median is nearest to conductances, uS."""
        return np.clip(np.rint((read - self._low) / self._step), 0, len(self._level) - 1).astype(np.intp)

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


class _Walk:
    """Chains on their way down their arrays; see :func:`run_chains`."""

    def __init__(self, arrays: RowArrays, log_likelihood: LogLikelihood, config: ChainConfig, share: float) -> None:
        self.arrays, self.likelihood, self.config, self.share = arrays, log_likelihood, config, share
        chains, rows = arrays.g.shape[:2]
        self.row = np.zeros(chains, np.intp)  # the row that the chain is in
        self.trial = np.ones(chains, np.intp)  # the row that receives proposals
        self.refusals = np.zeros(chains, np.int64)  # of the trial row
        self.counters = np.zeros((chains, rows), np.int64)
        self.counters[:, 0] = 1
        self.proposals = np.zeros(chains, np.int64)
        self.present = np.zeros(chains)
        everyone = np.arange(chains)
        self.present[:] = self.log_posterior(everyone, arrays.first(everyone, self.row))
        self.ahead = 2

    def log_posterior(self, who: Array, g: Array) -> Array:
        """Of parameters g (a, p), uS, of chains (a,)."""
        posterior: Array = self.likelihood(who, g) - 0.5 / self.config.prior_sd_us**2 * (g * g).sum(axis=1)
        return posterior

    def together(self, active: Array) -> None:
        """One proposal of each of these chains (a,)."""
        proposed = self.arrays.propose(active, self.row[active], self.trial[active], self.share)
        proposal = self.log_posterior(active, proposed)
        accept = np.log(self.arrays.rng.random(active.size)) < proposal - self.present[active]
        self._take(active[accept], proposal[accept])
        self._refuse(active[~accept], 1)

    def alone(self, chain: int) -> None:
        """Some proposals of one chain at once, up to the first that is accepted: the same chain, sooner.

        Most proposals are refused, and a refused one changes nothing of the next; what was drawn beyond the first
        accepted one is taken back.
        """
        config, who = self.config, np.array([chain])
        most = min(self.ahead, config.max_proposals - int(self.proposals[chain]))
        if config.patience:
            most = min(most, config.patience - int(self.refusals[chain]))
        source, trial = int(self.row[chain]), int(self.trial[chain])
        pairs, chances, take_back = self.arrays.draw_ahead(chain, source, trial, most, self.share)
        proposal = self.log_posterior(np.full(most, chain), pairs[..., 0] - pairs[..., 1])
        accepted = np.flatnonzero(np.log(chances) < proposal - self.present[chain])[:1]
        used = int(accepted[0]) + 1 if accepted.size else most
        if used < most:
            take_back(used)
        self.arrays.store(who, who * 0 + trial, pairs[used - 1 : used], used)
        if used > accepted.size:
            self._refuse(who, used - accepted.size)
        if accepted.size:
            self._take(who, proposal[used - 1 : used])
        self.ahead = max(2, self.ahead // 2) if accepted.size else min(MOST_AHEAD, 2 * self.ahead)

    def _take(self, chains: Array, posterior: Array) -> None:
        """These chains move to their trial rows, whose log posteriors are given."""
        self.proposals[chains] += 1
        self.present[chains] = posterior
        self.row[chains] = self.trial[chains]
        self.counters[chains, self.row[chains]] = 1
        self.trial[chains] += 1
        self.refusals[chains] = 0

    def _refuse(self, chains: Array, times: int) -> None:
        """So many proposals of each of these chains are refused; where patience has an end the row is skipped."""
        self.proposals[chains] += times
        self.counters[chains, self.row[chains]] += times
        self.arrays.reset(chains, times)
        self.refusals[chains] += times
        if self.config.patience:
            given_up = chains[self.refusals[chains] >= self.config.patience]
            self.trial[given_up] += 1
            self.refusals[given_up] = 0


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
    walk, (chains, rows) = _Walk(arrays, log_likelihood, config, share), arrays.g.shape[:2]
    active = np.arange(chains)
    while active.size:
        if active.size == 1:
            walk.alone(int(active[0]))
        else:
            walk.together(active)
        done = (walk.trial[active] >= rows) | (walk.proposals[active] >= config.max_proposals)
        if done.any():
            active = active[~done]
    accepted = np.count_nonzero(walk.counters, axis=1) - 1
    operations = arrays.sets + arrays.resets
    return Posterior(arrays.g, walk.counters, walk.proposals, accepted, config.burn_in, operations)
