"""A policy by Metropolis-Hastings on rows of devices: each row a linear policy, the devices' spread the proposal.

After Nat. Electron. 4, 151 (2021): one array for each action, its rows share their counters; the return of an episode
takes the place of the likelihood. Here for any number of actions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.agents.dqn import Episode
from memristor_bdnn.agents.environments import Environment
from memristor_bdnn.config import check, option
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError, UnsupportedError
from memristor_bdnn.state import check_array

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MCMCAgentConfig:
    """Options of the Metropolis-Hastings policy; P = paper, D = measured by us (unpublished there)."""

    rows: int = option(512, "rows of an action's array, each a linear policy", low=2, high=65536, source="P")
    burn_in: int = option(64, "first rows left out of the policy", low=0, high=65535, source="P")
    kappa: float = option(
        10.0, "temperature: a return higher by kappa is e times as likely", low=1e-6, high=1e9, source="D"
    )
    prior_sd_us: float = option(50.0, "SD of the Gaussian prior on a parameter", low=1e-3, unit="uS", source="D")
    scale_per_us: float = option(0.05, "S of the responses that the policy averages", low=1e-6, unit="1/uS", source="D")
    bias: bool = option(False, "add a constant 1 to the observations", source="D")
    patience: int = option(20, "refusals after which a row is skipped; 0 never", low=0, source="D")
    max_proposals: int = option(40_000, "proposals, each an episode, after which it ends", low=1, high=100_000_000)

    def __post_init__(self) -> None:
        """Validate; something must be left after the burn-in."""
        check(self)
        if self.burn_in >= self.rows:
            raise ConfigError(f"MCMCAgentConfig.burn_in = {self.burn_in}: must be below rows = {self.rows}")


class Rows(Protocol):
    """Where the policies are drawn and kept."""

    accelerator: Accelerator | None
    lowest_ua: float
    read_voltage_v: float

    def draw(self, row: int, around_ua: Array) -> Array:
        """Write row ``row`` about currents (width,) and read it, uA (width,)."""


class DeviceRows:
    """Rows of an accelerator's cells, written blindly: where a device lands about its target is the proposal.

    Args:
        accelerator: any that offers blind writes; ``rows * width`` cells are allocated here.
        rows: policies that fit.
        width: devices of a policy.

    Raises:
        UnsupportedError: the accelerator has no blind write.
        CapacityError: too few cells.
    """

    def __init__(self, accelerator: Accelerator, rows: int, width: int) -> None:
        self.accelerator: Accelerator | None = accelerator
        self._chips, self._width = accelerator, width
        self.lowest_ua = accelerator.preset.blind_write.target_ua[0]
        self.read_voltage_v = accelerator.preset.read_voltage_v
        accelerator.allocate(rows * width)
        try:
            accelerator.program(np.zeros(rows * width), np.zeros(rows * width, np.bool_))
        except UnsupportedError as error:
            raise UnsupportedError(
                f"accelerator {accelerator.name!r} cannot carry this agent: its proposals are blind writes ({error})"
            ) from error

    def draw(self, row: int, around_ua: Array) -> Array:
        """See :class:`Rows`; a row written about the same currents again is RESET first."""
        place = slice(row * self._width, (row + 1) * self._width)
        target, mask = np.zeros(self._chips.n_cells), np.zeros(self._chips.n_cells, np.bool_)
        target[place], mask[place] = around_ua, True
        self._chips.program(target, mask)
        read: Array = self._chips.read(1, place)[0]
        return read


class ExactRows:
    """The software twin: proposals from the preset's distribution, drawn and read exactly."""

    accelerator: Accelerator | None = None

    def __init__(self, preset: DevicePreset, rng: np.random.Generator) -> None:
        self._preset, self._rng = preset, rng
        self.lowest_ua, self.read_voltage_v = preset.blind_write.target_ua[0], preset.read_voltage_v

    def draw(self, row: int, around_ua: Array) -> Array:
        """See :class:`Rows`."""
        median = self._preset.blind_target_ua(around_ua)
        drawn = median + self._preset.blind_sd_ua(median) * self._rng.standard_normal(median.shape)
        return np.maximum(drawn, 0.0).astype(np.float32)


class MCMCAgent:
    """A chain of linear policies down the rows; the policy is their counter-weighted mean.

    Args:
        rows: on devices or exact, ``config.rows`` of ``n_actions * inputs`` devices.
        inputs: observations, the constant included where the options ask for it.
        n_actions: actions.
        config: options.
        rng: of the acceptance test.
    """

    name = "mcmc"
    preset: DevicePreset
    """Of its devices, or of those whose twin it is; whoever makes the agent says it."""

    def __init__(
        self, rows: Rows, inputs: int, n_actions: int, config: MCMCAgentConfig, rng: np.random.Generator
    ) -> None:
        self.rows, self.config, self.rng = rows, config, rng
        self._shape = (n_actions, inputs)
        width = n_actions * inputs
        self.current_ua: Array = np.zeros((config.rows, width), np.float32)
        """What every row held when it was accepted, uA."""
        self.counters: Array = np.zeros(config.rows, np.int64)
        self.row = self.trial = self.refusals = self.proposals = self.steps = 0
        self._merit = -math.inf
        self._policy: tuple[Array, Array] | None = None

    @property
    def finished(self) -> bool:
        """Whether the rows or the proposals are used up."""
        return self.trial >= self.config.rows or self.proposals >= self.config.max_proposals

    def train_episode(self, env: Environment, seed: int) -> Episode:
        """Propose a policy, play the episode of a seed with it, accept or refuse it."""
        first = self.counters[0] == 0
        lowest = np.full(self.current_ua.shape[1], self.rows.lowest_ua)
        drawn = self.rows.draw(self.trial, lowest if first else self.current_ua[self.row])
        episode = _play(env, seed, self._conductance(drawn).reshape(self._shape))
        merit = episode.total / self.config.kappa + self._log_prior(drawn)
        self.proposals += 1
        self.steps += episode.steps
        self._policy = None
        if first or math.log(self.rng.random()) < merit - self._merit:
            self.row, self._merit = self.trial, merit
            self.current_ua[self.row], self.counters[self.row] = drawn, 1
            self.trial, self.refusals = self.trial + 1, 0
        else:
            self.counters[self.row] += 1
            self.refusals += 1
            if self.config.patience and self.refusals >= self.config.patience:
                self.trial, self.refusals = self.trial + 1, 0
        return episode

    def values(self, observation: Array) -> Array:
        """Counter-weighted mean response of the rows to an observation, (actions,)."""
        weights, g = self._kept()
        response = g @ self._seen(observation)
        share = np.exp(response - response.max(axis=1, keepdims=True))
        mean: Array = weights @ (share / share.sum(axis=1, keepdims=True))
        return mean

    def act(self, observation: Array) -> int:
        """The action of the strongest mean response."""
        return int(self.values(observation).argmax())

    def state(self) -> dict[str, Array]:
        """Arrays of a checkpoint, without the chips and the generator."""
        numbers = [self.row, self.trial, self.refusals, self.proposals, self.steps]
        return {
            "current_ua": self.current_ua,
            "counters": self.counters,
            "numbers": np.array(numbers, np.int64),
            "merit": np.array([self._merit if math.isfinite(self._merit) else -1e300]),
        }

    def check_state(self, state: Mapping[str, Array]) -> None:
        """Refuse arrays that :meth:`state` cannot have given. Raises ConfigError."""
        odd = sorted(state.keys() ^ self.state().keys())
        if odd:
            raise ConfigError(f"damaged checkpoint: {', '.join(odd)} missing or unknown")
        check_array("current_ua", state["current_ua"], shape=self.current_ua.shape, low=0.0, high=1e6, unit="uA")
        check_array("counters", state["counters"], kinds="i", shape=self.counters.shape, low=0, high=2**40)
        check_array("numbers", state["numbers"], kinds="i", shape=(5,), low=0, high=2**60)
        check_array("merit", state["merit"], shape=(1,))
        row, trial = int(state["numbers"][0]), int(state["numbers"][1])
        if row >= self.config.rows or trial > self.config.rows:
            raise ConfigError(f"damaged checkpoint: row {row} and trial row {trial} of {self.config.rows} rows")

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Take over :meth:`state` after :meth:`check_state`."""
        self.current_ua, self.counters = state["current_ua"].astype(np.float32), state["counters"].astype(np.int64)
        self.row, self.trial, self.refusals, self.proposals, self.steps = map(int, state["numbers"])
        self._merit, self._policy = float(state["merit"][0]), None

    def _conductance(self, current_ua: Array) -> Array:
        return current_ua.astype(np.float64) / self.rows.read_voltage_v

    def _log_prior(self, current_ua: Array) -> float:
        """Of the differences between the actions' devices; for two actions N(0, SD^2) on the one difference."""
        g = self._conductance(current_ua).reshape(self._shape)
        return -float(((g - g.mean(axis=0)) ** 2).sum()) / self.config.prior_sd_us**2

    def _kept(self) -> tuple[Array, Array]:
        """Normalised counters (n,) and scaled parameters (n, actions, inputs) of the rows after the burn-in."""
        if self._policy is None:
            counters = self.counters.astype(np.float64)
            counters[: self.config.burn_in] = 0.0
            if not counters.any():
                counters[self.row] = 1.0
            rows = np.flatnonzero(counters)
            g = self.config.scale_per_us * self._conductance(self.current_ua[rows])
            self._policy = counters[rows] / counters[rows].sum(), g.reshape(-1, *self._shape)
        return self._policy

    def _seen(self, observation: Array) -> Array:
        return np.append(observation, 1.0) if self._shape[1] > observation.size else observation


def _play(env: Environment, seed: int, g: Array) -> Episode:
    """The episode of a seed by one linear policy g (actions, inputs)."""
    state, total, steps, over = env.reset(seed), 0.0, 0, False
    constant = g.shape[1] > state.size
    while not over:
        seen = np.append(state, 1.0) if constant else state
        state, reward, ended, cut = env.step(int((g @ seen).argmax()))
        total, steps, over = total + reward, steps + 1, ended or cut
    return Episode(steps, total)
